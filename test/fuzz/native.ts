/**
 * `node test/fuzz/native.ts [--seconds N] [--seed N] [--threads N]`: random calls of every entry point of the addon, half of them with
 * arguments that are hostile, in an arena with room, in one that is nearly full, and in one whose DEKs go to the second tier. A model says how
 * each call must end. `npm run test:sanitized` runs it on the sanitized addon.
 */
import { spawnSync } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Tap } from '../conformance/tap.ts';
import type { ProcessOptions } from './native/process.ts';

const PROCESS = join(import.meta.dirname, 'native', 'process.ts');
/** After its time a process has so long to end, in milliseconds. */
const PATIENCE_MS = 60_000;
const LOCK = 'best-effort' as const;

const ARENAS: Readonly<Record<string, Pick<ProcessOptions, 'arena' | 'scarce'>>> = {
  'an arena with room': { arena: { size: 2 ** 20, lock: LOCK }, scarce: [] },
  'an arena that is nearly full': { arena: { size: 4096, lock: LOCK, maxSealed: 20 }, scarce: ['dek', 'raw'] },
  'an arena with a second tier': { arena: { size: 8192, lock: LOCK }, scarce: ['raw'] },
};

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string', default: String(randomInt(2 ** 31)) },
    threads: { type: 'string', default: '3' },
  },
});
const tap = new Tap(process.env['CI'] === 'true');
console.log(`# seed ${values.seed}`);
for (const [name, { arena, scarce }] of Object.entries(ARENAS)) {
  const seconds = Number(values.seconds) / Object.keys(ARENAS).length;
  const options: ProcessOptions = {
    arena,
    scarce,
    seed: Number(values.seed),
    seconds,
    threads: Number(values.threads),
  };
  await tap.check(`the addon's entry points: ${name}`, () => runProcess(options));
}
process.exit(tap.finish('fuzz: native'));

function runProcess(options: ProcessOptions): void {
  const child = spawnSync(process.execPath, ['--expose-gc', PROCESS, JSON.stringify(options)], {
    encoding: 'utf8',
    timeout: Math.ceil(options.seconds * 1_000) + PATIENCE_MS,
    killSignal: 'SIGKILL',
  });
  if (child.status !== 0) {
    console.log(child.stderr.replaceAll(/^/gm, '# '));
    throw new Error(`status ${child.status ?? child.signal}`);
  }
  const [calls, codes] = sum(JSON.parse(child.stdout) as [Counts, Counts][]);
  console.log(`# ${total(calls)} calls, ${total(codes)} refused or failed: ${list(codes)}`);
  console.log(`#   ${list(calls)}`);
  const missing = Object.keys(calls).filter((name) => calls[name] === 0);
  if (missing.length > 0) throw new Error(`never called: ${missing.join(', ')}`);
}

type Counts = Record<string, number>;

function sum(parts: readonly [Counts, Counts][]): [Counts, Counts] {
  const totals: [Counts, Counts] = [{}, {}];
  for (const part of parts) {
    for (const at of [0, 1] as const) {
      for (const [name, count] of Object.entries(part[at])) totals[at][name] = (totals[at][name] ?? 0) + count;
    }
  }
  return totals;
}

function total(counts: Counts): number {
  return Object.values(counts).reduce((all, count) => all + count, 0);
}

function list(counts: Counts): string {
  return Object.entries(counts)
    .map(([name, count]) => `${name} ${count}`)
    .join(', ');
}
