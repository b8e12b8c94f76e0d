/**
 * What it costs that an upstream's provider runs in a child process: an unwrap over the child against the same call of the same provider in this
 * process, to a service on loopback that answers after 2 ms; memory of the children; and the first call after a child was replaced for idleness,
 * with and without a warm successor. All on compiled code, as it is published.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { encodePairs } from '../../src/crypto/context.ts';
import type { ChildProvider } from '../../src/upstream/child/child-provider.ts';
import type { ChildUpstream } from '../../src/upstream/child/child-upstream.ts';
import type { WrappedDek } from '../../src/upstream/provider.ts';
import type { SoftwareKmsOptions } from '../../test/upstream/child/software-kms/options.ts';
import { compileModules, rssMib } from '../compiled.ts';
import { type BenchmarkResult, median, type Row, row } from '../result.ts';
import { startServer, stopServer } from './load.ts';

const ROUNDS = 10;
const CALLS = 100;
const IDLE_MS = 100;
const IDLE_ROUNDS = 10;
const DELAY_MS = 2;

const KMS = 'test/upstream/child/software-kms';
const KEK = 'vault-transit:transit/keys/orders';
const PAIRS = new Map([['dekd:key', 'orders']]);
const CONTEXT = { pairs: PAIRS, encoded: encodePairs(PAIRS) };

type Native = typeof import('../../src/crypto/native.ts');
type Children = typeof import('../../src/upstream/child/child-upstream.ts');
type Upstream = ChildUpstream<SoftwareKmsOptions>;
type OpenUpstream = (options: Partial<SoftwareKmsOptions>) => Promise<Upstream>;

export async function run(): Promise<BenchmarkResult> {
  const directory = mkdtempSync(join(tmpdir(), 'dekd-bench-'));
  const portFile = join(directory, 'port');
  const service = await startServer([join(import.meta.dirname, 'service.ts'), portFile, String(DELAY_MS)]);
  try {
    compileModules(directory, KMS);
    const bench = await Bench.load(directory, `http://127.0.0.1:${readFileSync(portFile, 'utf8')}/`);
    return {
      name: 'an upstream in a child process',
      rows: [...(await bench.calls()), ...(await bench.successors())],
    };
  } finally {
    await stopServer(service);
    rmSync(directory, { recursive: true });
  }
}

class Bench {
  readonly #native: Native;
  readonly #open: OpenUpstream;
  readonly #inProcess: ChildProvider;

  static async load(directory: string, service: string): Promise<Bench> {
    const load = (path: string) => import(join(directory, 'dist', path));
    const native = (await load('src/crypto/native.js')) as Native;
    const { ChildUpstream } = (await load('src/upstream/child/child-upstream.js')) as Children;
    const { softwareKms } = (await load(
      `${KMS}/options.js`,
    )) as typeof import('../../test/upstream/child/software-kms/options.ts');
    const { open } = await load(`${KMS}/provider.js`);
    native.openArena({ size: 1 << 20, lock: 'best-effort' });
    const upstream: OpenUpstream = (options) =>
      ChildUpstream.open({
        facts: softwareKms,
        options: { type: 'vault-transit', service, ...options },
        onWarning: (warning) => process.stderr.write(`${warning}\n`),
      });
    return new Bench(native, upstream, await open({ type: 'vault-transit', service }, {}));
  }

  private constructor(native: Native, open: OpenUpstream, inProcess: ChildProvider) {
    this.#native = native;
    this.#open = open;
    this.#inProcess = inProcess;
  }

  /** Round by round in turn, and never two at once. */
  async calls(): Promise<Row[]> {
    const upstream = await this.#open({ maxCalls: 1_000_000 });
    const wrapped = await this.#wrapped(upstream);
    const times = { child: [] as number[], inProcess: [] as number[] };
    for (let round = 0; round <= ROUNDS; round++) {
      const child = await timed(() => this.#unwrap(upstream, wrapped));
      const inProcess = await timed(() => this.#unwrapInProcess(wrapped));
      // The first round warms both up.
      if (round === 0) continue;
      times.child.push(...child);
      times.inProcess.push(...inProcess);
    }
    const rss = upstream.pids.map(rssMib);
    await upstream.close();
    const at = (part: number, list: number[]) => list.toSorted((a, b) => a - b)[Math.floor(part * (list.length - 1))]!;
    return [
      row('unwrap, p50: child : in process', at(0.5, times.child), at(0.5, times.inProcess), 'ms', '≤ 1.3'),
      row('unwrap, p99: child : in process', at(0.99, times.child), at(0.99, times.inProcess), 'ms'),
      row('memory (RSS): a child that serves : its successor', rss[0]!, rss[1]!, 'MiB'),
    ];
  }

  async successors(): Promise<Row[]> {
    const warm = await this.#afterIdle(true);
    const cold = await this.#afterIdle(false);
    return [
      row('a miss after idle, p50: warm_child false : true', median(cold.ms), median(warm.ms), 'ms'),
      row('memory of all children at rest: warm_child false : true', cold.restMib, warm.restMib, 'MiB'),
      row('memory of all children in use: warm_child false : true', cold.usedMib, warm.usedMib, 'MiB'),
    ];
  }

  async #afterIdle(warmChild: boolean): Promise<{ ms: number[]; usedMib: number; restMib: number }> {
    const upstream = await this.#open({ warmChild, idleMs: IDLE_MS });
    const wrapped = await this.#wrapped(upstream);
    const ms: number[] = [];
    let usedMib = 0;
    let restMib = 0;
    for (let round = 0; round < IDLE_ROUNDS; round++) {
      await sleep(IDLE_MS * 8);
      restMib = sum(upstream.pids.map(rssMib));
      const startedMs = performance.now();
      await this.#unwrap(upstream, wrapped);
      ms.push(performance.now() - startedMs);
      await sleep(IDLE_MS * 0.9);
      usedMib = sum(upstream.pids.map(rssMib));
    }
    await upstream.close();
    return { ms, usedMib, restMib };
  }

  async #wrapped(upstream: Upstream): Promise<WrappedDek> {
    const dek = this.#native.createKey('dek');
    const wrapped = await upstream.wrap(KEK, dek, CONTEXT, { signal: forEver() });
    this.#native.freeKey(dek);
    return wrapped;
  }

  async #unwrap(upstream: Upstream, wrapped: WrappedDek): Promise<void> {
    this.#native.freeKey(await upstream.unwrap(KEK, wrapped, CONTEXT, { signal: forEver() }));
  }

  async #unwrapInProcess(wrapped: WrappedDek): Promise<void> {
    const dek = await this.#inProcess.unwrap(KEK, wrapped, CONTEXT, { signal: forEver(), fresh: false });
    dek.fill(0);
  }
}

/** Milliseconds of each of a round's calls. */
async function timed(call: () => Promise<void>): Promise<number[]> {
  const times: number[] = [];
  for (let count = 0; count < CALLS; count++) {
    const startedMs = performance.now();
    await call();
    times.push(performance.now() - startedMs);
  }
  return times;
}

function forEver(): AbortSignal {
  return new AbortController().signal;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((all, number) => all + number, 0);
}
