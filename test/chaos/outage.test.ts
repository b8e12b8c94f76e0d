// Every upstream fails at once, in each way in which upstreams fail, under load: what is cached serves, says when it is past its ttl, and heals.
import test, { type ExecutionContext } from 'ava';
import { installation, missing } from '../counterparts/counterpart.ts';
import { requireOpenBao } from '../counterparts/openbao/start.ts';
import { requireSoftHsm } from '../counterparts/softhsm/start.ts';
import { requireToxiproxy } from '../counterparts/toxiproxy/start.ts';
import { FAULTS } from './outage-faults.ts';
import type { FaultReport } from './outage-report.ts';
import { runOutages } from './outage-run.ts';

const CALLS_PER_SECOND = 2_000;

/**
 * 1,000 DEKs of another agent. With a ttl of 1 s each that is in use costs its upstream two calls a second, and two cores bear some
 * hundreds of them beside the load: the others are used once in ten seconds.
 */
const DEKS = {
  busy: { vault: 20, localstack: 10, moto: 10, hsm: 20 },
  idle: { vault: 350, localstack: 120, moto: 120, hsm: 350 },
  brief: 3,
  cold: 10,
};

function requireCounterparts(t: ExecutionContext): boolean {
  const aws = ['localstack', 'moto'].filter((name) => installation(name) === undefined);
  for (const name of aws) missing(t, name);
  return [requireOpenBao(t), requireSoftHsm(t), requireToxiproxy(t), aws.length === 0].every(Boolean);
}

test('in an outage of every upstream no operation with a cached DEK fails, and grace is told and kept', async (t) => {
  if (!requireCounterparts(t)) return;
  t.timeout(400_000);
  const report = await runOutages(t, {
    ttlMs: 1_000,
    graceMs: 3_600_000,
    briefGraceMs: 2_000,
    windowMs: 10_000,
    calmMs: 1_500,
    callsPerSecond: CALLS_PER_SECOND,
    deks: DEKS,
    idleEveryMs: 10_000,
    log: (line) => t.log(line),
  });
  t.is(report.faults.length, FAULTS.length);
  for (const faultReport of report.faults) check(t, faultReport);
  const silent = report.faults.flatMap((one) => one.silent);
  t.true(silent.length <= report.faults.length, `too busy a machine: without a fault ${silent} left calls unanswered`);
});

function check(t: ExecutionContext, { fault, violations, hits, inGrace, past, cold }: FaultReport): void {
  t.deepEqual(violations, [], fault.name);
  t.true(hits.count > 0 && inGrace > 0, `${fault.name}: ${hits.count} hits, ${inGrace} in grace`);
  if (fault.partial.length > 1) return;
  t.true(past.count > 0 && cold.count > 0, `${fault.name}: ${past.count} past grace, ${cold.count} not cached`);
  // Where the machine is so busy that a hit takes longer, so may these.
  const soonMs = Math.max(5, 3 * hits.medianMs);
  t.true(past.medianMs < soonMs, `${fault.name}: past grace UNAVAILABLE takes ${past.medianMs} ms`);
  t.true(cold.medianMs < soonMs, `${fault.name}: without a cached DEK UNAVAILABLE takes ${cold.medianMs} ms`);
}
