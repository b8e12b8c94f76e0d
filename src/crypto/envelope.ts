import type { EncryptionContext } from './context.ts';
import { MAX_BLOCK_BYTES } from './dek-block.ts';
import { checkHeader, FLAG_INLINE, MAGIC, VERSION } from './header.ts';
import { malformed } from './invalid-ciphertext.ts';

import { type KeyUse, native, type SlotHandle } from './native.ts';
import { fromNative } from './native-errors.ts';
import { payloadAad, wipePayloadAad } from './payload-aad.ts';
import { secretBuffer } from './secret-buffer.ts';
import { CONTENT, HEADER_BYTES, nonceBytes, TAG_BYTES } from './suites.ts';

/** An envelope whose structure was checked, and nothing else: whether it is genuine only opening it tells. The views are made when asked for. */
export class Envelope {
  readonly bytes: Buffer;
  readonly suite: number;
  readonly content: number;
  /** Its dek-block is in it, from INLINE_BLOCK_OFFSET to `sealedOffset`; else it is detached. */
  readonly isInline: boolean;
  /** Where nonce | ciphertext | tag begins; it ends with the bytes. */
  readonly sealedOffset: number;

  constructor(bytes: Buffer, isInline: boolean, sealedOffset: number) {
    this.bytes = bytes;
    this.suite = bytes[SUITE_OFFSET]!;
    this.content = bytes[CONTENT_OFFSET]!;
    this.isInline = isInline;
    this.sealedOffset = sealedOffset;
  }

  /** View of 32 bytes. */
  get dekId(): Buffer {
    return this.bytes.subarray(DEK_ID_OFFSET, HEADER_BYTES);
  }

  /** View of the inline dek-block, not yet parsed; undefined when it is detached. */
  get block(): Buffer | undefined {
    return this.isInline ? this.bytes.subarray(INLINE_BLOCK_OFFSET, this.sealedOffset) : undefined;
  }
}

/** Everything before the nonce of every message under one DEK, made once per DEK. */
export interface EnvelopePrefix {
  readonly suite: number;
  /** Nonce and tag. */
  readonly overheadBytes: number;
  /** As a message has them; a data key differs in CONTENT_OFFSET. */
  readonly bytes: Buffer;
}

/** Where dek_id stands in an envelope, then u16 length and block. */
export const DEK_ID_OFFSET = 8;
const SUITE_OFFSET = 5;
const CONTENT_OFFSET = 6;
const FLAGS_OFFSET = 7;
export const INLINE_BLOCK_OFFSET = HEADER_BYTES + 2;

/**
 * Checks an envelope's structure. Views only: nothing is copied, or allocated by a length that the bytes claim. INVALID_CIPHERTEXT
 * names an unknown version, suite, content or flag, or the byte at which the structure breaks.
 */
export function parseEnvelope(bytes: Buffer): Envelope {
  checkHeader(bytes);
  const inline = bytes[FLAGS_OFFSET] === FLAG_INLINE;
  const sealedOffset = inline ? INLINE_BLOCK_OFFSET + blockLength(bytes) : HEADER_BYTES;
  const least = sealedOffset + nonceBytes(bytes[SUITE_OFFSET]!) + TAG_BYTES;
  if (bytes.length < least) {
    throw malformed(`ends before nonce and tag, with them it has at least ${least} bytes`, bytes.length);
  }
  return new Envelope(bytes, inline, sealedOffset);
}

/** What all messages under a DEK begin with; with `block` they carry it inline. RangeError for a suite that is not served. */
export function envelopePrefix(suite: number, dekId: Uint8Array, block: Buffer | undefined): EnvelopePrefix {
  const nonce = nonceBytes(suite);
  if (nonce === 0) throw new RangeError(`suite ${suite} is not served`);
  const bytes = Buffer.alloc(block === undefined ? HEADER_BYTES : INLINE_BLOCK_OFFSET + block.length);
  bytes.writeUInt32BE(MAGIC, 0);
  bytes.set([VERSION, suite, CONTENT.message, block === undefined ? 0 : FLAG_INLINE], 4);
  bytes.set(dekId, DEK_ID_OFFSET);
  if (block !== undefined) {
    bytes.writeUInt16BE(block.length, HEADER_BYTES);
    bytes.set(block, INLINE_BLOCK_OFFSET);
  }
  return { suite, overheadBytes: nonce + TAG_BYTES, bytes };
}

/** Bytes of the envelope that seals so many. */
export function envelopeLength({ bytes, overheadBytes }: EnvelopePrefix, payloadBytes: number): number {
  return bytes.length + overheadBytes + payloadBytes;
}

/** Bytes of what the envelope seals. */
export function payloadLength({ bytes, suite, sealedOffset }: Envelope): number {
  return bytes.length - sealedOffset - nonceBytes(suite) - TAG_BYTES;
}

/** Seals a message, or with `content` a data key, into a whole envelope. INVALID_REQUEST when context or associated data is over its limit. */
export function sealMessage(
  dek: SlotHandle,
  prefix: EnvelopePrefix,
  context: EncryptionContext,
  associatedData: Uint8Array,
  plaintext: Uint8Array,
  content: number = CONTENT.message,
): Buffer {
  const { bytes, suite } = prefix;
  const aad = payloadAad(bytes, content, context, associatedData);
  try {
    const envelope = startEnvelope(prefix, plaintext.length);
    envelope[CONTENT_OFFSET] = content;
    native.seal(dek, keyUse(content), suite, aad.bytes, aad.length, plaintext, envelope, bytes.length);
    return envelope;
  } catch (error) {
    throw fromNative(error);
  } finally {
    wipePayloadAad();
  }
}

/** sealMessage in a thread-pool job. All is copied and the DEK pinned at the call: what it was given may be zeroed, and the DEK freed, at once. */
export function sealLater(
  dek: SlotHandle,
  prefix: EnvelopePrefix,
  context: EncryptionContext,
  associatedData: Uint8Array,
  plaintext: Uint8Array,
  content: number = CONTENT.message,
): Promise<Buffer> {
  const { suite } = prefix;
  const start = Buffer.from(prefix.bytes);
  start[CONTENT_OFFSET] = content;
  const aad = payloadAad(start, content, context, associatedData);
  const sealed = native.sealAsync(dek, keyUse(content), suite, aad.bytes, aad.length, plaintext, start);
  wipePayloadAad();
  return sealed.catch(rethrow);
}

/**
 * Makes a random data key of 1-1024 bytes inside native memory and seals it. `plaintext` is the caller's to zero; without it the
 * data key never leaves native memory.
 */
export function sealDataKey(
  dek: SlotHandle,
  prefix: EnvelopePrefix,
  context: EncryptionContext,
  associatedData: Uint8Array,
  numberOfBytes: number,
  withPlaintext: boolean,
): { ciphertext: Buffer; plaintext: Buffer | undefined } {
  const { bytes, suite } = prefix;
  const aad = payloadAad(bytes, CONTENT.dataKey, context, associatedData);
  try {
    const ciphertext = startEnvelope(prefix, numberOfBytes);
    ciphertext[CONTENT_OFFSET] = CONTENT.dataKey;
    const plaintext = withPlaintext ? secretBuffer(numberOfBytes) : undefined;
    native.sealDataKey(dek, suite, aad.bytes, aad.length, numberOfBytes, plaintext ?? null, ciphertext, bytes.length);
    return { ciphertext, plaintext };
  } catch (error) {
    throw fromNative(error);
  } finally {
    wipePayloadAad();
  }
}

/**
 * Opens a message or data key into a Buffer of its own, the caller's to zero. `dek` must be the one that dek_id names: found by it, or
 * checked with verifyDekBlock. INVALID_CIPHERTEXT, in one wording for every cause, when
 * it does not authenticate; INVALID_REQUEST when context or associated data is over its limit.
 */
export function openEnvelope(
  dek: SlotHandle,
  envelope: Envelope,
  context: EncryptionContext,
  associatedData: Uint8Array,
): Buffer {
  const { bytes, suite, content, sealedOffset } = envelope;
  const aad = payloadAad(bytes, content, context, associatedData);
  try {
    const plaintext = secretBuffer(payloadLength(envelope));
    native.open(dek, keyUse(content), suite, aad.bytes, aad.length, bytes, sealedOffset, plaintext);
    return plaintext;
  } catch (error) {
    throw fromNative(error);
  } finally {
    wipePayloadAad();
  }
}

/** openEnvelope in a thread-pool job; as with sealLater, nothing that it was given is needed afterwards. */
export function openEnvelopeLater(
  dek: SlotHandle,
  envelope: Envelope,
  context: EncryptionContext,
  associatedData: Uint8Array,
): Promise<Buffer> {
  const { bytes, suite, content, sealedOffset } = envelope;
  const aad = payloadAad(bytes, content, context, associatedData);
  const opened = native.openAsync(dek, keyUse(content), suite, aad.bytes, aad.length, bytes, sealedOffset);
  wipePayloadAad();
  return opened.catch(rethrow);
}

/** The envelope with another dek-block of the same DEK; everything else stays as it is, byte for byte. */
export function replaceBlock({ bytes, sealedOffset }: Envelope, block: Buffer): Buffer {
  const header = Buffer.from(bytes.subarray(0, HEADER_BYTES));
  header[FLAGS_OFFSET] = FLAG_INLINE;
  const length = Buffer.of(block.length >> 8, block.length & 0xff);
  return Buffer.concat([header, length, block, bytes.subarray(sealedOffset)]);
}

function keyUse(content: number): KeyUse {
  return content === CONTENT.dataKey ? native.USE_DATA_KEY : native.USE_MESSAGE;
}

function rethrow(thrown: unknown): never {
  throw fromNative(thrown);
}

function blockLength(bytes: Buffer): number {
  if (bytes.length < INLINE_BLOCK_OFFSET) throw malformed('ends inside the length of its dek-block', bytes.length);
  const length = (bytes[HEADER_BYTES]! << 8) | bytes[HEADER_BYTES + 1]!;
  if (length === 0) throw malformed('a dek-block of length 0', HEADER_BYTES);
  if (length > MAX_BLOCK_BYTES) {
    throw malformed(`a dek-block of ${length} bytes, at most ${MAX_BLOCK_BYTES}`, HEADER_BYTES);
  }
  return length;
}

/**
 * The prefix with room for the sealed payload behind it. Ciphertext is public, so it may come from the pool: 30 ns, where memory of
 * its own takes 230.
 */
function startEnvelope(prefix: EnvelopePrefix, payloadBytes: number): Buffer {
  const { bytes } = prefix;
  const envelope = Buffer.allocUnsafe(envelopeLength(prefix, payloadBytes));
  envelope.set(bytes);
  return envelope;
}
