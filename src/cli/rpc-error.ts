import { type Metadata, type ServiceError, status } from '@grpc/grpc-js';
import type { PackageDefinition } from '@grpc/proto-loader';
import { REASONS, type Reason } from '../errors.ts';
import { EXIT, EXIT_BY_REASON, type ExitCode } from './exit-codes.ts';
import { CliError } from './messages.ts';

/** What a failed call means to whoever typed the command: a CliError. What gRPC did not throw comes back as it is. */
export function rpcError(thrown: unknown, protos: PackageDefinition, timeoutMs: number): unknown {
  if (!(thrown instanceof Error && 'metadata' in thrown)) return thrown;
  const error = thrown as ServiceError;
  if (error.code === status.DEADLINE_EXCEEDED) {
    const text = `no answer within ${timeoutMs} ms; wait longer with --timeout, or look at \`dekctl status\``;
    return new CliError(EXIT.unavailable, `DEADLINE_EXCEEDED: ${text}`);
  }
  const reason = errorReason(error.metadata, protos);
  if (reason !== undefined) {
    const wayOut = WAYS_OUT.get(reason) ?? '';
    return new CliError(exitCode(reason, error.code), `${reason}: ${error.details}${wayOut}`);
  }
  if (error.code === status.UNAVAILABLE) {
    return new CliError(EXIT.unavailable, `UNAVAILABLE: the agent ended the connection (${error.details}); try again`);
  }
  const name = status[error.code] ?? `code ${error.code}`;
  return new CliError(EXIT_BY_STATUS[error.code] ?? EXIT.failure, `${name}: ${error.details}`);
}

/** What the agent cannot know: which command leads on. */
const OUTAGE = '; `dekctl status` says what failed, docs/outages.md what to do';
const WAYS_OUT: ReadonlyMap<string, string> = new Map([
  ['KEY_EXISTS', '; a new version of it is made with `dekctl keys rotate`, another KEK needs another name'],
  ['UPSTREAM_UNAVAILABLE', OUTAGE],
  ['UPSTREAM_THROTTLED', OUTAGE],
  ['UPSTREAM_UNAUTHENTICATED', OUTAGE],
]);

/** For answers that carry no reason: of an older or newer agent, or of gRPC itself. */
const EXIT_BY_STATUS: Readonly<Record<number, ExitCode>> = {
  [status.INVALID_ARGUMENT]: EXIT.usage,
  [status.PERMISSION_DENIED]: EXIT.denied,
  [status.UNAUTHENTICATED]: EXIT.denied,
  [status.NOT_FOUND]: EXIT.keyState,
  [status.ALREADY_EXISTS]: EXIT.keyState,
  [status.FAILED_PRECONDITION]: EXIT.keyState,
  [status.RESOURCE_EXHAUSTED]: EXIT.unavailable,
};

function exitCode(reason: string, code: number): ExitCode {
  return Object.hasOwn(REASONS, reason) ? EXIT_BY_REASON[reason as Reason] : (EXIT_BY_STATUS[code] ?? EXIT.failure);
}

interface Status {
  readonly details: readonly { readonly type_url: string; readonly value: Buffer }[];
}

interface ErrorInfo {
  readonly reason: string;
  readonly domain: string;
}

/** The `reason` of google.rpc.ErrorInfo in `grpc-status-details-bin`; undefined when there is none that can be read. */
function errorReason(metadata: Metadata, protos: PackageDefinition): string | undefined {
  const [bytes] = metadata.get('grpc-status-details-bin');
  if (!(bytes instanceof Buffer)) return undefined;
  try {
    const { details } = decode<Status>(protos, 'google.rpc.Status', bytes);
    const info = details.find((detail) => detail.type_url.endsWith('/google.rpc.ErrorInfo'));
    if (info === undefined) return undefined;
    const { reason, domain } = decode<ErrorInfo>(protos, 'google.rpc.ErrorInfo', info.value);
    return domain === 'dekd' && reason !== '' ? reason : undefined;
  } catch {
    return undefined;
  }
}

function decode<T>(protos: PackageDefinition, type: string, bytes: Buffer): T {
  const definition = protos[type];
  if (definition === undefined || !('deserialize' in definition)) throw new TypeError(`no message ${type}`);
  return (definition.deserialize as (bytes: Buffer) => T)(bytes);
}
