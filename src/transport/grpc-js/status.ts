import { status as codes, Metadata, type StatusObject } from '@grpc/grpc-js';
import { DekdError } from '../../errors.ts';
import { MalformedMessage, type RpcStatus } from '../transport.ts';
import { COMPRESSED, NO_REQUEST_MEMORY, TOO_MANY_MESSAGES } from './message-decoder.ts';
import type { Route } from './open-call.ts';

/** Most calls are over in less. */
const ROOM_AGAIN_MS = 100;

/** A status as grpc-js takes it. */
export function toStatusObject(status: RpcStatus): StatusObject {
  const metadata = new Metadata();
  if (status.details !== undefined) metadata.set('grpc-status-details-bin', Buffer.from(status.details));
  if (status.retryPushbackMs !== undefined) metadata.set('grpc-retry-pushback-ms', String(status.retryPushbackMs));
  // grpc-js percent-encodes the message with encodeURI, which throws on half a surrogate pair.
  return { code: status.code, details: status.message.toWellFormed(), metadata };
}

/** What grpc-js itself has against a call, as an error of ours, so that the caller gets the same details as for any other. */
export function libraryFailure(
  code: number,
  details: string,
  { maxMessageBytes, maxMessages }: Pick<Route, 'maxMessageBytes' | 'maxMessages'>,
): DekdError | MalformedMessage {
  switch (code) {
    case codes.DEADLINE_EXCEEDED:
      return new DekdError('DEADLINE_EXCEEDED', 'the deadline passed before the call was done');
    case codes.RESOURCE_EXHAUSTED:
      if (details === NO_REQUEST_MEMORY) return noRequestMemory();
      if (details === TOO_MANY_MESSAGES) return tooManyMessages(maxMessages);
      if (details === COMPRESSED) return new DekdError('UNIMPLEMENTED', 'messages must not be compressed');
      return new DekdError('MESSAGE_TOO_LARGE', `a message has at most ${maxMessageBytes} bytes`, {
        metadata: { max_bytes: String(maxMessageBytes) },
      });
    default:
      if (details.startsWith('Invalid grpc-timeout'))
        return new MalformedMessage('grpc-timeout', 'is not a valid time-out');
      return new DekdError('INTERNAL', 'internal error', { cause: new Error(details) });
  }
}

export function noRequestMemory(): DekdError {
  const text = 'your calls under way hold as much memory as they may now; send fewer, or smaller ones, at a time';
  return new DekdError('QUOTA_EXCEEDED', text, { retryAfterMs: ROOM_AGAIN_MS });
}

/** The code that gRPC's table of them has for a "request cardinality violation" (doc/statuscodes.md). */
export function notOneMessage(): DekdError {
  return new DekdError(
    'UNIMPLEMENTED',
    'a call of this RPC has exactly one message, which comes whole, and nothing behind it',
  );
}

function tooManyMessages(max: number): DekdError {
  if (max === 1) return notOneMessage();
  return new DekdError('QUOTA_EXCEEDED', `a call of this RPC has at most ${max} messages: make another one`);
}
