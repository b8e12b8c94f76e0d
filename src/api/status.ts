import type { DekdError, Reason } from '../errors.ts';
import type { Call } from './call.ts';
import { shortText } from './short-text.ts';

/** gRPC status codes that dekd uses (google.rpc.Code). */
const CODES = {
  CANCELLED: 1,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
} as const;

/** Which status each reason has; the one table of it. */
export const STATUS_OF: Readonly<Record<Reason, keyof typeof CODES>> = {
  INVALID_REQUEST: 'INVALID_ARGUMENT',
  INVALID_CIPHERTEXT: 'INVALID_ARGUMENT',
  KEY_MISMATCH: 'INVALID_ARGUMENT',
  POLICY_DENIED: 'PERMISSION_DENIED',
  KEY_NOT_FOUND: 'NOT_FOUND',
  KEY_EXISTS: 'ALREADY_EXISTS',
  KEY_DISABLED: 'FAILED_PRECONDITION',
  KEY_ARCHIVED: 'FAILED_PRECONDITION',
  KEY_PENDING_DELETION: 'FAILED_PRECONDITION',
  KEY_DESTROYED: 'FAILED_PRECONDITION',
  UPSTREAM_REFUSED: 'PERMISSION_DENIED',
  UPSTREAM_UNAVAILABLE: 'UNAVAILABLE',
  UPSTREAM_THROTTLED: 'UNAVAILABLE',
  UPSTREAM_UNAUTHENTICATED: 'UNAVAILABLE',
  UPSTREAM_FAULT: 'UNAVAILABLE',
  QUOTA_EXCEEDED: 'RESOURCE_EXHAUSTED',
  MESSAGE_TOO_LARGE: 'RESOURCE_EXHAUSTED',
  SECRET_MEMORY_EXHAUSTED: 'RESOURCE_EXHAUSTED',
  DEADLINE_EXCEEDED: 'DEADLINE_EXCEEDED',
  CANCELLED: 'CANCELLED',
  UNIMPLEMENTED: 'UNIMPLEMENTED',
  INTERNAL: 'INTERNAL',
};

/** Serialises the messages of google/rpc; proto-loader has such functions for every message. */
export interface DetailSerializers {
  status(message: object): Uint8Array;
  errorInfo(message: object): Uint8Array;
  retryInfo(message: object): Uint8Array;
}

/** google.rpc.Status, as a message has it. */
export interface ItemStatus {
  readonly code: number;
  readonly message: string;
  readonly details: readonly { readonly type_url: string; readonly value: Uint8Array }[];
}

export interface FailedCall {
  readonly code: number;
  readonly message: string;
  readonly details: Uint8Array;
  readonly retryPushbackMs?: number;
}

/**
 * An error's text as its caller sees it, in bytes. All headers of an answer have 8 KiB at stock clients (grpc's C core, Java; Go from 1.82), and
 * more ends the call with their own error: the text comes percent-encoded, which makes three of a byte at worst, and again, with the
 * metadata, in base64.
 */
export const MAX_TEXT_BYTES = 1_024;
/** A value of an error's metadata: a field's path, a name. */
const MAX_VALUE_BYTES = 192;

const TYPE_URL = 'type.googleapis.com/google.rpc.';

/** How a failed call ends: code, message, ErrorInfo (domain `dekd`) and, where a retry may help, RetryInfo. */
export function failedCall(error: DekdError, call: Pick<Call, 'requestId'>, serialize: DetailSerializers): FailedCall {
  const status = itemStatus(error, call, serialize);
  const { code, message } = status;
  const failed = { code, message, details: serialize.status(status) };
  const { retryAfterMs } = error;
  return retryAfterMs === undefined ? failed : { ...failed, retryPushbackMs: Math.ceil(retryAfterMs) };
}

/** The same as a message, for one item of a batch. */
export function itemStatus(
  error: DekdError,
  call: Pick<Call, 'requestId'>,
  serialize: Omit<DetailSerializers, 'status'>,
): ItemStatus {
  const code = CODES[STATUS_OF[error.reason]];
  const ours = error.fault === 'us';
  const text = shortText(error.message, MAX_TEXT_BYTES);
  const message = ours ? `${text} (request ${call.requestId})` : text;
  const metadata = shortValues(ours ? { ...error.metadata, request_id: call.requestId } : error.metadata);
  const details = [
    {
      type_url: `${TYPE_URL}ErrorInfo`,
      value: serialize.errorInfo({ reason: error.reason, domain: 'dekd', metadata }),
    },
  ];
  const { retryAfterMs } = error;
  if (retryAfterMs !== undefined) {
    const retryDelay = {
      seconds: String(Math.floor(retryAfterMs / 1_000)),
      nanos: Math.floor((retryAfterMs % 1_000) * 1e6),
    };
    details.push({ type_url: `${TYPE_URL}RetryInfo`, value: serialize.retryInfo({ retry_delay: retryDelay }) });
  }
  return { code, message, details };
}

function shortValues(metadata: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(metadata).map(([name, value]) => [name, shortText(value, MAX_VALUE_BYTES)]));
}
