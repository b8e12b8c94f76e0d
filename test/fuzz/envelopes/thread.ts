import { parentPort, workerData } from 'node:worker_threads';
import { CorpusBuilder, readCorpus } from './corpus.ts';
import { countNativeCalls } from './counted-native.ts';

/** What a thread is told; it tells its totals after each batch. */
export interface Share {
  readonly seed: number;
  readonly first: number;
  readonly count: number;
  /** `replay`: the kept inputs, and nothing else. `write`: keeps an input for each way in which a request ends. */
  readonly corpus?: 'replay' | 'write';
}

const BATCH = 20_000;
const { seed, first, count, corpus } = workerData as Share;

// Stacks of errors that are expected cost half of the time.
Error.stackTraceLimit = 0;
const calls = countNativeCalls();
// Only now: it loads the addon that is counted.
const { Fuzzer } = await import('./fuzzer.ts');
const builder = corpus === 'write' ? new CorpusBuilder() : undefined;
const fuzzer = await Fuzzer.make(seed, calls, builder);
if (corpus === 'replay') await fuzzer.replay(readCorpus());
for (let at = first; at < first + count; at += BATCH) {
  await fuzzer.run(at, Math.min(BATCH, first + count - at));
  parentPort?.postMessage(fuzzer.totals);
}
builder?.write(fuzzer.corpusSamples());
fuzzer.close();
