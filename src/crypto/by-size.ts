import type { EncryptionContext } from './context.ts';
import {
  type Envelope,
  type EnvelopePrefix,
  openEnvelope,
  openEnvelopeLater,
  sealLater,
  sealMessage,
} from './envelope.ts';
import type { SlotHandle } from './native.ts';

/** Longer payloads are sealed and opened in the thread pool: 4 MiB take 1-3 ms, and small requests must not wait for them. */
export const MAX_SYNCHRONOUS_BYTES = 65_536;

/** sealMessage, or sealLater when the plaintext is long. What it was given may be zeroed at once, and the DEK freed, in either case. */
export function sealBySize(
  dek: SlotHandle,
  prefix: EnvelopePrefix,
  context: EncryptionContext,
  associatedData: Uint8Array,
  plaintext: Uint8Array,
  content?: number,
): Buffer | Promise<Buffer> {
  const seal = plaintext.length > MAX_SYNCHRONOUS_BYTES ? sealLater : sealMessage;
  return seal(dek, prefix, context, associatedData, plaintext, content);
}

/** openEnvelope, or openEnvelopeLater when the payload is long; likewise. */
export function openBySize(
  dek: SlotHandle,
  envelope: Envelope,
  context: EncryptionContext,
  associatedData: Uint8Array,
): Buffer | Promise<Buffer> {
  const open = envelope.bytes.length - envelope.sealedOffset > MAX_SYNCHRONOUS_BYTES ? openEnvelopeLater : openEnvelope;
  return open(dek, envelope, context, associatedData);
}

/** Goes on with a value at once, or with a promise's when it is there. */
export function andThen<T, R>(value: T | Promise<T>, next: (value: T) => R | Promise<R>): R | Promise<R> {
  return value instanceof Promise ? value.then(next) : next(value);
}
