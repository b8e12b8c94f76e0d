/**
 * `npm run bench [-- NAME …] [--strict]`: runs the modules of micro/ and macro/ (all, or those named), prints one table and writes
 * results/latest.json. A missed bound is told and, with --strict, fails.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import type { BenchmarkResult } from './result.ts';

interface Benchmark {
  run(): Promise<BenchmarkResult>;
}

const root = import.meta.dirname;
const { values: flags, positionals: wanted } = parseArgs({
  options: { strict: { type: 'boolean' }, module: { type: 'string' } },
  allowPositionals: true,
});
// Each benchmark has a process of its own: an arena can be opened once, and one's warm code would help or hinder the next.
if (flags.module === undefined) process.exit(runAll());
const module: Benchmark = await import(flags.module);
process.stdout.write(JSON.stringify(await module.run()));

function runAll(): number {
  const files = ['micro', 'macro'].flatMap((folder) => benchmarks(join(root, folder)));
  const unknown = wanted.filter((name) => !files.some((file) => nameOf(file) === name));
  if (unknown.length > 0) {
    console.error(`no benchmark ${unknown.join(', ')}; there are: ${files.map(nameOf).join(', ')}`);
    return 2;
  }
  const results = files.filter((file) => wanted.length === 0 || wanted.includes(nameOf(file))).map(runOne);
  const rows = results.flatMap(({ name, rows: found }) => found.map((row) => ({ benchmark: name, ...row })));
  console.table(rows.map(({ reached, ...row }) => ({ ...row, verdict: verdict(row.mustReach, reached) })));
  const missed = rows.filter(({ reached }) => !reached).length;
  if (missed > 0) console.log(`${missed} of ${rows.length} measures MISSED what they must reach`);
  mkdirSync(join(root, 'results'), { recursive: true });
  writeFileSync(join(root, 'results', 'latest.json'), `${JSON.stringify({ ...machine(), results }, null, 2)}\n`);
  return flags.strict === true && missed > 0 ? 1 : 0;
}

function runOne(file: string): BenchmarkResult {
  console.error(`${nameOf(file)} …`);
  const args = [import.meta.filename, '--module', file];
  return JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }));
}

/** The modules with a `run`; programs that they start lie beside them. */
function benchmarks(directory: string): string[] {
  return readdirSync(directory)
    .filter((file) => file.endsWith('.ts'))
    .sort()
    .map((file) => join(directory, file))
    .filter((file) => /^export async function run\(/m.test(readFileSync(file, 'utf8')));
}

function nameOf(file: string): string {
  return basename(file, '.ts');
}

function verdict(mustReach: string, reached: boolean): string {
  if (mustReach === '') return '';
  return reached ? 'reached' : 'MISSED';
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
