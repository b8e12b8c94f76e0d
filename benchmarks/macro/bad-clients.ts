/**
 * What a client feels of another, bad one: the 99th percentile of Encrypt and Decrypt, one round trip after the other, while a process
 * of another user does each of the attacks of test/chaos/, against the same in quiet. Each attack has a user of its own: what the agent
 * holds against one must not hold back the next. Needs root, for the users. ATTACKS=WORD in the environment: those whose name has the word.
 */
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ATTACKS } from '../../test/chaos/bad-client-attacks.ts';
import { type GoodClient, startBadClient, startGoodClient } from '../../test/chaos/bad-clients.ts';
import { inDirectory } from '../directory.ts';
import { type BenchmarkResult, median, type Row, row } from '../result.ts';
import { startServer, stopServer } from './load.ts';

const GOOD_UID = 65_531;
const FIRST_BAD_UID = 65_000;
/** What bin/dekd gives to node. */
const FLAGS = ['--disable-warning=ExperimentalWarning', '--disable-sigusr1', '--max-semi-space-size=4'];
const NAMES = Object.keys(ATTACKS).filter((name) => name.includes(process.env['ATTACKS'] ?? ''));
const BUILD_UP_MS = 500;
const CALLS_MS = 2_000;
const QUIET_RUNS = 5;

export async function run(): Promise<BenchmarkResult> {
  if (process.getuid?.() !== 0) throw new Error('bad-clients needs root: its clients are two users');
  return inDirectory((directory) => {
    chmodSync(directory, 0o755);
    return measure(directory);
  });
}

async function measure(directory: string): Promise<BenchmarkResult> {
  const socket = join(directory, 'agent.sock');
  const configFile = join(directory, 'dekd.yaml');
  writeFileSync(configFile, configuration(directory, socket));
  const dekd = join(import.meta.dirname, '..', '..', 'src', 'cli', 'dekd.ts');
  const agent = await startServer([...FLAGS, dekd, '--config', configFile]);
  const good = await startGoodClient(GOOD_UID, socket);
  // Warms both up.
  await percentile99(good);
  const quiet: number[] = [];
  for (let times = 0; times < QUIET_RUNS; times++) quiet.push(await percentile99(good));
  const rows: Row[] = [];
  for (const [at, attack] of NAMES.entries()) {
    const endAttack = await startBadClient(FIRST_BAD_UID + at, socket, attack);
    await sleep(BUILD_UP_MS);
    const attacked = await percentile99(good);
    await endAttack();
    rows.push(row(attack, attacked, median(quiet), 'ms', '≤ 3'));
  }
  await good.end();
  await stopServer(agent);
  return { name: 'p99 of a round trip beside a bad client : in quiet', rows };
}

async function percentile99(good: GoodClient): Promise<number> {
  const { latenciesMs, errors } = await good.experience({ forMs: CALLS_MS, newConnections: false });
  if (errors.length > 0) throw new Error(`the good client failed: ${errors[0]}`);
  return latenciesMs.toSorted((a, b) => a - b)[Math.floor(0.99 * (latenciesMs.length - 1))]!;
}

/** JSON is YAML. */
function configuration(directory: string, socket: string): string {
  const allow = [GOOD_UID, ...NAMES.map((_, at) => FIRST_BAD_UID + at)].map((uid) => ({ uid, roles: ['user'] }));
  const store = { type: 'local', directory: join(directory, 'keystore'), root_key: { development: true } };
  return JSON.stringify({
    profile: 'development',
    listen: {
      agent: { path: socket, mode: '0666' },
      admin: { path: join(directory, 'admin.sock'), mode: '0600' },
    },
    upstreams: { store },
    keys: { default: { recipients: [{ upstream: 'store', kek: 'local:default', role: 'authority' }], allow } },
  });
}
