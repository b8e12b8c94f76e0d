import test from 'ava';
import { DekdError } from '../../src/errors.ts';
import { CALLS, FAILURES_TO_OPEN } from '../../src/upstream/resilience/limits.ts';
import { HANG, OK, UNREACHABLE } from '../fakes/scripted-upstream.ts';
import { settled } from '../helpers/movable-clock.ts';
import { Load } from './load.ts';
import { contextOf, MINUTE, makeResilientWorld, SECOND, type TestKey, type World, waiterOf } from './world.ts';

const TTL = MINUTE;

let partitions = 0;

/** Encrypts for so many new partitions at once, each of ten keys and each of two uids having its share, and counts how they end. */
function misses(keys: readonly TestKey[], count: number): Map<string, number> {
  const ended = new Map<string, number>();
  const note = (how: string): void => void ended.set(how, (ended.get(how) ?? 0) + 1);
  for (let tenant = 0; tenant < count; tenant++) {
    const { ring } = keys[tenant % keys.length]!;
    const context = contextOf({ tenant: `n${partitions++}` });
    const uid = 1000 + (Math.floor(tenant / keys.length) % 2);
    Promise.resolve(ring.encrypt(context, 1, (dek) => dek, waiterOf(undefined, uid))).then(
      () => note('ok'),
      (error: unknown) => note(DekdError.from(error).reason),
    );
  }
  return ended;
}

function withKeys(world: World): { key: TestKey; others: TestKey[] } {
  const setup = { partitionBy: ['tenant'], cache: { ttlMs: TTL, graceMs: 30 * MINUTE } };
  const others = Array.from({ length: 10 }, (_, index) => world.key({ ...setup, name: `other${index}` }));
  return { key: world.key(setup), others };
}

function total(ended: ReadonlyMap<string, number>): number {
  return [...ended.values()].reduce((sum, one) => sum + one, 0);
}

test('10,000 misses in a hang: each ends within 2 s, at few calls, and the next one at once', async (t) => {
  const world = makeResilientWorld(t);
  const { key, others } = withKeys(world);
  const load = await Load.of(key, 20);
  world.upstream.answer(HANG);
  world.upstream.calls.length = 0;
  const ended = misses(others, 10_000);
  await settled();
  await load.run(2 * SECOND, { everyMs: 50 });
  t.is(total(ended), 10_000);
  t.log(Object.fromEntries(ended), `${world.upstream.count()} calls`);
  t.deepEqual([...ended.keys()].sort(), ['QUOTA_EXCEEDED', 'UPSTREAM_UNAVAILABLE']);
  // Those that were made before it was asked whether it is out, and that question.
  t.true(world.upstream.count() <= CALLS.miss.atOnce + FAILURES_TO_OPEN);
  t.is(world.edge.breaker, 'open');
  const again = misses(others, 10_000);
  await settled();
  t.deepEqual([...again], [['UPSTREAM_UNAVAILABLE', 10_000]]);
  t.deepEqual(load.failed, []);
  t.is(load.slowestMs, 0);
});

test('misses that fill their room again and again, and all that may wait, delay no refresh of what is held', async (t) => {
  const world = makeResilientWorld(t);
  const { key, others } = withKeys(world);
  const load = await Load.of(key, 20);
  // Slow, but answered: no breaker opens.
  world.upstream.script({ operation: 'wrap', answer: { kind: 'ok', afterMs: 900 } });
  const { clock } = world;
  const floods: Map<string, number>[] = [];
  const flood = (): void => {
    floods.push(misses(others, floods.length === 0 ? 1_000 : 200));
    clock.after(SECOND, flood);
  };
  await load.run(40 * SECOND, { everyMs: 500 });
  flood();
  await load.run(TTL, { everyMs: 500 });
  t.deepEqual(load.failed, []);
  t.is(load.slowestMs, 0);
  t.is(load.uses.filter(({ grace }) => grace).length, 0, 'each was refreshed before its ttl');
  const full = floods.filter((ended) => (ended.get('QUOTA_EXCEEDED') ?? 0) > 0).length;
  t.true(full > 30, `the room was full ${full} times`);
  const made = floods.reduce((sum, ended) => sum + (ended.get('ok') ?? 0), 0);
  t.log(`${made} DEKs were made meanwhile`);
  t.true(made > 500, 'and what waits does not take all of each other’s time');
  t.is(key.ring.counters.refreshes, 20);
  for (const dek of key.held) t.true(clock.bootMs() - dek.verifiedAtMs < TTL);
});

test('a full room is nothing that the upstream did: no outage, and QUOTA_EXCEEDED says when to come again', async (t) => {
  const world = makeResilientWorld(t);
  const { others } = withKeys(world);
  world.upstream.answer({ kind: 'ok', afterMs: 100 });
  const ended = misses(others, 3_000);
  await settled();
  t.deepEqual([...ended], [['QUOTA_EXCEEDED', 3_000 - CALLS.miss.atOnce - CALLS.miss.waiting]]);
  t.is(world.kek('main').health.state, 'unknown');
  const outcome = await world.outcome(others[0]!.encrypt({ tenant: 'late' }));
  t.is('error' in outcome && outcome.error.retryAfterMs, SECOND);
  await world.clock.advance(10 * SECOND);
  t.is(world.kek('main').health.state, 'ok');
  t.is(world.kek('main').failures, 0);
});

test('held DEKs past ttl whose uses come all at once wait for their turn, 1 s at most, and none fails', async (t) => {
  const world = makeResilientWorld(t);
  const { key } = withKeys(world);
  const load = await Load.of(key, 500);
  await world.clock.advance(2 * TTL);
  world.upstream.answer({ kind: 'ok', afterMs: 200 });
  world.upstream.calls.length = 0;
  await load.run(50, { everyMs: 50 });
  await world.clock.advance(5 * SECOND);
  t.deepEqual(load.failed, []);
  t.is(load.uses.length, 1_000);
  t.true(load.slowestMs <= SECOND);
  t.is(world.upstream.count(), 500);
  world.upstream.answer(OK);
  load.forget();
  await load.run(50, { everyMs: 50 });
  t.true(load.uses.every(({ grace, tookMs }) => grace === false && tookMs === 0));
});

test('a held DEK past ttl is refreshed for its use though the room of misses is full', async (t) => {
  const world = makeResilientWorld(t);
  const { key, others } = withKeys(world);
  const load = await Load.of(key, 5);
  await world.clock.advance(2 * TTL);
  world.upstream.script({ operation: 'wrap', answer: { kind: 'ok', afterMs: 900 } });
  const ended = misses(others, 2_000);
  await settled();
  t.true((ended.get('QUOTA_EXCEEDED') ?? 0) > 900);
  await load.run(50, { everyMs: 50 });
  t.deepEqual(
    load.uses.map(({ grace, tookMs }) => [grace, tookMs]),
    Array.from({ length: 10 }, () => [false, 0]),
  );
});

test('an outage that ends lets misses through again, as many as there is room for', async (t) => {
  const world = makeResilientWorld(t);
  const { others } = withKeys(world);
  world.upstream.answer(UNREACHABLE);
  misses(others, 100);
  await world.clock.advance(10 * SECOND);
  t.is(world.edge.breaker, 'open');
  world.upstream.answer({ kind: 'ok', afterMs: 20 });
  await world.clock.advance(5 * SECOND);
  const ended = misses(others, 1_000);
  await world.clock.advance(2 * SECOND);
  t.deepEqual([...ended], [['ok', 1_000]]);
});
