/** The addon's cryptography once more, from the specifications, with node:crypto. */
import { createCipheriv, createDecipheriv, createHmac, hkdfSync } from 'node:crypto';

export const NONCE_BYTES: Readonly<Record<number, number>> = { 1: 24, 2: 12 };
export const TAG_BYTES = 16;

/** docs/envelope.md, section 2 */
export function derive(dek: Buffer, label: 'dek-id' | 'dek-block' | 'message' | 'data-key'): Buffer {
  return hkdf(dek, Buffer.from('dekd v1'), Buffer.from(label), 32);
}

export function hkdf(key: Buffer, salt: Uint8Array, info: Uint8Array, length: number): Buffer {
  return Buffer.from(hkdfSync('sha256', key, salt, info, length));
}

export function hmacSha256(key: Buffer, data: Uint8Array): Buffer {
  return createHmac('sha256', key).update(data).digest();
}

export function sealElsewhere(suite: number, key: Buffer, nonce: Buffer, aad: Uint8Array, plaintext: Buffer): Buffer {
  const cipher = createCipheriv('aes-256-gcm', gcmKey(suite, key, nonce), nonce.subarray(-12)).setAAD(aad);
  return Buffer.concat([nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
}

export function openElsewhere(suite: number, key: Buffer, aad: Uint8Array, sealed: Buffer): Buffer {
  const nonce = sealed.subarray(0, NONCE_BYTES[suite]);
  const decipher = createDecipheriv('aes-256-gcm', gcmKey(suite, key, nonce), nonce.subarray(-12));
  decipher.setAAD(aad).setAuthTag(sealed.subarray(-TAG_BYTES));
  return Buffer.concat([decipher.update(sealed.subarray(nonce.length, -TAG_BYTES)), decipher.final()]);
}

/** c2sp.org/XAES-256-GCM derives a key for each message. */
function gcmKey(suite: number, key: Buffer, nonce: Buffer): Buffer {
  if (suite !== 1) return key;
  const aes = createCipheriv('aes-256-ecb', key, null).setAutoPadding(false);
  let subkey = BigInt(`0x${aes.update(Buffer.alloc(16)).toString('hex')}`) << 1n;
  if (subkey >> 128n) subkey = (subkey & ((1n << 128n) - 1n)) ^ 0x87n;
  const mask = Buffer.from(subkey.toString(16).padStart(32, '0'), 'hex');
  const halves = [1, 2].map((counter) => {
    const block = Buffer.concat([Buffer.from([0, counter, 0x58, 0]), nonce.subarray(0, 12)]);
    return aes.update(block.map((byte, at) => byte ^ mask[at]!));
  });
  return Buffer.concat(halves);
}
