import { invalidField } from '../errors.ts';
import { ByteReader } from './byte-reader.ts';
import { malformed } from './invalid-ciphertext.ts';

/** Public pairs that a ciphertext is bound to. Keys and values are compared as UTF-8 bytes; nothing is normalised. */
export type EncryptionContext = ReadonlyMap<string, string>;

/** Most entries of an encryption context. */
export const MAX_CONTEXT_ENTRIES = 64;
/** Longest encoding of an encryption context, in bytes. */
export const MAX_CONTEXT_BYTES = 8192;

// A wrap context is a partition (within the limits above) with `dekd:key` and `dekd:id`.
const MAX_ENCODED_BYTES = MAX_CONTEXT_BYTES + 256;
const INSERTION_SORT_ENTRIES = 8;

const encoding = Buffer.allocUnsafeSlow(MAX_ENCODED_BYTES);

/** The context encoding of docs/envelope.md. Throws INVALID_REQUEST over 64 entries or 8 KiB, or for a lone surrogate. */
export function encodeContext(context: EncryptionContext): Buffer {
  return Buffer.from(encoding.subarray(0, writeContext(context, encoding, 0)));
}

/** The same encoding without the limits of a caller's context: for a partition with dekd's own two pairs. */
export function encodePairs(pairs: ReadonlyMap<string, string>): Buffer {
  return Buffer.from(encoding.subarray(0, writePairs(pairs, encoding, 0, MAX_ENCODED_BYTES)));
}

/** Encodes into `target` at `offset`, which has room for 8 KiB; returns where the encoding ends. Throws as encodeContext does. */
export function writeContext(context: EncryptionContext, target: Buffer, offset: number): number {
  if (context.size > MAX_CONTEXT_ENTRIES) {
    throw invalidField('encryption_context', `has ${context.size} entries, at most ${MAX_CONTEXT_ENTRIES} are allowed`);
  }
  return writePairs(context, target, offset, offset + MAX_CONTEXT_BYTES);
}

/** Reads a context encoding strictly: keys ascending, every byte used, valid UTF-8, within the limits; else INVALID_CIPHERTEXT. */
export function parseContext(bytes: Uint8Array, where: string): Map<string, string> {
  if (bytes.length > MAX_CONTEXT_BYTES) throw malformed(`longer than ${MAX_CONTEXT_BYTES} bytes`, 0, where);
  const reader = new ByteReader(bytes, where);
  const count = reader.u32('its count of entries');
  if (count > MAX_CONTEXT_ENTRIES) throw malformed(`${count} entries, at most ${MAX_CONTEXT_ENTRIES}`, 0, where);
  const context = new Map<string, string>();
  let previous: Buffer | undefined;
  for (let index = 0; index < count; index++) {
    const start = reader.offset;
    const key = reader.text(reader.u32('the length of a key'), 'a key');
    const keyBytes = reader.bytes.subarray(start + 4, reader.offset);
    if (previous !== undefined && Buffer.compare(previous, keyBytes) >= 0) {
      throw malformed('keys are not strictly ascending', start, where);
    }
    previous = keyBytes;
    context.set(key, reader.text(reader.u32('the length of a value'), 'a value'));
  }
  reader.end();
  return context;
}

function writePairs(pairs: ReadonlyMap<string, string>, target: Buffer, offset: number, end: number): number {
  let at = writeLength(target, offset, pairs.size);
  for (const key of sortedKeys(pairs)) {
    at = writeText(key, target, at, end);
    at = writeText(pairs.get(key)!, target, at, end);
  }
  return at;
}

function sortedKeys(pairs: ReadonlyMap<string, string>): string[] {
  const keys = [...pairs.keys()];
  if (keys.length > INSERTION_SORT_ENTRIES) return keys.sort(compareUtf8);
  for (let sorted = 1; sorted < keys.length; sorted++) {
    const key = keys[sorted]!;
    let slot = sorted;
    for (; slot > 0 && compareUtf8(keys[slot - 1]!, key) > 0; slot--) keys[slot] = keys[slot - 1]!;
    keys[slot] = key;
  }
  return keys;
}

/**
 * Order of the UTF-8 bytes of two well-formed strings, without encoding them: UTF-16 has the same order except that surrogates
 * (code points from U+10000) lie before U+E000-U+FFFF.
 */
export function compareUtf8(left: string, right: string): number {
  const shorter = Math.min(left.length, right.length);
  for (let index = 0; index < shorter; index++) {
    const a = left.charCodeAt(index);
    const b = right.charCodeAt(index);
    if (a === b) continue;
    return isSurrogate(a) === isSurrogate(b) ? a - b : isSurrogate(a) ? 1 : -1;
  }
  return left.length - right.length;
}

function isSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdfff;
}

/** u32 length | UTF-8. ASCII, which nearly every context is, goes byte by byte: faster than a call into the runtime at these lengths. */
function writeText(text: string, target: Buffer, offset: number, end: number): number {
  const start = offset + 4;
  const length = text.length;
  if (length > end - start) throw tooLong();
  for (let index = 0; index < length; index++) {
    const unit = text.charCodeAt(index);
    if (unit > 0x7f) return writeUnicode(text, target, offset, end);
    target[start + index] = unit;
  }
  writeLength(target, offset, length);
  return start + length;
}

function writeUnicode(text: string, target: Buffer, offset: number, end: number): number {
  if (!text.isWellFormed()) throw invalidField('encryption_context', 'a key or value holds half a surrogate pair');
  const length = Buffer.byteLength(text);
  if (length > end - offset - 4) throw tooLong();
  writeLength(target, offset, length);
  target.write(text, offset + 4, length);
  return offset + 4 + length;
}

function writeLength(target: Buffer, offset: number, length: number): number {
  target[offset] = length >>> 24;
  target[offset + 1] = length >>> 16;
  target[offset + 2] = length >>> 8;
  target[offset + 3] = length;
  return offset + 4;
}

function tooLong(): Error {
  return invalidField('encryption_context', `is longer than ${MAX_CONTEXT_BYTES} bytes encoded`);
}
