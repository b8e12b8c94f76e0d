import { parentPort, workerData } from 'node:worker_threads';
import { createKey, freeKey, openAsync, type SlotHandle, sealAsync } from '../../../src/crypto/native.ts';

/** Starts jobs and ends, or is ended, before they do. Its keys are freed while the jobs still use them. */
const { ends } = workerData as { ends: boolean };
const plaintext = Buffer.alloc(300_000);
const nothing = new Uint8Array(0);
for (let count = 0; count < 12; count++) {
  const key = keyOrNothing();
  if (key === undefined) break;
  sealAsync(key, 1, 1 + (count % 2), nothing, 0, plaintext, nothing).catch(() => {});
  openAsync(key, 1, 1 + (count % 2), nothing, 0, plaintext, 0).catch(() => {});
  freeKey(key);
}
if (ends) process.exit(0);
parentPort?.postMessage('now');
await new Promise((resolve) => setTimeout(resolve, 10_000));

/** There may be no room for one. */
function keyOrNothing(): SlotHandle | undefined {
  try {
    return createKey('dek');
  } catch (error) {
    if ((error as { code?: string }).code === 'ERR_NO_MEMORY') return undefined;
    throw error;
  }
}
