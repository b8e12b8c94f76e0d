/** One process of the fuzzer: an arena, threads that share it, and threads that end in the middle of their jobs. Started by native.ts. */
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { type ArenaOptions, arenaStatus, openArena, type SlotKind } from '../../../src/crypto/native.ts';
import { checkComplete } from './fuzzer.ts';
import { fuzz, type Share } from './thread.ts';

/** What the parent says, as JSON in the first argument. */
export interface ProcessOptions {
  readonly arena: ArenaOptions;
  readonly scarce: readonly SlotKind[];
  readonly seed: number;
  readonly seconds: number;
  readonly threads: number;
}

const { arena, scarce, seed, seconds, threads } = JSON.parse(process.argv[2]!) as ProcessOptions;
const untilMs = Date.now() + seconds * 1_000;
checkComplete();
openArena(arena);
const before = inUse();
const shares = Array.from({ length: threads }, (_, at): Share => ({ seed: seed + at, untilMs, scarce }));
const totals = await Promise.all([
  ...shares.slice(1).map(inThread),
  fuzz(shares[0]!),
  threads > 1 ? mayflies() : ([{}, {}] as const),
]);
// What the mayflies held goes with their last jobs.
for (const end = Date.now() + 10_000; inUse() !== before && Date.now() < end; ) {
  await new Promise((resolve) => setTimeout(resolve, 50));
}
if (inUse() !== before) throw new Error(`${inUse() - before} keys are left`);
process.stdout.write(JSON.stringify(totals));

function inUse(): number {
  const { slotsUsed, sealed } = arenaStatus();
  return slotsUsed + sealed;
}

function inThread(share: Share): Promise<[object, object]> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(join(import.meta.dirname, 'thread.ts'), { workerData: share });
    worker.once('message', resolve).once('error', reject);
    worker.once('exit', (code) => reject(new Error(`a thread ended with ${code}`)));
  });
}

/** Threads that are ended, or end themselves, while their jobs are under way. */
async function mayflies(): Promise<[object, object]> {
  for (let count = 0; Date.now() < untilMs; count++) {
    const worker = new Worker(join(import.meta.dirname, 'mayfly.ts'), { workerData: { ends: count % 2 === 0 } });
    await new Promise<void>((resolve, reject) => {
      worker.once('error', reject).once('exit', () => resolve());
      worker.once('message', () => void worker.terminate());
    });
  }
  return [{}, {}];
}
