/**
 * What a caller feels of an outage of every upstream at once: the 99th percentile of hits in outages of six kinds, a minute each, against the
 * same without, and how soon UNAVAILABLE comes once grace is over. The harness of test/chaos/outage.test.ts, with its counterparts, for about ten
 * minutes; it fails when an operation with a cached DEK does, or when grace is told wrongly. Wants a machine with nothing else to do.
 */
import { type OutageReport, told } from '../../test/chaos/outage-report.ts';
import { runOutages } from '../../test/chaos/outage-run.ts';
import { installation } from '../../test/counterparts/counterpart.ts';
import { hasSoftHsm } from '../../test/counterparts/softhsm/start.ts';
import { type BenchmarkResult, row } from '../result.ts';

const OPTIONS = {
  ttlMs: 5_000,
  graceMs: 3_600_000,
  briefGraceMs: 10_000,
  windowMs: 60_000,
  calmMs: 20_000,
  callsPerSecond: 2_000,
  /** 1,000 of another agent, a tenth of them idle past ttl; fewer where the counterpart is in Python. */
  deks: {
    busy: { vault: 300, localstack: 150, moto: 150, hsm: 300 },
    idle: { vault: 25, localstack: 25, moto: 25, hsm: 25 },
    brief: 3,
    cold: 10,
  },
  idleEveryMs: 15_000,
  log: (line: string): void => console.error(line),
};

export async function run(): Promise<BenchmarkResult> {
  const absent = ['openbao', 'localstack', 'moto', 'toxiproxy'].filter((name) => installation(name) === undefined);
  if (!hasSoftHsm) absent.push('softhsm');
  if (absent.length > 0)
    throw new Error(`install what is missing with test/counterparts/{${absent.join()}}/install.sh`);
  const ends: (() => unknown)[] = [];
  try {
    return resultOf(await runOutages({ teardown: (end) => void ends.push(end) }, OPTIONS));
  } finally {
    for (const end of ends.reverse()) await end();
  }
}

function resultOf({ calm, outages, faults }: OutageReport): BenchmarkResult {
  const wrong = faults.flatMap(({ violations }) => violations);
  if (wrong.length > 0) throw new Error(`not as promised:\n${wrong.join('\n')}`);
  console.error(`all outages: ${told(outages)}`);
  const whole = faults.filter(({ fault }) => fault.partial.length <= 1);
  return {
    name: 'every upstream out, 2,000 calls/s: p99 of a hit : without; UNAVAILABLE : 5 ms',
    rows: [
      row('all six', outages.p99Ms, calm.p99Ms, 'ms', '≤ 1.5'),
      ...faults.map((one) => row(one.fault.name, one.hits.p99Ms, one.calm.p99Ms, 'ms')),
      ...whole.map(({ fault, past }) => row(`${fault.name}: UNAVAILABLE, median`, past.medianMs, 5, 'ms', '≤ 1')),
      ...whole.map(({ fault, past }) => row(`${fault.name}: UNAVAILABLE, p99`, past.p99Ms, 5, 'ms')),
    ],
  };
}
