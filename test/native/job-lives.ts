/** What allocates in the addon, in all its ends, for LeakSanitizer (sanitizers.ts): jobs that succeed, fail, or outlive their thread. */
import { isMainThread, Worker } from 'node:worker_threads';
import { createKey, freeKey, openArena, openAsync, peerCredentials, sealAsync } from '../../src/crypto/native.ts';
import { codeOf } from './load-key.ts';

const nothing = new Uint8Array(0);
openArena({ size: 4096, lock: 'best-effort' });
if (isMainThread) await inMain();
else inWorker();

async function inMain(): Promise<void> {
  for (let count = 0; count < 100; count++) {
    const key = createKey('dek');
    const sealed = await sealAsync(key, 1, 1, nothing, 0, Buffer.alloc(1000), nothing);
    await openAsync(key, 1, 1, nothing, 0, sealed, 0);
    await openAsync(key, 1, 2, nothing, 0, sealed, 0).catch(() => {});
    await openAsync(key, 1, 3, nothing, 0, sealed, 0).catch(() => {});
    freeKey(key);
    await openAsync(key, 1, 1, nothing, 0, sealed, 0).catch(() => {});
    codeOf(() => peerCredentials(2 ** 30));
  }
  for (let count = 0; count < 4; count++) {
    await new Promise((resolve) => new Worker(import.meta.filename).once('exit', resolve));
  }
}

function inWorker(): void {
  for (let count = 0; count < 20; count++) {
    const key = createKey('dek');
    sealAsync(key, 1, 1, nothing, 0, Buffer.alloc(300_000), nothing).catch(() => {});
    freeKey(key);
  }
  process.exit(0);
}
