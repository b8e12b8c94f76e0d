import { invalidField } from '../errors.ts';
import { type EncryptionContext, MAX_CONTEXT_BYTES, writeContext } from './context.ts';
import { HEADER_BYTES } from './suites.ts';

/** Longest associated data, in bytes. */
export const MAX_ASSOCIATED_DATA_BYTES = 65_536;

const ROOM_BEFORE_DATA = HEADER_BYTES + MAX_CONTEXT_BYTES + 4;
const FIRST_DATA_BYTES = 4096;
const CONTENT_OFFSET = 6;
const FLAGS_OFFSET = 7;

/** A payload's AAD lies in the first `length` bytes of `bytes`, until wipePayloadAad. */
export interface PayloadAad {
  bytes: Buffer;
  length: number;
}

// One per thread: a call is synchronous from here through the addon, so nobody else writes meanwhile.
const aad: PayloadAad = { bytes: Buffer.allocUnsafeSlow(ROOM_BEFORE_DATA + FIRST_DATA_BYTES), length: 0 };
let dataStart = 0;

/**
 * Assembles a payload's AAD (docs/envelope.md): bytes 0-39 of the envelope with its flags cleared, so that the dek-block may come and
 * go, then context and associated data. Throws INVALID_REQUEST when either is over its limit. wipePayloadAad must follow.
 */
export function payloadAad(
  header: Uint8Array,
  content: number,
  context: EncryptionContext,
  associatedData: Uint8Array,
): PayloadAad {
  const dataLength = associatedData.length;
  if (dataLength > MAX_ASSOCIATED_DATA_BYTES) {
    throw invalidField('associated_data', `has ${dataLength} bytes, at most ${MAX_ASSOCIATED_DATA_BYTES} are allowed`);
  }
  if (dataLength > aad.bytes.length - ROOM_BEFORE_DATA) {
    aad.bytes = Buffer.allocUnsafeSlow(ROOM_BEFORE_DATA + MAX_ASSOCIATED_DATA_BYTES);
  }
  const { bytes } = aad;
  for (let index = 0; index < HEADER_BYTES; index++) bytes[index] = header[index]!;
  bytes[CONTENT_OFFSET] = content;
  bytes[FLAGS_OFFSET] = 0;
  const contextEnd = writeContext(context, bytes, HEADER_BYTES);
  bytes[contextEnd] = 0;
  bytes[contextEnd + 1] = dataLength >>> 16;
  bytes[contextEnd + 2] = dataLength >>> 8;
  bytes[contextEnd + 3] = dataLength;
  dataStart = contextEnd + 4;
  if (dataLength > 0) bytes.set(associatedData, dataStart);
  aad.length = dataStart + dataLength;
  return aad;
}

/** Zeroes the associated data, which may be sensitive; the context before it may be logged anyway and is left to be overwritten. */
export function wipePayloadAad(): void {
  if (dataStart < aad.length) aad.bytes.fill(0, dataStart, aad.length);
}
