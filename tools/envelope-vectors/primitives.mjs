/** The primitives of docs/envelope.md with node:crypto, sharing nothing with src/ or native/. */
import { createCipheriv, createHash, hkdfSync } from 'node:crypto';

/** Stands for random bytes, the same on every run: SHA-256 of a name. */
export function fixedBytes(name, length) {
  const blocks = [];
  for (let index = 0; index * 32 < length; index++) {
    blocks.push(createHash('sha256').update(`dekd vector ${index} ${name}`).digest());
  }
  return Buffer.concat(blocks).subarray(0, length);
}

export function derive(dek, label) {
  return Buffer.from(hkdfSync('sha256', dek, 'dekd v1', label, 32));
}

function gcm(key, nonce, aad, plaintext) {
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  cipher.setAAD(aad);
  return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
}

function aesBlock(key, block) {
  const cipher = createCipheriv('aes-256-ecb', key, null);
  cipher.setAutoPadding(false);
  return Buffer.concat([cipher.update(block), cipher.final()]);
}

// c2sp.org/XAES-256-GCM, with the 128-bit numbers as BigInt.
function xaes(key, nonce, aad, plaintext) {
  const number = (bytes) => BigInt(`0x${bytes.toString('hex')}`);
  const l = number(aesBlock(key, Buffer.alloc(16)));
  const k1 = BigInt.asUintN(128, l << 1n) ^ (l >> 127n === 1n ? 0x87n : 0n);
  const half = (counter) => {
    const message = number(Buffer.concat([Buffer.of(0, counter, 0x58, 0), nonce.subarray(0, 12)]));
    return aesBlock(key, Buffer.from((message ^ k1).toString(16).padStart(32, '0'), 'hex'));
  };
  return gcm(Buffer.concat([half(1), half(2)]), nonce.subarray(12), aad, plaintext);
}

export function aead(suite, key, nonce, aad, plaintext) {
  return suite === 2 ? gcm(key, nonce, aad, plaintext) : xaes(key, nonce, aad, plaintext);
}

export function keyWrap(algorithm, kek, dek) {
  const [name, iv] = algorithm === 3 ? ['id-aes256-wrap', 'a6a6a6a6a6a6a6a6'] : ['id-aes256-wrap-pad', 'a65959a6'];
  const cipher = createCipheriv(name, kek, Buffer.from(iv, 'hex'));
  return Buffer.concat([cipher.update(dek), cipher.final()]);
}
