/**
 * What upstreams cost the agent's own memory: the compiled agent with a key on each of OpenBao, LocalStack, SoftHSM and a local keystore against the
 * same one with the keystore alone, after the same number of calls. Children have processes of their own and are counted apart.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { childPids } from '../../test/helpers/child-pids.ts';
import { createClient } from '../../test/helpers/client.ts';
import { startAgent } from '../agent.ts';
import { buildProgram, rssMib } from '../compiled.ts';
import { type Service, startAws, startHsm, startVault } from '../counterparts.ts';
import { type BenchmarkResult, median, row } from '../result.ts';
import { stopServer } from './load.ts';

const RUNS = 3;
/** Encrypt, and Decrypt of what came out, over all keys. */
const CALLS = 600;
const REST_MS = 5_000;
interface Memory {
  readonly agent: number;
  readonly children: number;
  readonly count: number;
}

export async function run(): Promise<BenchmarkResult> {
  const directory = mkdtempSync(join(tmpdir(), 'dekd-bench-'));
  const services = new Map<string, Service>();
  try {
    buildProgram(directory);
    services.set('vault', await startVault());
    services.set('aws', await startAws());
    services.set('hsm', await startHsm());
    const all: Memory[] = [];
    const none: Memory[] = [];
    for (let run = 0; run < RUNS; run++) {
      none.push(await measure(directory, `none-${run}`, new Map()));
      all.push(await measure(directory, `all-${run}`, services));
    }
    const of = (list: readonly Memory[], what: keyof Memory) => median(list.map((one) => one[what]));
    process.stderr.write(`children of three upstreams: ${of(all, 'count')}, ${Math.round(of(all, 'children'))} MiB\n`);
    return {
      name: 'the agent with all upstreams : with a keystore alone',
      rows: [
        row('memory after calls (RSS)', of(all, 'agent'), of(none, 'agent'), 'MiB', '≤ 1.1'),
        row('with its children : alone', of(all, 'agent') + of(all, 'children'), of(none, 'agent'), 'MiB'),
      ],
    };
  } finally {
    for (const service of services.values()) await service.stop();
    rmSync(directory, { recursive: true });
  }
}

async function measure(program: string, name: string, services: ReadonlyMap<string, Service>): Promise<Memory> {
  const place = join(program, name);
  mkdirSync(place);
  const agent = await startAgent(program, place, services);
  const client = createClient(join(place, 'agent.sock'), 'dekd.v1.KeyAgent');
  const keys = ['store', ...services.keys()];
  for (let call = 0; call < CALLS; call++) {
    const key = keys[call % keys.length]!;
    const { message } = await client.call('Encrypt', { key, plaintext: Buffer.alloc(256) });
    await client.call('Decrypt', { ciphertext: message.ciphertext });
  }
  client.close();
  await sleep(REST_MS);
  const children = childPids(agent.pid!).map(rssMib);
  const memory = { agent: rssMib(agent.pid!), children: children.reduce((a, b) => a + b, 0), count: children.length };
  await stopServer(agent);
  return memory;
}
