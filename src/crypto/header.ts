import type { DekdError } from '../errors.ts';
import { malformed } from './invalid-ciphertext.ts';
import { CONTENT, contentName, HEADER_BYTES, nonceBytes, suiteName } from './suites.ts';

/** Byte 4 of every envelope. */
export const VERSION = 1;
/** Bit 0 of byte 7: the dek-block is inline. */
export const FLAG_INLINE = 1;
const FLAG_PADDING = 2;

/** Bytes 0-3 of every envelope, "dekd". */
export const MAGIC = 0x64656b64;

/** Bytes 0-7 of an envelope, each checked; INVALID_CIPHERTEXT names what this version does not know. */
export function checkHeader(bytes: Buffer): void {
  if (bytes.length < HEADER_BYTES) throw tooShort(bytes);
  const magic = (bytes[0]! << 24) | (bytes[1]! << 16) | (bytes[2]! << 8) | bytes[3]!;
  if (magic !== MAGIC) throw notAnEnvelope(bytes);
  if (bytes[4] !== VERSION) throw malformed(`unknown version ${bytes[4]}`, 4);
  const suite = bytes[5]!;
  if (nonceBytes(suite) === 0) throw malformed(`${suiteName(suite)}, cannot be opened by this version`, 5);
  const content = bytes[6]!;
  if (content !== CONTENT.message && content !== CONTENT.dataKey) {
    throw malformed(`${contentName(content)}, cannot be opened by this version`, 6);
  }
  if (bytes[7]! > FLAG_INLINE) throw unknownFlags(bytes[7]!);
}

function tooShort(bytes: Buffer): DekdError {
  if (bytes.length === 0) return malformed('empty', 0);
  return malformed(`ends inside the header, which has ${HEADER_BYTES} bytes`, bytes.length);
}

function notAnEnvelope(bytes: Buffer): DekdError {
  const start = bytes.toString('latin1', 0, 5);
  // What "dekd" and version 1 look like to whoever forgot to decode base64 or hex.
  const hint =
    start === 'ZGVrZ'
      ? '; it looks like base64, decode it first'
      : start === '64656'
        ? '; it looks like hex, decode it first'
        : '';
  return malformed(`not an envelope, which begins with "dekd"${hint}`, 0);
}

function unknownFlags(flags: number): DekdError {
  const unknown = flags & ~FLAG_INLINE;
  const name =
    unknown === FLAG_PADDING
      ? 'flag bit 1 (padding), which is reserved'
      : `unknown flags 0x${unknown.toString(16).padStart(2, '0')}`;
  return malformed(`${name}, cannot be opened by this version`, 7);
}
