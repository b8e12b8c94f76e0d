import test, { type ExecutionContext } from 'ava';
import { HANG, OK, refused, UNREACHABLE } from '../fakes/scripted-upstream.ts';
import { Load } from './load.ts';
import { MINUTE, makeResilientWorld, plain, SECOND } from './world.ts';

// What a refusal does when a breaker is closed, open, or just being tried: never a purge without a second answer that says the same.

const TTL = MINUTE;
const DISABLED = refused('kek', 'disabled');

async function inOutage(t: ExecutionContext) {
  const world = makeResilientWorld(t);
  const key = world.key({ partitionBy: ['tenant'], cache: { ttlMs: TTL, graceMs: 30 * MINUTE } });
  const load = await Load.of(key, 5);
  world.upstream.answer(UNREACHABLE);
  await load.run(2 * TTL, { everyMs: SECOND });
  t.is(world.edge.breaker, 'open');
  load.forget();
  return { world, key, load };
}

test('the probe that finds a refusal purges nothing; what the held DEKs then hear twice does', async (t) => {
  const { world, key, load } = await inOutage(t);
  world.upstream.answer(DISABLED);
  world.upstream.calls.length = 0;
  while (world.edge.breaker === 'open') await world.clock.advance(100);
  t.is(key.held.length, 5);
  await load.run(5 * SECOND);
  t.is(key.held.length, 0);
  t.true(world.events.includes('confirmed kek 5'));
  const fresh = world.upstream.calls.filter((call) => call.fresh);
  t.true(fresh.length >= 1, 'confirmed by a call of its own');
  t.deepEqual([...new Set(load.failed.map(({ reason }) => reason))], ['KEY_DISABLED']);
});

test('a probe that is refused, and a KEK that serves: nothing is purged', async (t) => {
  const { world, key, load } = await inOutage(t);
  world.upstream.answer(OK);
  world.upstream.script({ operation: 'describe', answer: DISABLED });
  await load.run(TTL, { everyMs: SECOND });
  t.is(key.held.length, 5);
  t.deepEqual(load.failed, []);
  load.forget();
  await load.run(2 * SECOND);
  t.true(load.uses.every(({ grace }) => grace === false));
});

test('a stray refusal right after the outage is withdrawn', async (t) => {
  const { world, key, load } = await inOutage(t);
  world.upstream.answer(OK);
  world.upstream.script({ operation: 'unwrap', answer: DISABLED, times: 1 });
  await load.run(TTL, { everyMs: SECOND });
  t.true(world.events.includes('seen kek'));
  t.true(world.events.includes('withdrawn kek'));
  t.is(key.held.length, 5);
  t.is(key.ring.counters.purged, 0);
});

test('a refusal before ttl, and then an outage: it stays pending, the breaker’s opening makes it no purge, and it serves one ttl more, not grace', async (t) => {
  const world = makeResilientWorld(t);
  const key = world.key({ partitionBy: ['tenant'], cache: { ttlMs: TTL, graceMs: 30 * MINUTE } });
  const load = await Load.of(key, 5);
  // Seen at 51 s, and never confirmed.
  world.upstream.answer(HANG);
  world.upstream.script({ operation: 'unwrap', answer: DISABLED, times: 1 });
  const seen = async (): Promise<void> => {
    while (!world.events.includes('seen kek')) await load.run(SECOND, { everyMs: SECOND });
  };
  await seen();
  const seenAtMs = world.clock.bootMs();
  while (!world.events.includes('pending kek')) await load.run(SECOND);
  while (world.edge.breaker === 'closed') await load.run(SECOND);
  await load.run(seenAtMs + TTL - 3 * SECOND - world.clock.bootMs());
  t.is(key.held.length, 5);
  t.deepEqual(
    load.failed.filter(({ reason }) => reason !== 'UPSTREAM_UNAVAILABLE'),
    [],
  );
  t.is(await world.reason(() => key.encrypt({ tenant: 'new' })), 'UPSTREAM_UNAVAILABLE', 'no new DEKs');
  t.true(plain(t, key.encrypt({ tenant: 't0' })).grace);
  await world.clock.advance(5 * SECOND);
  load.forget();
  await load.run(5 * SECOND);
  t.true(load.uses.every(({ reason }) => reason === 'UPSTREAM_UNAVAILABLE'));
  t.is(key.ring.counters.purged, 0, 'nobody has said it twice');
  world.upstream.answer(DISABLED);
  await world.clock.advance(15 * SECOND);
  t.is(key.held.length, 0);
  t.true(world.events.includes('confirmed kek 5'));
});

test('while the breaker is closed the confirming call goes through', async (t) => {
  const world = makeResilientWorld(t);
  const key = world.key({ cache: { ttlMs: TTL } });
  const { dek } = await key.seal();
  plain(t, key.encrypt());
  // Four calls in a row, with their retries: one less than it takes to open. The next answer is the refusal.
  world.upstream.answer(DISABLED);
  world.upstream.script({ answer: UNREACHABLE, times: 12 });
  await world.clock.advance(2 * TTL);
  t.is(dek.place, 'gone');
  t.is(world.edge.breaker, 'closed');
  t.is(world.upstream.calls.filter(({ fresh }) => fresh).length, 1);
});

test('a refusal that arrives late, when its breaker has opened meanwhile, purges nothing until it is confirmed', async (t) => {
  const world = makeResilientWorld(t);
  const key = world.key({ partitionBy: ['tenant'], cache: { ttlMs: TTL, graceMs: 30 * MINUTE } });
  const load = await Load.of(key, 8);
  world.upstream.answer(UNREACHABLE);
  world.upstream.script({
    operation: 'unwrap',
    pair: ['tenant', 't0'],
    answer: { ...DISABLED, afterMs: 900 } as typeof DISABLED,
    times: 1,
  });
  while (!world.events.includes('seen kek')) await load.run(100, { everyMs: 100 });
  t.is(world.edge.breaker, 'open');
  await load.run(20 * SECOND, { everyMs: SECOND });
  t.true(world.events.includes('pending kek'));
  t.is(key.held.length, 8);
  world.upstream.answer(OK);
  await load.run(20 * SECOND, { everyMs: SECOND });
  t.true(world.events.includes('withdrawn kek'));
  t.is(key.held.length, 8);
  t.is(key.ring.counters.purged, 0);
});
