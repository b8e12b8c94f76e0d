import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { deriveKey, freeKey, hmac, hmacVerify, open, USE_RAW } from '../../src/crypto/native.ts';
import { codeOf, loadKey, openTestArena } from './load-key.ts';

interface Group<T> {
  ivSize?: number;
  keySize?: number;
  tagSize?: number;
  tests: (T & { tcId: number; result: 'valid' | 'invalid' })[];
}
type Aead = { key: string; nonce?: string; iv?: string; aad: string; msg: string; ct: string; tag: string };
type Hkdf = { ikm: string; salt: string; info: string; size: number; okm: string };
type Mac = { key: string; msg: string; tag: string };

const hex = (text: string) => Buffer.from(text, 'hex');
const read = (name: string) =>
  JSON.parse(readFileSync(join(import.meta.dirname, '..', 'vectors', name), 'utf8')) as Record<string, unknown>;
const groups = <T>(name: string) => read(name)['testGroups'] as Group<T>[];

test.before(openTestArena);

/** What `open` gives for a vector, or the code of its error; on an error nothing may stay in the output. */
function opened(suite: number, vector: Aead): { code: string | undefined; plaintext: Buffer } {
  const key = loadKey(hex(vector.key), 'raw');
  const aad = hex(vector.aad);
  const sealed = hex((vector.nonce ?? vector.iv)! + vector.ct + vector.tag);
  const out = Buffer.alloc(vector.ct.length / 2, 0xa5);
  const code = codeOf(() => open(key, USE_RAW, suite, aad, aad.length, sealed, 0, out));
  freeKey(key);
  return { code, plaintext: out };
}

test('XAES-256-GCM, C2SP', (t) => {
  const vectors = read('xaes-256-gcm.json')['tests'] as Aead[];
  for (const vector of vectors) {
    t.deepEqual(opened(1, vector), { code: undefined, plaintext: hex(vector.msg) });
    t.is(opened(1, { ...vector, tag: `00${vector.tag.slice(2)}` }).code, 'ERR_AUTHENTICATION');
    t.is(opened(1, { ...vector, aad: `${vector.aad}00` }).code, 'ERR_AUTHENTICATION');
  }
  t.log(`${vectors.length} ran, 0 left out`);
  t.is(vectors.length, 2);
});

test('AES-256-GCM, Wycheproof', (t) => {
  const count = { valid: 0, invalid: 0, keySize: 0, ivSize: 0, tagSize: 0 };
  for (const group of groups<Aead>('wycheproof-aes-gcm.json')) {
    const why = leftOut(group);
    if (why !== undefined) {
      count[why] += group.tests.length;
      continue;
    }
    for (const vector of group.tests) {
      count[vector.result]++;
      const expected =
        vector.result === 'valid'
          ? { code: undefined, plaintext: hex(vector.msg) }
          : { code: 'ERR_AUTHENTICATION', plaintext: Buffer.alloc(vector.ct.length / 2) };
      t.deepEqual(opened(2, vector), expected, `tcId ${vector.tcId}`);
    }
  }
  t.log(
    `${count.valid + count.invalid} ran (${count.valid} valid, ${count.invalid} invalid); left out: ` +
      `${count.keySize} for keys of 128 and 192 bits, ${count.ivSize} for nonces that have not 96 bits`,
  );
  t.deepEqual(count, { valid: 39, invalid: 27, keySize: 211, ivSize: 39, tagSize: 0 });
});

function leftOut(group: Group<Aead>): 'keySize' | 'ivSize' | 'tagSize' | undefined {
  if (group.keySize !== 256) return 'keySize';
  if (group.ivSize !== 96) return 'ivSize';
  return group.tagSize === 128 ? undefined : 'tagSize';
}

test('HKDF-SHA-256, Wycheproof', (t) => {
  const count = { ran: 0, tooLong: 0 };
  for (const vector of groups<Hkdf>('wycheproof-hkdf-sha256.json').flatMap((group) => group.tests)) {
    const from = loadKey(hex(vector.ikm), 'raw');
    if (vector.size > 128) {
      count.tooLong++;
      t.is(
        codeOf(() => deriveKey(from, hex(vector.salt), hex(vector.info), vector.size)),
        'ERR_INVALID_ARG',
      );
    } else {
      count.ran++;
      const derived = deriveKey(from, hex(vector.salt), hex(vector.info), vector.size);
      /* The output cannot leave its slot: what it MACs tells whether it is the right one. */
      const expected = createHmac('sha256', hex(vector.okm)).update('probe').digest();
      t.deepEqual(hmac(derived, Buffer.from('probe')), expected, `tcId ${vector.tcId}`);
      freeKey(derived);
    }
    freeKey(from);
  }
  t.log(`${count.ran} ran; left out: ${count.tooLong} for outputs over the 128 bytes of a slot (refused)`);
  t.deepEqual(count, { ran: 80, tooLong: 6 });
});

test('HMAC-SHA-256, Wycheproof', (t) => {
  const count = { valid: 0, invalid: 0, shortTag: 0 };
  for (const group of groups<Mac>('wycheproof-hmac-sha256.json')) {
    for (const vector of group.tests) {
      count[group.tagSize === 256 ? vector.result : 'shortTag']++;
      const key = loadKey(hex(vector.key), 'raw');
      const same = hmacVerify(key, hex(vector.msg), hex(vector.tag));
      t.is(same, group.tagSize === 256 && vector.result === 'valid', `tcId ${vector.tcId}`);
      const begins = hmac(key, hex(vector.msg)).toString('hex').startsWith(vector.tag);
      t.is(begins, vector.result === 'valid', `tcId ${vector.tcId}`);
      freeKey(key);
    }
  }
  t.log(
    `${count.valid + count.invalid} ran (${count.valid} valid, ${count.invalid} invalid); left out of hmacVerify: ` +
      `${count.shortTag} for tags of 128 bits (hmac's first bytes compared)`,
  );
  t.deepEqual(count, { valid: 33, invalid: 54, shortTag: 87 });
});
