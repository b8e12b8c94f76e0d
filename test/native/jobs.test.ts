import { randomBytes } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import test from 'ava';
import {
  createKey,
  freeKey,
  type KeyUse,
  open,
  openAsync,
  type SlotHandle,
  seal,
  sealAsync,
} from '../../src/crypto/native.ts';
import { ADDON, runChild } from './child.ts';
import { codeOfJob, openTestArena } from './load-key.ts';

const none = new Uint8Array(0);
const aad = Buffer.from('associated data');
const prefix = Buffer.from('prefix');

test.before(openTestArena);

for (const suite of [1, 2]) {
  test(`suite ${suite}: sealAsync makes what open opens, openAsync opens what seal makes`, async (t) => {
    const handles: Record<KeyUse, SlotHandle> = { 0: createKey('raw'), 1: createKey('dek'), 2: createKey('dek') };
    for (const use of [0, 1, 2] as const) {
      for (const length of [0, 1, 100_000, 5 << 20]) {
        const plaintext = randomBytes(length);
        const sealed = await sealAsync(handles[use], use, suite, aad, aad.length, plaintext, prefix);
        t.is(sealed.length, prefix.length + (suite === 1 ? 24 : 12) + length + 16);
        t.deepEqual(sealed.subarray(0, prefix.length), prefix);
        const back = Buffer.alloc(length);
        t.is(open(handles[use], use, suite, aad, aad.length, sealed, prefix.length, back), length);
        t.true(back.equals(plaintext));

        const out = Buffer.alloc(sealed.length);
        seal(handles[use], use, suite, aad, aad.length, plaintext, out, prefix.length);
        const opened = await openAsync(handles[use], use, suite, aad, aad.length, out, prefix.length);
        t.is(opened.length, length);
        t.true(opened.equals(plaintext));
      }
    }
    for (const handle of Object.values(handles)) freeKey(handle);
  });

  test(`suite ${suite}: a change of any part does not authenticate`, async (t) => {
    const [dek, other] = [createKey('dek'), createKey('dek')];
    const sealed = await sealAsync(dek, 1, suite, aad, aad.length, randomBytes(100_000), none);
    for (const at of [0, 11, 12, 23, 24, 50_000, sealed.length - 17, sealed.length - 16, sealed.length - 1]) {
      const changed = Buffer.from(sealed);
      changed[at]! ^= 1;
      t.is(await codeOfJob(() => openAsync(dek, 1, suite, aad, aad.length, changed, 0)), 'ERR_AUTHENTICATION');
    }
    const wrong = [
      () => openAsync(dek, 1, suite, aad, aad.length - 1, sealed, 0),
      () => openAsync(dek, 2, suite, aad, aad.length, sealed, 0),
      () => openAsync(other, 1, suite, aad, aad.length, sealed, 0),
      () => openAsync(dek, 1, 3 - suite, aad, aad.length, sealed, 0),
      () => openAsync(dek, 1, suite, aad, aad.length, sealed, 1),
      () => openAsync(dek, 1, suite, aad, aad.length, sealed, sealed.length - 20),
    ];
    for (const call of wrong) t.is(await codeOfJob(call), 'ERR_AUTHENTICATION');
    freeKey(dek);
    freeKey(other);
  });
}

test('what is wrong with the key rejects, and never throws', async (t) => {
  const [dek, raw, stale] = [createKey('dek'), createKey('raw'), createKey('dek')];
  freeKey(stale);
  const calls = [
    ['ERR_STALE_HANDLE', stale, 1, 1],
    ['ERR_WRONG_KIND', dek, 0, 1],
    ['ERR_WRONG_KIND', raw, 1, 1],
    ['ERR_UNSUPPORTED_SUITE', dek, 1, 3],
    ['ERR_INVALID_ARG', dek, 3, 1],
  ] as const;
  for (const [code, handle, use, suite] of calls) {
    const jobs = [
      sealAsync(handle, use as KeyUse, suite, none, 0, none, none),
      openAsync(handle, use as KeyUse, suite, none, 0, Buffer.alloc(40), 0),
    ];
    for (const job of jobs) t.is(await codeOfJob(() => job), code);
  }
  freeKey(dek);
  freeKey(raw);
});

test('buffers may be zeroed, detached and shrunk as soon as the call returns', async (t) => {
  const dek = createKey('dek');
  const bytes = randomBytes(1 << 20);
  const ruin: ((view: Uint8Array<ArrayBuffer>) => void)[] = [
    (view) => view.fill(0),
    (view) => structuredClone(view.buffer, { transfer: [view.buffer] }),
    (view) => view.buffer.transferToFixedLength(1),
    (view) => view.buffer.resize(0),
  ];
  const copyOf = (from: Uint8Array) => {
    const view = new Uint8Array(new ArrayBuffer(from.length, { maxByteLength: from.length }));
    view.set(from);
    return view;
  };
  const sealed = await sealAsync(dek, 1, 1, aad, aad.length, bytes, prefix);
  for (const spoil of ruin) {
    const given = [copyOf(aad), copyOf(bytes), copyOf(prefix), copyOf(sealed), copyOf(aad)] as const;
    const sealing = sealAsync(dek, 1, 1, given[0], aad.length, given[1], given[2]);
    const opening = openAsync(dek, 1, 1, given[4], aad.length, given[3], prefix.length);
    for (const view of given) spoil(view);
    const again = await sealing;
    t.deepEqual(again.subarray(0, prefix.length), prefix);
    t.true((await opening).equals(bytes));
    t.true((await openAsync(dek, 1, 1, aad, aad.length, again, prefix.length)).equals(bytes));
  }
  freeKey(dek);
});

test('a key that is freed under its jobs serves them, and is zeroed when they are done', async (t) => {
  const child = runChild(`
    native.openArena({ size: 4096, lock: 'best-effort', maxSealed: 1 });
    const crypto = require('node:crypto'), none = new Uint8Array(0), big = Buffer.alloc(1 << 20, 7);
    const used = () => { const { slotsUsed, sealed } = native.arenaStatus(); return slotsUsed + sealed; };
    return (async () => {
      const answers = [];
      for (const [kind, use] of [['raw', 0], ['dek', 1]]) {
        const key = native.createKey(kind);
        const sealed = await native.sealAsync(key, use, 1, none, 0, big, none);
        /* The pool has four threads, and is busy before the jobs come. */
        for (let i = 0; i < 4; i++) crypto.pbkdf2('x', 'y', 1_000_000, 32, 'sha256', () => {});
        const jobs = Array.from({ length: 12 }, () => native.openAsync(key, use, 1, none, 0, sealed, 0));
        native.freeKey(key);
        const held = used();
        const stale = [codeOf(() => native.freeKey(key)), await native.openAsync(key, use, 1, none, 0, sealed, 0).catch((error) => error.code)];
        const right = (await Promise.all(jobs)).filter((plaintext) => plaintext.equals(big)).length;
        answers.push({ held, stale, right, after: used() });
      }
      return answers;
    })()`);
  const expected = { held: 1, stale: ['ERR_STALE_HANDLE', 'ERR_STALE_HANDLE'], right: 12, after: 0 };
  t.deepEqual(child.value, [expected, expected], child.stderr);
});

test('nothing of it runs in the caller’s thread but the copies: the loop turns meanwhile', async (t) => {
  const dek = createKey('dek');
  const plaintext = randomBytes(32 << 20);
  let turns = 0;
  let settled = false;
  const job = sealAsync(dek, 1, 1, none, 0, plaintext, none).then((sealed) => {
    settled = true;
    return sealed;
  });
  while (!settled) {
    await turn();
    turns++;
  }
  t.true(turns > 1, `${turns} turns`);
  const back = await openAsync(dek, 1, 1, none, 0, await job, 0);
  t.true(back.equals(plaintext));
  freeKey(dek);
});

test('a worker that ends while its jobs run leaves no pin behind', (t) => {
  const code = `
    const { workerData, parentPort } = require('node:worker_threads');
    const native = require(workerData.addon);
    const big = Buffer.alloc(16 << 20), none = new Uint8Array(0);
    for (let i = 0; i < 8; i++) native.sealAsync(workerData.key, workerData.use, 1, none, 0, big, none);
    parentPort.postMessage('started');
    for (;;);`;
  const child = runChild(`
    const { Worker } = require('node:worker_threads');
    native.openArena({ size: 4096, lock: 'best-effort', maxSealed: 1 });
    const used = () => { const { slotsUsed, sealed } = native.arenaStatus(); return slotsUsed + sealed; };
    return (async () => {
      const answers = [];
      for (const [kind, use] of [['raw', 0], ['dek', 1]]) {
        const key = native.createKey(kind);
        for (let round = 0; round < 5; round++) {
          const workerData = { addon: ${JSON.stringify(ADDON)}, key, use };
          const worker = new Worker(${JSON.stringify(code)}, { eval: true, workerData });
          await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
          await worker.terminate();
        }
        const none = new Uint8Array(0), works = (await native.sealAsync(key, use, 1, none, 0, none, none)).length;
        native.freeKey(key);
        answers.push([works, used()]);
      }
      return answers;
    })()`);
  const freed = [40, 0];
  t.deepEqual(child.value, [freed, freed], child.stderr);
});

test('an answer that nobody waits for does no harm', (t) => {
  const child = runChild(`
    native.openArena({ size: 4096, lock: 'best-effort' });
    const dek = native.createKey('dek'), none = new Uint8Array(0);
    process.on('unhandledRejection', () => {});
    for (let i = 0; i < 20; i++) {
      native.sealAsync(dek, 1, 1, none, 0, Buffer.alloc(1 << 20), none);
      native.openAsync(dek, 1, 1, none, 0, Buffer.alloc(1 << 20), 0);
    }
    native.freeKey(dek);
    return 'ended'`);
  t.deepEqual([child.status, child.value], [0, 'ended'], child.stderr);
});

test('process.exit while jobs run', (t) => {
  const child = runChild(`
    native.openArena({ size: 4096, lock: 'best-effort' });
    const dek = native.createKey('dek'), none = new Uint8Array(0);
    for (let i = 0; i < 20; i++) native.sealAsync(dek, 1, 1, none, 0, Buffer.alloc(8 << 20), none);
    fs.writeSync(1, '"left"');
    process.exit(0)`);
  t.deepEqual([child.status, child.value], [0, 'left'], child.stderr);
});
