import { spawnSync } from 'node:child_process';
import { createHmac, hkdfSync, randomBytes } from 'node:crypto';
import { closeSync, openSync } from 'node:fs';
import { tmpdir } from 'node:os';
import test from 'ava';
import {
  blockMac,
  blockVerify,
  createKey,
  dekId,
  deriveKey,
  freeKey,
  hmac,
  hmacVerify,
  readKey,
  type SlotHandle,
  unwrapKey,
  wrapKey,
} from '../../src/crypto/native.ts';
import { runChild } from './child.ts';
import { codeOf, loadKey, openTestArena, withFile } from './load-key.ts';

const none = new Uint8Array(0);
const sequence = Buffer.from(Array.from({ length: 32 }, (_, at) => at));

test.before(openTestArena);

test('the DEK 00…1f has the dek_id and the MAC of docs/envelope.md', (t) => {
  const handle = loadKey(sequence, 'dek');
  t.is(dekId(handle).toString('hex'), '4348df81d3f8079cb6552da9a317bf7ac102c4acc7e5e02665d7c48819109bfd');
  const blockKey = Buffer.from(hkdfSync('sha256', sequence, 'dekd v1', 'dek-block', 32));
  const block = randomBytes(500);
  t.deepEqual(blockMac(handle, block), createHmac('sha256', blockKey).update(block).digest());
  freeKey(handle);
});

test('readKey takes exactly the length from a file', (t) => {
  const read = (bytes: Uint8Array, kind: 'dek' | 'raw', length: number) =>
    codeOf(() => withFile(bytes, (fd) => freeKey(readKey(fd, kind, length))));
  for (const length of [1, 31, 32, 33, 64, 65, 127, 128]) {
    t.is(read(randomBytes(length), 'raw', length), undefined);
    t.is(read(randomBytes(length - 1), 'raw', length), 'ERR_KEY_LENGTH');
    t.is(read(randomBytes(length + 1), 'raw', length), 'ERR_KEY_LENGTH');
  }
  t.is(read(randomBytes(32), 'dek', 32), undefined);
  t.is(read(randomBytes(31), 'dek', 31), 'ERR_INVALID_ARG');
  t.is(read(none, 'dek', 32), 'ERR_KEY_LENGTH');
});

test('readKey: a directory and a closed descriptor are system errors, and cost no slot', (t) => {
  const folder = openSync(tmpdir(), 'r');
  t.throws(() => readKey(folder, 'raw', 32), { code: 'ERR_SYSTEM', message: /^read failed: / });
  try {
    readKey(folder, 'raw', 32);
  } catch (error) {
    const { errno, syscall } = error as NodeJS.ErrnoException;
    t.deepEqual([errno, syscall], [21 /* EISDIR */, 'read']);
  }
  closeSync(folder);
  t.is(
    codeOf(() => readKey(2 ** 31 - 1, 'raw', 32)),
    'ERR_SYSTEM',
  );
  const child = runChild(`
    native.openArena({ size: 4096, lock: 'best-effort' });
    const codes = new Set(Array.from({ length: 100 }, () => codeOf(() => native.readKey(999, 'raw', 32))));
    return [[...codes], native.arenaStatus().slotsUsed]`);
  t.deepEqual(child.value, [['ERR_SYSTEM'], 0]);
});

test('readKey reads a pipe to its end, in whatever pieces it comes', (t) => {
  const script = `const n = require('./native/build/dekd.node'); n.openArena({ size: 4096, lock: 'best-effort' });
    try { console.log(n.dekId(n.readKey(0, 'dek', 32)).toString('hex')) } catch (error) { console.log(error.code) }`;
  const pipe = (writer: string) =>
    spawnSync('sh', ['-c', `{ ${writer}; } | "$0" -e "$1"`, process.execPath, script], {
      encoding: 'utf8',
    }).stdout.trim();
  const half = (from: number) =>
    `printf '${[...sequence.subarray(from, from + 16)].map((b) => `\\${b.toString(8).padStart(3, '0')}`).join('')}'`;
  t.is(pipe(`${half(0)}; sleep 0.1; ${half(16)}`), '4348df81d3f8079cb6552da9a317bf7ac102c4acc7e5e02665d7c48819109bfd');
  t.is(pipe(half(0)), 'ERR_KEY_LENGTH');
  t.is(pipe(`${half(0)}; ${half(16)}; sleep 0.1; printf x`), 'ERR_KEY_LENGTH');
});

test('a freed handle is stale for every call, also when its slot is in use again', (t) => {
  const stale = createKey('dek');
  freeKey(stale);
  const reused = createKey('dek');
  t.is(reused % 2 ** 20, stale % 2 ** 20, 'the same slot');
  t.is(Math.floor(reused / 2 ** 20), Math.floor(stale / 2 ** 20) + 1, 'the next generation');
  const raw = createKey('raw');
  const calls = [
    () => freeKey(stale),
    () => dekId(stale),
    () => blockMac(stale, none),
    () => blockVerify(stale, none, none),
    () => hmac(stale, none),
    () => hmacVerify(stale, none, none),
    () => deriveKey(stale, none, none, 32),
    () => wrapKey(stale, 1, reused, none),
    () => wrapKey(raw, 1, stale, none),
    () => unwrapKey(stale, 1, Buffer.alloc(72), none, 'dek'),
  ];
  for (const call of calls) t.is(codeOf(call), 'ERR_STALE_HANDLE', call.toString());
  const invented = [
    0,
    1,
    2 ** 20 - 1,
    2 ** 20 + 2 ** 20 - 1,
    2 ** 52,
    Number.MAX_SAFE_INTEGER,
    reused + 2 ** 20,
    reused - 2 ** 20,
  ];
  for (const handle of invented)
    t.is(
      codeOf(() => dekId(handle as SlotHandle)),
      'ERR_STALE_HANDLE',
      String(handle),
    );
  t.is(dekId(reused).length, 32);
  freeKey(reused);
  freeKey(raw);
});

test('what frees, zeroes', (t) => {
  const child = runChild(`
    const { slots } = native.openArena({ size: 4096, lock: 'best-effort', avoidSecretMemory: true, maxSealed: 0 });
    const line = fs.readFileSync('/proc/self/smaps', 'utf8').split(/\\n(?=[0-9a-f]+-[0-9a-f]+ )/)
      .find((part) => / rw-/.test(part) && /^Size: +4 kB/m.test(part) && /VmFlags:.*\\bdc\\b/.test(part));
    const at = parseInt(line, 16), page = Buffer.alloc(4096), mem = fs.openSync('/proc/self/mem', 'r');
    const slot = (index) => page.subarray(1152 + 256 * index, 1152 + 256 * (index + 1));
    /* Of a free slot, all but its generation and the free list. */
    const used = () => { fs.readSync(mem, page, 0, 4096, at); return Array.from({ length: slots }, (_, i) => slot(i)).some((bytes) => [...bytes.subarray(8, 28), ...bytes.subarray(32)].some((byte) => byte !== 0)); };
    const before = used();
    const [dek, raw] = [native.createKey('dek'), native.createKey('raw')];
    native.sealDataKey(dek, 1, page, 0, 1024, null, Buffer.alloc(1100), 0);
    native.unwrapKey(raw, 1, native.wrapKey(raw, 1, dek, page.subarray(0, 0)), page.subarray(0, 0), 'dek');
    const during = used();
    const rooms = page.subarray(128, 1152).some((byte) => byte !== 0);
    codeOf(() => native.unwrapKey(raw, 1, Buffer.alloc(72), page, 'dek'));
    for (const slot of [0, 1, 2]) native.freeKey(2 ** 20 + slot);
    return { before, during, rooms, after: used() }`);
  t.deepEqual(child.value, { before: false, during: true, rooms: false, after: false });
});

test('hmac and hmacVerify', (t) => {
  for (const length of [1, 32, 63, 64, 65, 128]) {
    const key = randomBytes(length);
    const handle = loadKey(key, 'raw');
    for (const size of [0, 1, 64, 10_000]) {
      const data = randomBytes(size);
      const mac = createHmac('sha256', key).update(data).digest();
      t.deepEqual(hmac(handle, data), mac);
      t.true(hmacVerify(handle, data, mac));
      mac[31]! ^= 1;
      t.false(hmacVerify(handle, data, mac));
      t.false(hmacVerify(handle, data, mac.subarray(0, 31)));
      t.false(hmacVerify(handle, data, Buffer.concat([mac, mac])));
      t.false(hmacVerify(handle, data, none));
    }
    freeKey(handle);
  }
});

test('deriveKey is HKDF-SHA-256', (t) => {
  const key = randomBytes(40);
  const from = loadKey(key, 'raw');
  for (const length of [1, 31, 32, 33, 64, 128]) {
    const [salt, info] = [randomBytes(length), randomBytes(3 * length)];
    const derived = deriveKey(from, salt, info, length);
    const expected = Buffer.from(hkdfSync('sha256', key, salt, info, length));
    t.deepEqual(hmac(derived, none), createHmac('sha256', expected).digest());
    freeKey(derived);
  }
  freeKey(from);
});

test('blockVerify wants both the dek_id and the MAC', (t) => {
  const handle = createKey('dek');
  const id = dekId(handle);
  const body = randomBytes(300);
  const block = Buffer.concat([body, blockMac(handle, body)]);
  t.true(blockVerify(handle, id, block));
  const changed = (bytes: Buffer, at: number) => Buffer.from(bytes.map((byte, i) => (i === at ? byte ^ 1 : byte)));
  for (const at of [0, 299, 300, 331]) t.false(blockVerify(handle, id, changed(block, at)));
  for (const at of [0, 31]) t.false(blockVerify(handle, changed(id, at), block));
  t.false(blockVerify(handle, id.subarray(1), block));
  t.false(blockVerify(handle, id, block.subarray(1)));
  t.false(blockVerify(handle, id, none));
  t.false(blockVerify(handle, none, none));
  t.true(blockVerify(handle, id, blockMac(handle, none)));
  t.false(blockVerify(createKey('dek'), id, block));
  freeKey(handle);
});

for (const [suite, size] of [
  [1, 72],
  [2, 60],
] as const) {
  test(`suite ${suite}: wrapKey and unwrapKey`, (t) => {
    const [kek, dek, other, short] = [
      createKey('raw'),
      createKey('dek'),
      createKey('raw'),
      loadKey(randomBytes(16), 'raw'),
    ];
    const aad = Buffer.from('context');
    const wrapped = wrapKey(kek, suite, dek, aad);
    t.is(wrapped.length, size);
    t.notDeepEqual(wrapKey(kek, suite, dek, aad), wrapped);
    const back = unwrapKey(kek, suite, wrapped, aad, 'dek');
    t.deepEqual(dekId(back), dekId(dek));
    const raw = unwrapKey(kek, suite, wrapped, aad, 'raw');
    t.deepEqual(dekId(unwrapKey(kek, suite, wrapKey(kek, suite, raw, none), none, 'dek')), dekId(dek));

    const refused = (call: () => unknown) => codeOf(call);
    for (let at = 0; at < size; at++) {
      const changed = Buffer.from(wrapped);
      changed[at]! ^= 0x80;
      t.is(
        refused(() => unwrapKey(kek, suite, changed, aad, 'dek')),
        'ERR_AUTHENTICATION',
      );
    }
    for (const length of [0, 1, 12, 24, size - 1]) {
      t.is(
        refused(() => unwrapKey(kek, suite, wrapped.subarray(0, length), aad, 'dek')),
        'ERR_AUTHENTICATION',
      );
    }
    t.is(
      refused(() => unwrapKey(kek, suite, Buffer.concat([wrapped, none, aad]), aad, 'dek')),
      'ERR_AUTHENTICATION',
    );
    t.is(
      refused(() => unwrapKey(kek, suite, wrapped, none, 'dek')),
      'ERR_AUTHENTICATION',
    );
    t.is(
      refused(() => unwrapKey(other, suite, wrapped, aad, 'dek')),
      'ERR_AUTHENTICATION',
    );
    t.is(
      refused(() => unwrapKey(dek, suite, wrapped, aad, 'dek')),
      'ERR_WRONG_KIND',
    );
    t.is(
      refused(() => wrapKey(dek, suite, kek, aad)),
      'ERR_WRONG_KIND',
    );
    t.is(
      refused(() => wrapKey(short, suite, dek, aad)),
      'ERR_WRONG_KIND',
    );
    t.is(
      refused(() => wrapKey(kek, suite, short, aad)),
      'ERR_WRONG_KIND',
    );
    for (const bad of [0, 3, 4, 5]) {
      t.is(
        refused(() => wrapKey(kek, bad, dek, aad)),
        'ERR_UNSUPPORTED_SUITE',
      );
      t.is(
        refused(() => unwrapKey(kek, bad, wrapped, aad, 'dek')),
        'ERR_UNSUPPORTED_SUITE',
      );
    }
    for (const handle of [kek, dek, other, short, back, raw]) freeKey(handle);
  });
}
