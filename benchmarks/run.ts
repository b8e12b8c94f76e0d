/**
 * `npm run bench [-- NAME …] [--strict]`: runs the modules of micro/ and macro/ (all, or those named), prints one table and writes
 * results/latest.json. A missed bound is told and, with --strict, fails.
 */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import type { BenchmarkResult } from './result.ts';

interface Benchmark {
  run(): Promise<BenchmarkResult>;
}

const root = import.meta.dirname;
const { values: flags, positionals: wanted } = parseArgs({
  options: { strict: { type: 'boolean' } },
  allowPositionals: true,
});

const files = ['micro', 'macro'].flatMap((folder) => modules(join(root, folder)));
const names = files.map((file) => basename(file, '.ts'));
const unknown = wanted.filter((name) => !names.includes(name));
if (unknown.length > 0) {
  console.error(`no benchmark ${unknown.join(', ')}; there are: ${names.join(', ')}`);
  process.exit(2);
}

const results: BenchmarkResult[] = [];
for (const file of files.filter((_, at) => wanted.length === 0 || wanted.includes(names[at]!))) {
  const module: Partial<Benchmark> = await import(file);
  // Programs that a benchmark starts lie beside it and have no run().
  if (module.run === undefined) continue;
  console.error(`${basename(file, '.ts')} …`);
  results.push(await module.run());
}

const rows = results.flatMap(({ name, rows: found }) => found.map((row) => ({ benchmark: name, ...row })));
console.table(
  rows.map(({ reached, ...row }) => ({ ...row, verdict: row.mustReach === '' ? '' : reached ? 'reached' : 'MISSED' })),
);
const missed = rows.filter(({ reached }) => !reached);
if (missed.length > 0) console.log(`${missed.length} of ${rows.length} measures missed their bound`);

mkdirSync(join(root, 'results'), { recursive: true });
writeFileSync(join(root, 'results', 'latest.json'), `${JSON.stringify({ ...machine(), results }, null, 2)}\n`);
process.exit(flags.strict === true && missed.length > 0 ? 1 : 0);

function modules(directory: string): string[] {
  return readdirSync(directory)
    .filter((file) => file.endsWith('.ts'))
    .sort()
    .map((file) => join(directory, file));
}

function machine(): object {
  const { model } = cpus()[0]!;
  return {
    date: new Date().toISOString(),
    node: process.version,
    cores: cpus().length,
    processor: model,
    kernel: release(),
  };
}
