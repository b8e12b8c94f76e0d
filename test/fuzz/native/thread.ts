import { parentPort, workerData } from 'node:worker_threads';
import type { SlotKind } from '../../../src/crypto/native.ts';
import { NativeFuzzer } from './fuzzer.ts';

/** What a thread of the fuzzer is told. */
export interface Share {
  readonly seed: number;
  readonly untilMs: number;
  readonly scarce: readonly SlotKind[];
}

/** Steps between two looks at the clock. */
const BATCH = 50;
const share = workerData as Share;
parentPort?.postMessage(await fuzz(share));

/** Calls until the time is over; how often each entry point was called, and how often each code came. */
export async function fuzz({ seed, untilMs, scarce }: Share): Promise<[calls: object, failures: object]> {
  const fuzzer = await NativeFuzzer.make(seed, scarce);
  let steps = 0;
  try {
    do {
      for (let count = 0; count < BATCH; count++, steps++) await fuzzer.step();
    } while (Date.now() < untilMs);
    await fuzzer.close();
  } catch (error) {
    throw new Error(`seed ${seed}, step ${steps}`, { cause: error });
  }
  return [fuzzer.calls, fuzzer.failures];
}
