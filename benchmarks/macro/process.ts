/**
 * What the process costs before anybody calls: memory at rest, and the time from its start to its word that it is ready, of the compiled
 * program with a configuration of one key, against a bare Node that does nothing. Runs in turn, medians. Files are in the kernel's cache.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildProgram, rssMib } from '../compiled.ts';
import { inDirectory } from '../directory.ts';
import { type BenchmarkResult, median, row } from '../result.ts';

const STARTS = 15;
const COLD_STARTS = 5;
const RESTS = 3;
const REST_MS = 5_000;

/** What bin/dekd gives to node. */
const FLAGS = ['--disable-warning=ExperimentalWarning', '--disable-sigusr1', '--max-semi-space-size=4'];

export async function run(): Promise<BenchmarkResult> {
  return inDirectory((directory) => {
    buildProgram(directory);
    return measure(directory);
  });
}

async function measure(directory: string): Promise<BenchmarkResult> {
  const configFile = join(directory, 'dekd.yaml');
  writeFileSync(configFile, configuration(directory));
  const dekd = [...FLAGS, join(directory, 'dist', 'src', 'cli', 'dekd.js'), '--config', configFile];
  const cache = join(directory, 'compile-cache');
  const timesOf = async (count: number, environment: Record<string, string>) => {
    const times = { dekd: [] as number[], bare: [] as number[] };
    for (let run = 0; run < count; run++) {
      times.bare.push(await bareRunMs());
      times.dekd.push(await startMs(dekd, environment));
    }
    return { dekd: median(times.dekd), bare: median(times.bare) };
  };
  const cold = await timesOf(COLD_STARTS, {});
  // The first one fills the cache, the second one is the first with it.
  for (let run = 0; run < 2; run++) await startMs(dekd, { NODE_COMPILE_CACHE: cache });
  const warm = await timesOf(STARTS, { NODE_COMPILE_CACHE: cache });
  const rest = { dekd: [] as number[], bare: [] as number[] };
  for (let run = 0; run < RESTS; run++) {
    rest.bare.push(await restMib(['-e', 'setInterval(() => {}, 2 ** 30)'], ''));
    rest.dekd.push(await restMib(dekd, '"event":"ready"'));
  }
  return {
    name: 'the compiled agent : a bare Node',
    rows: [
      row('memory at rest (RSS)', median(rest.dekd), median(rest.bare), 'MiB', '≤ 2.6'),
      row('start to ready, compile cache : node -e 0', warm.dekd, warm.bare, 'ms', '≤ 8'),
      row('start to ready, no compile cache : node -e 0', cold.dekd, cold.bare, 'ms'),
    ],
  };
}

async function bareRunMs(): Promise<number> {
  const startedMs = performance.now();
  await once(spawn(process.execPath, ['-e', '0'], { stdio: 'ignore' }), 'exit');
  return performance.now() - startedMs;
}

async function startMs(args: readonly string[], environment: Record<string, string>): Promise<number> {
  const startedMs = performance.now();
  const child = await started(args, '"event":"ready"', environment);
  const passedMs = performance.now() - startedMs;
  await end(child);
  return passedMs;
}

async function restMib(args: readonly string[], word: string): Promise<number> {
  const child = await started(args, word, {});
  await sleep(REST_MS);
  const mib = rssMib(child.pid!);
  await end(child);
  return mib;
}

/** Ends when it has written `word` to standard error; at once when that is empty. */
function started(args: readonly string[], word: string, environment: Record<string, string>): Promise<ChildProcess> {
  const child = spawn(process.execPath, args, {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, ...environment },
  });
  let written = '';
  return new Promise((resolve, reject) => {
    child.stderr.on('data', (chunk: Buffer) => {
      written += chunk;
      if (written.includes(word)) resolve(child);
    });
    child.once('exit', (code) => reject(new Error(`${args.join(' ')} ended with ${code}: ${written}`)));
    if (word === '') resolve(child);
  });
}

async function end(child: ChildProcess): Promise<void> {
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  await ended;
}

/** JSON is YAML. Everything but names and places is the default. */
function configuration(directory: string): string {
  const store = { type: 'local', directory: join(directory, 'keystore'), root_key: { development: true } };
  const recipients = [{ upstream: 'store', kek: 'local:default', role: 'authority' }];
  return JSON.stringify({
    profile: 'development',
    listen: {
      agent: { path: join(directory, 'agent.sock'), mode: '0600' },
      admin: { path: join(directory, 'admin.sock'), mode: '0600' },
    },
    upstreams: { store },
    keys: { default: { recipients, allow: [{ uid: process.getuid?.(), roles: ['user'] }] } },
  });
}
