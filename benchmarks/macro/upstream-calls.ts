/**
 * What a day of one key costs its upstream, for each way to cache: a million operations, half Encrypt and half Decrypt, spread evenly over a day on
 * a clock that is moved, counted by the upstream; against the million calls of an application that asks its KMS for each. Calls that grow with the
 * operations are counted for fewer of them and multiplied, and the arithmetic is printed. docs/outages.md has the table.
 */
import { simulateDay } from '../../test/keyring/simulated-day.ts';
import { HOUR, MINUTE } from '../../test/keyring/world.ts';
import { type BenchmarkResult, type Row, row } from '../result.ts';

const OPERATIONS = 1_000_000;
/** AWS KMS and Google Cloud KMS (software and HSM keys, AES-256) take the same for 10,000 calls: aws.amazon.com/kms/pricing, cloud.google.com/kms/pricing. */
const DOLLARS = 0.03 / 10_000;
const MUST_REACH = 350;

type Setup = Omit<Parameters<typeof simulateDay>[0], 'operations'>;

interface Case {
  readonly name: string;
  readonly setup: Setup;
  /** How many operations are counted; the rest is multiplied. */
  readonly counted: number;
  readonly mustReach?: number;
}

const CASES: readonly Case[] = [
  { name: 'none', setup: { cache: { mode: 'none' } }, counted: 2_000 },
  { name: 'none, verify_wrap: false', setup: { cache: { mode: 'none', verifyWrap: false } }, counted: 2_000 },
  { name: 'request, batches of 100', setup: { cache: { mode: 'request' }, batch: 100 }, counted: 20_000 },
  { name: 'session', setup: {}, counted: OPERATIONS, mustReach: MUST_REACH },
  { name: 'session, reading what the last hour wrote', setup: { readBackMs: HOUR }, counted: OPERATIONS },
  { name: 'session, ttl 1m', setup: { cache: { ttlMs: MINUTE } }, counted: OPERATIONS },
  { name: 'session, ttl 1h', setup: { cache: { ttlMs: HOUR } }, counted: OPERATIONS },
  { name: 'session, rotate_after 1h', setup: { cache: { rotateAfterMs: HOUR } }, counted: OPERATIONS },
  { name: 'session, refresh: renew', setup: { cache: { refresh: 'renew', verifyWrap: false } }, counted: OPERATIONS },
  { name: 'startup', setup: { cache: { mode: 'startup' } }, counted: OPERATIONS },
];

export async function run(): Promise<BenchmarkResult> {
  const rows: Row[] = [];
  for (const one of CASES) rows.push(...(await measure(one)));
  return { name: 'a day of 1,000,000 operations : a call each', rows };
}

async function measure({ name, setup, counted, mustReach }: Case): Promise<Row[]> {
  const { wraps, unwraps, calls, failures } = await simulateDay({ ...setup, operations: counted });
  if (failures > 0) throw new Error(`${name}: ${failures} operations failed`);
  const factor = OPERATIONS / counted;
  const day = calls * factor;
  const dollars = day * DOLLARS;
  process.stderr.write(
    `${name}: ${counted} operations, ${wraps} wraps + ${unwraps} unwraps = ${calls} calls; × ${factor} = ${day} a day; × $0.03 / 10,000 = $${dollars.toPrecision(3)} a day\n`,
  );
  const bound = mustReach === undefined ? '' : `≤ ${mustReach / OPERATIONS}`;
  return [
    row(`${name}: calls`, day, OPERATIONS, 'a day', bound),
    row(`${name}: dollars`, dollars, OPERATIONS * DOLLARS, '$ a day'),
  ];
}
