import { spawnSync } from 'node:child_process';
import { Worker } from 'node:worker_threads';
import test from 'ava';
import { createKey, dekId, freeKey, type SlotHandle } from '../../src/crypto/native.ts';
import { ADDON } from './child.ts';
import { codeOf, openTestArena } from './load-key.ts';

test.before(openTestArena);

/* Each thread has handles of its own, the shared one, and one that is freed under it. */
const WORK = `
  const { workerData, parentPort } = require('node:worker_threads');
  const native = require(workerData.addon);
  const aad = Buffer.alloc(30), plaintext = Buffer.alloc(256, workerData.id), out = Buffer.alloc(400), back = Buffer.alloc(300);
  const results = {};
  const count = (what) => { results[what] = (results[what] ?? 0) + 1; };
  for (let i = 0; i < 3000; i++) {
    const own = native.createKey('dek');
    for (const [name, handle] of [['own', own], ['shared', workerData.shared], ['doomed', workerData.doomed]]) {
      try {
        const written = native.seal(handle, 1, 1 + i % 2, aad, aad.length, plaintext, out, 0);
        const length = native.open(handle, 1, 1 + i % 2, aad, aad.length, out.subarray(0, written), 0, back);
        count(name + (back.subarray(0, length).equals(plaintext) ? ' same' : ' DIFFERENT'));
        native.sealDataKey(handle, 1, aad, 0, 32, null, out, 0);
      } catch (error) { count(name + ' ' + error.code); }
    }
    if (i === 1000 && workerData.id === 0) native.freeKey(workerData.doomed);
    native.freeKey(own);
  }
  parentPort.postMessage(results);`;

function work(data: object): Promise<Record<string, number>> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(WORK, { eval: true, workerData: { addon: ADDON, ...data } });
    worker.once('message', resolve).once('error', reject);
  });
}

test('four threads use one arena at once, and a key that is freed under them', async (t) => {
  const [shared, doomed] = [createKey('dek'), createKey('dek')] as [SlotHandle, SlotHandle];
  const results = await Promise.all([0, 1, 2, 3].map((id) => work({ id, shared, doomed })));
  for (const result of results) {
    const keys = Object.keys(result);
    t.deepEqual(
      keys.filter((key) => !['own same', 'shared same', 'doomed same', 'doomed ERR_STALE_HANDLE'].includes(key)),
      [],
    );
    t.is(result['own same'], 3000);
    t.is(result['shared same'], 3000);
  }
  t.true(results[0]!['doomed ERR_STALE_HANDLE']! >= 1999);
  t.is(dekId(shared).length, 32);
  t.is(
    codeOf(() => dekId(doomed)),
    'ERR_STALE_HANDLE',
  );
  freeKey(shared);
});

test('the arena outlives the thread that loaded the addon first', (t) => {
  const script = `
    const { Worker } = require('node:worker_threads');
    const run = (code) => new Promise((resolve) => {
      const worker = new Worker("const native = require(" + JSON.stringify(process.argv[1]) + "); require('node:worker_threads').parentPort.postMessage((() => {" + code + "})())", { eval: true });
      let value;
      worker.on('message', (message) => { value = message; }).on('exit', () => resolve(value));
    });
    (async () => {
      await run("native.openArena({ size: 4096, lock: 'best-effort', maxSealed: 0 }); return native.createKey('dek')");
      console.log(await run("return [native.arenaStatus().slotsUsed, native.dekId(2 ** 20).length].join()"));
    })();`;
  const child = spawnSync(process.execPath, ['-e', script, ADDON], { encoding: 'utf8' });
  t.is(child.stdout.trim(), '1,32', child.stderr);
});
