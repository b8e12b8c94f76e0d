import { fileURLToPath } from 'node:url';
import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { loadSync, type MethodDefinition, type ServiceDefinition } from '@grpc/proto-loader';
import type { CallOutcome } from './callers.ts';

/** What a stock client loads: the project's .proto files, without anything of src/. */
export const PROTOS = loadSync(['dekd/v1/agent.proto', 'dekd/v1/admin.proto', 'google/rpc/error_details.proto'], {
  keepCase: true,
  longs: String,
  enums: String,
  defaults: true,
  includeDirs: [fileURLToPath(new URL('../../proto', import.meta.url))],
});

export interface CallOptions {
  readonly metadata?: Readonly<Record<string, string>>;
  /** From now, in milliseconds. Default 20 s, so that no test hangs. */
  readonly deadlineMs?: number;
}

export interface Answer {
  // biome-ignore lint/suspicious/noExplicitAny: a test knows what it asked for
  readonly message: any;
  readonly headers: Readonly<Record<string, unknown>>;
}

/** How a call failed, its details decoded. */
export interface Failure {
  readonly code: number;
  readonly message: string;
  /** Of google.rpc.ErrorInfo; empty when there is none. */
  readonly reason: string;
  readonly domain: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly retryPushback: unknown;
  /** Of google.rpc.RetryInfo, in seconds. */
  readonly retryDelay: string | undefined;
}

/** A stock grpc-js client with default options. */
export interface DekdClient {
  readonly definition: ServiceDefinition;
  call(rpc: string, request: object, options?: CallOptions): Promise<Answer>;
  /** What came of a call, whatever it was. */
  outcome(rpc: string, request: object): Promise<CallOutcome>;
  /** The failure of a call that must fail. */
  failure(rpc: string, request: object, options?: CallOptions): Promise<Failure>;
  /** The same with a message of these bytes. */
  rawFailure(rpc: string, bytes: Buffer): Promise<Failure>;
  readonly connection: Client;
  close(): void;
}

export function createClient(socket: string, service: string): DekdClient {
  const definition = PROTOS[service] as ServiceDefinition;
  const connection = new Client(`unix:${socket}`, credentials.createInsecure());
  const method = (rpc: string): MethodDefinition<object, object> => {
    const found = definition[rpc];
    if (found === undefined) throw new Error(`${service} has no ${rpc}`);
    return found;
  };
  const send = (rpc: string, serialize: (message: object) => Buffer, request: object, options: CallOptions) =>
    sendUnary(connection, method(rpc), serialize, request, options);
  return {
    definition,
    connection,
    call: async (rpc, request, options = {}) => {
      const sent = await send(rpc, method(rpc).requestSerialize, request, options);
      if (sent.error !== undefined) throw sent.error;
      return { message: sent.message, headers: sent.headers };
    },
    outcome: async (rpc, request) => {
      const sent = await send(rpc, method(rpc).requestSerialize, request, {});
      if (sent.error === undefined) return { code: 0, reason: '', text: '', message: sent.message };
      const { code, reason, message: text } = failureOf(sent);
      return { code, reason, text, message: undefined };
    },
    failure: async (rpc, request, options = {}) => {
      return failureOf(await send(rpc, method(rpc).requestSerialize, request, options));
    },
    rawFailure: async (rpc, bytes) => failureOf(await send(rpc, (message) => message as Buffer, bytes, {})),
    close: () => connection.close(),
  };
}

interface Sent {
  readonly message: unknown;
  readonly error: ServiceError | undefined;
  readonly headers: Readonly<Record<string, unknown>>;
}

function sendUnary(
  connection: Client,
  { path, responseDeserialize }: MethodDefinition<object, object>,
  serialize: (message: object) => Buffer,
  request: object,
  options: CallOptions,
): Promise<Sent> {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(options.metadata ?? {})) metadata.set(name, value);
  const deadline = Date.now() + (options.deadlineMs ?? 20_000);
  return new Promise((resolve) => {
    let headers = {};
    const done = (error: ServiceError | null, message?: unknown): void =>
      resolve({ message, error: error ?? undefined, headers });
    const call = connection.makeUnaryRequest(
      path,
      serialize,
      responseDeserialize,
      request,
      metadata,
      { deadline },
      done,
    );
    call.on('metadata', (received: Metadata) => {
      headers = received.getMap();
    });
  });
}

interface StatusDetails {
  readonly details: readonly { readonly type_url: string; readonly value: Buffer }[];
}

interface ErrorInfo {
  readonly reason: string;
  readonly domain: string;
  readonly metadata: Readonly<Record<string, string>>;
}

/** What a google.rpc.Status says of its cause; all empty when it says nothing. */
export function errorInfo(details: StatusDetails['details']): ErrorInfo {
  return decode<ErrorInfo>('google.rpc.ErrorInfo', detail(details, 'ErrorInfo') ?? Buffer.alloc(0));
}

function detail(details: StatusDetails['details'], name: string): Buffer | undefined {
  return details.find(({ type_url }) => type_url === `type.googleapis.com/google.rpc.${name}`)?.value;
}

/** Decodes `grpc-status-details-bin` with the .proto files alone. */
function failureOf({ error, message, headers }: Sent): Failure {
  if (error === undefined) throw new Error(`the call succeeded: ${JSON.stringify(message)}`);
  const [encoded] = error.metadata.get('grpc-status-details-bin');
  const details = encoded === undefined ? [] : decode<StatusDetails>('google.rpc.Status', encoded as Buffer).details;
  const info = errorInfo(details);
  const retry = detail(details, 'RetryInfo');
  return {
    code: error.code,
    message: error.details,
    reason: info.reason,
    domain: info.domain,
    metadata: { ...info.metadata },
    headers,
    retryPushback: error.metadata.get('grpc-retry-pushback-ms')[0],
    retryDelay:
      retry === undefined
        ? undefined
        : decode<{ retry_delay: { seconds: string } }>('google.rpc.RetryInfo', retry).retry_delay.seconds,
  };
}

function decode<T>(type: string, bytes: Buffer): T {
  return (PROTOS[type] as unknown as { deserialize(bytes: Buffer): T }).deserialize(bytes);
}
