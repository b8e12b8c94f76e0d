const ALPHABET = Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/', 'latin1');
const PADDING = 0x3d;

/**
 * Base64 (RFC 4648, section 4) as bytes. Unlike Buffer's own it makes no string: a string cannot be zeroed, and what is encoded here
 * may be key material.
 */
export function writeBase64(bytes: Uint8Array, target: Buffer, offset: number): number {
  let at = offset;
  for (let index = 0; index < bytes.length; index += 3) {
    const left = bytes.length - index;
    const group = ((bytes[index] ?? 0) << 16) | ((bytes[index + 1] ?? 0) << 8) | (bytes[index + 2] ?? 0);
    target[at] = ALPHABET[group >>> 18] as number;
    target[at + 1] = ALPHABET[(group >>> 12) & 63] as number;
    target[at + 2] = left > 1 ? (ALPHABET[(group >>> 6) & 63] as number) : PADDING;
    target[at + 3] = left > 2 ? (ALPHABET[group & 63] as number) : PADDING;
    at += 4;
  }
  return at;
}

/** Bytes that writeBase64 needs. */
export function base64Length(byteLength: number): number {
  return Math.ceil(byteLength / 3) * 4;
}
