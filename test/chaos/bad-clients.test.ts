// One bad client never hurts another: while one process does its worst, another's calls all succeed, and the agent's memory stays bounded.
import { chmodSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { type Agent, startAgent } from '../helpers/agent-process.ts';
import { keyConfig, makePlace, type Place } from '../helpers/place.ts';
import { requireRoot } from '../helpers/require-root.ts';
import { ATTACKS } from './bad-client-attacks.ts';
import { type Experience, residentBytes, startBadClient, startGoodClient } from './bad-clients.ts';

const WHY = 'two clients of different users';
const GOOD_UID = 65_531;
const FIRST_BAD_UID = 65_000;
const NAMES = Object.keys(ATTACKS);
/** Of each attack: what the agent holds against one must not hold back the next. */
const BAD_UIDS = NAMES.map((_, at) => FIRST_BAD_UID + at);
const BUILD_UP_MS = 300;
const CALLS_MS = 1_200;
const MIB = 2 ** 20;

/**
 * Far above what a busy agent needs (some 200 MiB), far below what a pod could not bear: 100 MiB at rest, 128 MiB of request memory,
 * 256 connections of 0.1 to 8 MiB of which most hold little.
 */
const MAX_RESIDENT_BYTES = 700 * MIB;

async function startAgentForAll(t: ExecutionContext): Promise<{ place: Place; agent: Agent }> {
  const allow = [GOOD_UID, ...BAD_UIDS].map((uid) => ({ uid, roles: ['user'] }));
  const place = makePlace(t, { keys: { default: keyConfig('default', { allow }) } });
  chmodSync(place.directory, 0o755);
  place.configure({
    keys: { default: keyConfig('default', { allow }) },
    listen: { agent: { path: place.agentSocket, mode: '0666' }, admin: { path: place.adminSocket, mode: '0600' } },
  });
  return { place, agent: await startAgent(t, place) };
}

function report(
  t: ExecutionContext,
  attack: string,
  pid: number,
  { latenciesMs, newcomers, errors }: Experience,
): void {
  const sorted = latenciesMs.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.floor(share * (sorted.length - 1))]?.toFixed(1);
  const { now, peak } = residentBytes(pid);
  const memory = `${(now / MIB).toFixed(0)} MiB, at most ${(peak / MIB).toFixed(0)}`;
  const calls = `${sorted.length} + ${newcomers} round trips, ${errors.length} errors, median ${at(0.5)} ms, p99 ${at(0.99)} ms`;
  t.log(`${attack}: ${calls}; agent ${memory}`);
}

const CASES = [
  {
    who: 'another user',
    badUid: (at: number) => FIRST_BAD_UID + at,
    promise: "a client's calls",
    newConnections: true,
  },
  // They share what a uid may have of connections: new ones may wait or be refused.
  {
    who: 'the same user',
    badUid: () => GOOD_UID,
    promise: 'calls on a connection that is open',
    newConnections: false,
  },
];

for (const { who, badUid, promise, newConnections } of CASES) {
  test(`whatever a process of ${who} does, ${promise} succeed and the agent's memory is bounded`, async (t) => {
    t.timeout(300_000);
    const wish = { forMs: CALLS_MS, newConnections };
    if (!requireRoot(t, WHY)) return;
    const { place, agent } = await startAgentForAll(t);
    const good = await startGoodClient(GOOD_UID, place.agentSocket);
    t.teardown(good.end);
    report(t, 'quiet', agent.pid, await good.experience(wish));
    for (const [at, attack] of NAMES.entries()) {
      const endAttack = await startBadClient(badUid(at), place.agentSocket, attack);
      await sleep(BUILD_UP_MS);
      const experienced = await good.experience(wish);
      await endAttack();
      t.false(agent.stderr().includes('"event":"internal_error"'), `${attack}: ${agent.stderr()}`);
      report(t, attack, agent.pid, experienced);
      t.deepEqual(experienced.errors, [], attack);
      t.true(experienced.latenciesMs.length > 0 && experienced.newcomers > 0 === newConnections, attack);
      const { peak } = residentBytes(agent.pid);
      t.true(peak < MAX_RESIDENT_BYTES, `${attack}: ${peak} bytes resident`);
    }
    t.is((await agent.stop()).code, 0);
  });
}
