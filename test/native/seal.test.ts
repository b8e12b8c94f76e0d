import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import test from 'ava';
import {
  createKey,
  freeKey,
  type KeyUse,
  open,
  seal,
  sealDataKey,
  USE_DATA_KEY,
  USE_MESSAGE,
  USE_RAW,
} from '../../src/crypto/native.ts';
import { codeOf, loadKey, openTestArena } from './load-key.ts';

const NONCE = new Map([
  [1, 24],
  [2, 12],
]);
const none = new Uint8Array(0);

test.before(openTestArena);

/** XAES-256-GCM as c2sp.org/XAES-256-GCM says it, with node:crypto, apart from the addon's code. */
function xaesKey(key: Buffer, nonce: Buffer): Buffer {
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

function openElsewhere(suite: number, key: Buffer, aad: Uint8Array, sealed: Buffer): Buffer {
  const nonce = sealed.subarray(0, NONCE.get(suite));
  const gcmKey = suite === 1 ? xaesKey(key, nonce) : key;
  const decipher = createDecipheriv('aes-256-gcm', gcmKey, nonce.subarray(-12));
  decipher.setAAD(aad).setAuthTag(sealed.subarray(-16));
  return Buffer.concat([decipher.update(sealed.subarray(nonce.length, -16)), decipher.final()]);
}

const derived = (dek: Buffer, label: string) => Buffer.from(hkdfSync('sha256', dek, 'dekd v1', label, 32));

for (const suite of [1, 2]) {
  test(`suite ${suite}: what seal makes an independent implementation opens, and open too`, (t) => {
    const dek = randomBytes(32);
    const handles = { dek: loadKey(dek, 'dek'), raw: loadKey(dek, 'raw') };
    const uses: [KeyUse, Buffer][] = [
      [USE_RAW, dek],
      [USE_MESSAGE, derived(dek, 'message')],
      [USE_DATA_KEY, derived(dek, 'data-key')],
    ];
    for (const [use, key] of uses) {
      const handle = use === USE_RAW ? handles.raw : handles.dek;
      for (const length of [0, 1, 15, 16, 17, 255, 256, 4096, 100_000]) {
        const plaintext = randomBytes(length);
        const aad = randomBytes(length % 300);
        const out = Buffer.alloc(7 + 24 + length + 16 + 5, 0x5a);
        const written = seal(handle, use, suite, aad, aad.length, plaintext, out, 7);
        t.is(written, NONCE.get(suite)! + length + 16);
        t.deepEqual(out.subarray(0, 7), Buffer.alloc(7, 0x5a));
        t.deepEqual(out.subarray(7 + written), Buffer.alloc(out.length - 7 - written, 0x5a));
        const sealed = out.subarray(7, 7 + written);
        t.deepEqual(openElsewhere(suite, key, aad, sealed), plaintext);

        const back = Buffer.alloc(length + 3, 0x5a);
        t.is(open(handle, use, suite, aad, aad.length, out.subarray(0, 7 + written), 7, back), length);
        t.deepEqual(back.subarray(0, length), plaintext);
        t.deepEqual(back.subarray(length), Buffer.alloc(3, 0x5a));
      }
    }
    freeKey(handles.dek);
    freeKey(handles.raw);
  });

  test(`suite ${suite}: a change of any byte fails, and leaves no plaintext`, (t) => {
    const handle = createKey('dek');
    const aad = randomBytes(20);
    const plaintext = Buffer.alloc(40, 'secret');
    const sealed = Buffer.alloc(NONCE.get(suite)! + 40 + 16);
    seal(handle, USE_MESSAGE, suite, aad, aad.length, plaintext, sealed, 0);
    const check = (how: string, call: (out: Buffer) => unknown, length = 40) => {
      const out = Buffer.alloc(50, 0x5a);
      t.is(
        codeOf(() => call(out)),
        'ERR_AUTHENTICATION',
        how,
      );
      t.deepEqual(out, Buffer.concat([Buffer.alloc(length), Buffer.alloc(50 - length, 0x5a)]), how);
    };
    for (let at = 0; at < sealed.length; at++) {
      const changed = Buffer.from(sealed);
      changed[at]! ^= 1 << (at % 8);
      check(`byte ${at}`, (out) => open(handle, USE_MESSAGE, suite, aad, aad.length, changed, 0, out));
    }
    check('shorter aad', (out) => open(handle, USE_MESSAGE, suite, aad, aad.length - 1, sealed, 0, out));
    check('other use', (out) => open(handle, USE_DATA_KEY, suite, aad, aad.length, sealed, 0, out));
    check('other key', (out) => open(createKey('dek'), USE_MESSAGE, suite, aad, aad.length, sealed, 0, out));
    check('cut', (out) => open(handle, USE_MESSAGE, suite, aad, aad.length, sealed.subarray(0, -1), 0, out), 39);
    for (let length = 0; length < NONCE.get(suite)! + 16; length++) {
      check(
        `${length} bytes`,
        (out) => open(handle, USE_MESSAGE, suite, aad, aad.length, sealed.subarray(0, length), 0, out),
        0,
      );
    }
  });

  test(`suite ${suite}: a data key is random, sealed under K_data, and handed out only on request`, (t) => {
    const dek = randomBytes(32);
    const handle = loadKey(dek, 'dek');
    const seen = new Set<string>();
    for (const length of [1, 16, 32, 1024]) {
      const plaintext = Buffer.alloc(length + 4, 0x5a);
      const out = Buffer.alloc(2000);
      const written = sealDataKey(handle, suite, none, 0, length, plaintext, out, 3);
      t.is(written, NONCE.get(suite)! + length + 16);
      const opened = openElsewhere(suite, derived(dek, 'data-key'), none, out.subarray(3, 3 + written));
      t.deepEqual(opened, plaintext.subarray(0, length));
      t.deepEqual(plaintext.subarray(length), Buffer.alloc(4, 0x5a));

      const hidden = sealDataKey(handle, suite, none, 0, length, null, out, 0);
      const other = openElsewhere(suite, derived(dek, 'data-key'), none, out.subarray(0, hidden));
      if (length >= 16) seen.add(opened.toString('hex')).add(other.toString('hex'));
    }
    t.is(seen.size, 6);
    freeKey(handle);
  });

  test(`suite ${suite}: a nonce never comes twice`, (t) => {
    const handle = createKey('dek');
    const out = Buffer.alloc(64);
    const nonces = new Set<string>();
    for (let i = 0; i < 10_000; i++) {
      seal(handle, USE_MESSAGE, suite, none, 0, none, out, 0);
      nonces.add(out.toString('latin1', 0, NONCE.get(suite)));
    }
    t.is(nonces.size, 10_000);
    freeKey(handle);
  });
}

test('reserved suites are refused by name, others by number', (t) => {
  const handle = createKey('dek');
  const kek = createKey('raw');
  const out = Buffer.alloc(100);
  const calls = (suite: number) => [
    () => seal(handle, USE_MESSAGE, suite, none, 0, none, out, 0),
    () => open(handle, USE_MESSAGE, suite, none, 0, out, 0, Buffer.alloc(100)),
    () => sealDataKey(handle, suite, none, 0, 32, null, out, 0),
  ];
  const names = new Map([
    [3, /suite 3 is reserved \(XChaCha20-Poly1305\)/],
    [4, /suite 4 is reserved \(streams\)/],
    [0, /suite 0 is unknown/],
    [255, /suite 255 is unknown/],
  ]);
  for (const [suite, message] of names) {
    for (const call of calls(suite)) t.throws(call, { code: 'ERR_UNSUPPORTED_SUITE', message });
  }
  freeKey(handle);
  freeKey(kek);
});

test('each use works on its own kind of slot', (t) => {
  const [dek, raw, short] = [createKey('dek'), createKey('raw'), loadKey(randomBytes(31), 'raw')];
  const out = Buffer.alloc(100);
  const attempt = (handle: typeof dek, use: KeyUse) => codeOf(() => seal(handle, use, 1, none, 0, none, out, 0));
  t.is(attempt(dek, USE_RAW), 'ERR_WRONG_KIND');
  t.is(attempt(raw, USE_MESSAGE), 'ERR_WRONG_KIND');
  t.is(attempt(raw, USE_DATA_KEY), 'ERR_WRONG_KIND');
  t.is(attempt(short, USE_RAW), 'ERR_WRONG_KIND');
  t.is(
    codeOf(() => sealDataKey(raw, 1, none, 0, 32, null, out, 0)),
    'ERR_WRONG_KIND',
  );
  for (const handle of [dek, raw, short]) freeKey(handle);
});

test('source and destination that overlap are refused, neighbours in one buffer are not', (t) => {
  const handle = createKey('dek');
  const whole = Buffer.alloc(400);
  const plaintext = whole.subarray(100, 200);
  const aad = whole.subarray(0, 100);
  const sealAt = (offset: number) => codeOf(() => seal(handle, USE_MESSAGE, 1, aad, 100, plaintext, whole, offset));
  for (const offset of [0, 99, 100, 199]) t.is(sealAt(offset), 'ERR_INVALID_ARG', `at ${offset}`);
  t.is(sealAt(200), undefined);
  const sealed = whole.subarray(200, 340);
  const openTo = (out: Buffer) => codeOf(() => open(handle, USE_MESSAGE, 1, aad, 100, sealed, 0, out));
  t.is(openTo(whole.subarray(250)), 'ERR_INVALID_ARG');
  t.is(openTo(whole.subarray(101)), 'ERR_INVALID_ARG');
  t.is(openTo(whole.subarray(50)), 'ERR_INVALID_ARG');
  t.is(openTo(whole.subarray(100)), undefined);
  const dataKey = (plain: Buffer, out: Buffer) => codeOf(() => sealDataKey(handle, 1, aad, 100, 32, plain, out, 0));
  t.is(dataKey(whole.subarray(300), whole.subarray(310)), 'ERR_INVALID_ARG');
  t.is(dataKey(whole.subarray(90), whole.subarray(200)), 'ERR_INVALID_ARG');
  t.is(dataKey(whole.subarray(100), whole.subarray(132)), undefined);
  freeKey(handle);
});
