/**
 * `npm run fuzz -- [--count N] [--seed N] [--at INDEX] [--threads N] [--write-corpus]`: mutated envelopes and request bytes, from their bytes through message
 * check, decoder, handlers and keyrings to the addon. Each is refused as documented or answered rightly; nothing crashes or hangs. Prints
 * what was reached, and fails when too little was.
 */
import { randomInt } from 'node:crypto';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { Tap } from '../conformance/tap.ts';
import type { Totals } from './envelopes/fuzzer.ts';
import type { Share } from './envelopes/thread.ts';

/** A thread that tells nothing for so long hangs, in milliseconds. */
const SILENCE_MS = 120_000;
const REPORT_MS = 60_000;

const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '1000000' },
    seed: { type: 'string', default: String(randomInt(2 ** 31)) },
    at: { type: 'string' },
    threads: { type: 'string', default: '2' },
    'write-corpus': { type: 'boolean', default: false },
  },
});
const seed = Number(values.seed);
const tap = new Tap(process.env['CI'] === 'true');
const startedAt = performance.now();
console.log(`# seed ${seed}`);
const shares = values.at === undefined ? split(Number(values.count), Number(values.threads)) : [one(Number(values.at))];
const latest: Totals[] = [];
const reporter = setInterval(() => console.log(`# ${summary(latest)}`), REPORT_MS).unref();
if (values['write-corpus']) await run({ ...shares[0]!, corpus: 'write' }, 0);
await tap.check('the kept inputs end as they did', () => run({ seed, first: 0, count: 0, corpus: 'replay' }, 0));
await tap.check('every mutated envelope and request was refused or answered rightly', async () => {
  await Promise.all(shares.map(run));
});
clearInterval(reporter);
if (values.at === undefined) await checkShares(sum(latest));
console.log(`# ${summary(latest)}`);
process.exit(tap.finish('fuzz: envelopes'));

function split(count: number, threads: number): Share[] {
  const each = Math.ceil(count / threads);
  return Array.from({ length: threads }, (_, at) => ({
    seed: seed + at,
    first: 0,
    count: Math.min(each, count - at * each),
  }));
}

/** The stream of one input does not depend on the others, though what the world remembers does. */
function one(index: number): Share {
  return { seed, first: index, count: 1 };
}

function run(share: Share, at: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(join(import.meta.dirname, 'envelopes', 'thread.ts'), { workerData: share });
    let timer: NodeJS.Timeout;
    const expectNews = (): void => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        reject(new Error(`seed ${share.seed}: no news after ${latest[at]?.inputs ?? 0} inputs`));
        void worker.terminate();
      }, SILENCE_MS);
    };
    expectNews();
    worker.on('message', (totals: Totals) => {
      latest[at] = totals;
      expectNews();
    });
    worker.once('error', (error) => reject(new Error(describe(error))));
    worker.once('exit', (code) => {
      clearTimeout(timer);
      if (code === 0) resolve();
      else reject(new Error(`seed ${share.seed}: the thread ended with ${code}`));
    });
  });
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause === undefined ? error.message : `${describe(error.cause)} ${error.message}`;
}

/** The measure of what the inputs were worth. */
async function checkShares(totals: Totals): Promise<void> {
  const atLeast = (name: string, part: number, percent: number): Promise<void> =>
    tap.check(`at least ${percent} % ${name}`, () => {
      const found = (100 * part) / totals.inputs;
      if (!(found >= percent)) throw new Error(`${found.toFixed(1)} %`);
    });
  await tap.check(`${values.count} inputs ran`, () => {
    if (totals.inputs !== Number(values.count)) throw new Error(`${totals.inputs}`);
  });
  await atLeast('keep magic and lengths', totals.keptForm, 50);
  await atLeast('reach the MAC of a dek-block', totals.reachedMac, 30);
  await atLeast('reach the AEAD of a payload', totals.reachedAead, 10);
  await atLeast('are asked of the upstream', totals.reachedUnwrap, 1);
}

function sum(parts: readonly Totals[]): Totals {
  const total: Totals = { inputs: 0, keptForm: 0, reachedMac: 0, reachedAead: 0, reachedUnwrap: 0, outcomes: {} };
  for (const part of parts) {
    if (part === undefined) continue;
    for (const name of ['inputs', 'keptForm', 'reachedMac', 'reachedAead', 'reachedUnwrap'] as const) {
      total[name] += part[name];
    }
    for (const [outcome, count] of Object.entries(part.outcomes)) {
      const name = outcome as keyof Totals['outcomes'];
      total.outcomes[name] = (total.outcomes[name] ?? 0) + count;
    }
  }
  return total;
}

function summary(parts: readonly Totals[]): string {
  const totals = sum(parts);
  const percent = (part: number): string => `${((100 * part) / totals.inputs).toFixed(1)} %`;
  const seconds = (performance.now() - startedAt) / 1_000;
  return [
    `${totals.inputs} inputs in ${seconds.toFixed(0)} s`,
    `kept form ${percent(totals.keptForm)}`,
    `MAC ${percent(totals.reachedMac)}`,
    `AEAD ${percent(totals.reachedAead)}`,
    `upstream ${percent(totals.reachedUnwrap)}`,
    ...Object.entries(totals.outcomes).map(([outcome, count]) => `${outcome} ${count}`),
    `RSS ${Math.round(process.memoryUsage().rss / 2 ** 20)} MiB`,
  ].join(' · ');
}
