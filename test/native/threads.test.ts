import { spawnSync } from 'node:child_process';
import test from 'ava';
import { ADDON, runChild } from './child.ts';

/* Each thread has keys of its own, one that all share, and one that is freed under it: in calls, and in jobs. */
const WORK = `
  const { workerData, parentPort } = require('node:worker_threads');
  const native = require(workerData.addon);
  const none = Buffer.alloc(0), aad = Buffer.alloc(30), plaintext = Buffer.alloc(256, workerData.id), out = Buffer.alloc(400), back = Buffer.alloc(300);
  const results = {};
  const count = (what) => { results[what] = (results[what] ?? 0) + 1; };
  const id = native.dekId(workerData.shared), mac = native.blockMac(workerData.shared, aad), block = Buffer.concat([aad, mac]);
  const use = (name, handle, suite) => {
    const written = native.seal(handle, 1, suite, aad, aad.length, plaintext, out, 0);
    const length = native.open(handle, 1, suite, aad, aad.length, out.subarray(0, written), 0, back);
    count(name + (back.subarray(0, length).equals(plaintext) ? ' same' : ' DIFFERENT'));
    native.sealDataKey(handle, 1, aad, 0, 200, null, out, 0);
    const copy = native.unwrapKey(workerData.kek, suite, native.wrapKey(workerData.kek, suite, handle, aad), aad, 'dek');
    try {
      if (!native.dekId(copy).equals(native.dekId(handle))) count(name + ' COPY');
    } finally {
      native.freeKey(copy);
    }
  };
  const job = async (name, handle) => {
    const sealed = await native.sealAsync(handle, 1, 1, aad, aad.length, plaintext, none);
    const opened = await native.openAsync(handle, 1, 1, aad, aad.length, sealed, 0);
    count(name + (opened.equals(plaintext) ? ' job' : ' DIFFERENT JOB'));
  };
  (async () => {
    for (let i = 0; i < 2000; i++) {
      const own = native.createKey('dek');
      const jobs = [];
      for (const [name, handle] of [['own', own], ['shared', workerData.shared], ['doomed', workerData.doomed]]) {
        try { use(name, handle, 1 + i % 2); } catch (error) { count(name + ' ' + error.code); }
        if (i % 20 === 0) jobs.push(job(name, handle).catch((error) => count(name + ' ' + error.code)));
      }
      if (!native.blockVerify(workerData.shared, id, block)) count('shared MAC');
      if (i === 1000 && workerData.id === 0) native.freeKey(workerData.doomed);
      await Promise.all(jobs);
      native.freeKey(own);
    }
    parentPort.postMessage(results);
  })();`;

/* Of 251 slots DEKs leave 64 to raw keys: with 184 of theirs taken, what comes changes between the tiers all the time. */
for (const [tier, options, taken] of [
  ['first', { size: 1 << 16, maxSealed: 0 }, 0],
  ['second', { size: 4096 }, 0],
  ['first and the second', { size: 1 << 16 }, 184],
] as const) {
  test(`four threads work in the ${tier} tier at once, with a key that is freed under them`, (t) => {
    const child = runChild(`
      const { Worker } = require('node:worker_threads');
      native.openArena({ lock: 'best-effort', ...${JSON.stringify(options)} });
      const taken = Array.from({ length: ${taken} }, () => native.createKey('dek'));
      const [kek, shared, doomed] = [native.createKey('raw'), native.createKey('dek'), native.createKey('dek')];
      const work = (id) => new Promise((resolve, reject) => {
        const worker = new Worker(${JSON.stringify(WORK)}, { eval: true, workerData: { addon: ${JSON.stringify(ADDON)}, id, kek, shared, doomed } });
        let results;
        worker.on('message', (message) => { results = message; }).once('error', reject).once('exit', () => resolve(results));
      });
      return Promise.all([0, 1, 2, 3].map(work)).then((results) => {
        const stale = codeOf(() => native.dekId(doomed)), shares = native.dekId(shared).length;
        for (const handle of [kek, shared, ...taken]) native.freeKey(handle);
        const { slotsUsed, sealed } = native.arenaStatus();
        return { results, stale, shares, left: slotsUsed + sealed };
      })`);
    const value = child.value as {
      results: Record<string, number>[];
      stale: string;
      shares: number;
      left: number;
    };
    t.is(child.status, 0, child.stderr);
    const expected = ['own same', 'shared same', 'doomed same', 'own job', 'shared job', 'doomed job'];
    for (const result of value.results) {
      const surprises = Object.keys(result).filter(
        (key) => !expected.includes(key) && key !== 'doomed ERR_STALE_HANDLE',
      );
      t.deepEqual(surprises, []);
      t.deepEqual([result['own same'], result['shared same']], [2000, 2000]);
      t.deepEqual([result['own job'], result['shared job']], [100, 100]);
    }
    t.true(value.results[0]!['doomed ERR_STALE_HANDLE']! >= 999);
    t.deepEqual([value.stale, value.shares, value.left], ['ERR_STALE_HANDLE', 32, 0]);
  });
}

test('sealed keys wait while a passphrase has all rooms, and it waits for them', (t) => {
  const child = runChild(`
    const { Worker } = require('node:worker_threads');
    native.openArena({ size: 4096, lock: 'best-effort' });
    const folder = fs.mkdtempSync(require('node:os').tmpdir() + '/dekd-rooms-'), path = folder + '/passphrase';
    fs.writeFileSync(path, 'a passphrase');
    const dek = native.createKey('dek');
    const code = \`
      const { workerData, parentPort } = require('node:worker_threads');
      const native = require(workerData.addon), fs = require('node:fs');
      const none = new Uint8Array(0), out = Buffer.alloc(100);
      let done = 0;
      for (; done < workerData.times; done++) {
        if (workerData.reads) {
          const fd = fs.openSync(workerData.path);
          native.freeKey(native.readPassphraseKey(fd, none, 12, 1, 1));
          fs.closeSync(fd);
        } else {
          native.sealDataKey(workerData.dek, 1, none, 0, 32, null, out, 0);
        }
      }
      parentPort.postMessage(done);\`;
    const work = (reads, times) => new Promise((resolve, reject) => {
      const workerData = { addon: ${JSON.stringify(ADDON)}, dek, path, reads, times };
      new Worker(code, { eval: true, workerData }).once('message', resolve).once('error', reject);
    });
    const all = [work(true, 50), work(true, 50), ...Array.from({ length: 10 }, () => work(false, 5_000))];
    return Promise.all(all).finally(() => fs.rmSync(folder, { recursive: true }))`);
  t.deepEqual(child.value, [50, 50, ...Array(10).fill(5_000)], child.stderr);
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
