import test from 'ava';
import { refreshDelayMs } from '../../src/keyring/dek.ts';
import { UNREACHABLE } from '../fakes/scripted-upstream.ts';
import { MINUTE, makeWorld, plain, SECOND, TTL } from './world.ts';

test('the first refresh lies between 0.8 and 0.9 of ttl, 2 s before its end, never before its half', (t) => {
  t.is(refreshDelayMs(300_000, 0), 240_000);
  t.is(refreshDelayMs(300_000, 1), 270_000);
  t.is(refreshDelayMs(10_000, 1), 8_000);
  t.is(refreshDelayMs(4_000, 0), 2_000);
  t.is(refreshDelayMs(1_000, 0.5), 500);
});

for (const [random, at] of [
  [0, 0.8],
  [0.999_999, 0.9],
] as const) {
  test(`a used DEK is refreshed in the background at ${at} of ttl`, async (t) => {
    const world = makeWorld(t);
    world.clock.randoms[0] = random;
    const key = world.key();
    const { dek } = await key.seal();
    const calls = world.upstream.count();
    plain(t, key.encrypt());
    await world.clock.advance(TTL * at - 10);
    t.is(world.upstream.count(), calls);
    await world.clock.advance(20);
    t.is(world.upstream.count('unwrap'), 2);
    t.is(world.upstream.count(), calls + 1);
    t.is(key.ring.counters.refreshes, 1);
    t.is(key.held[0], dek);
  });
}

test('a refresh unwraps the same block and re-arms ttl; no DEK is made', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  const first = await key.seal();
  for (let minute = 0; minute < 60; minute++) {
    const { dek, grace } = plain(t, key.encrypt());
    t.is(dek, first.dek);
    t.false(grace);
    await world.clock.advance(MINUTE);
  }
  t.is(world.upstream.count('wrap'), 1);
  t.is(key.ring.counters.deks_created, 1);
  const refreshes = world.upstream.calls.filter(({ operation }) => operation === 'unwrap').slice(1);
  t.true(refreshes.length >= 12 && refreshes.length <= 15, `${refreshes.length} refreshes in an hour`);
  for (const { context } of refreshes) t.is(context.pairs.get('dekd:id'), first.dek.id.toString('hex'));
  t.true(world.clock.bootMs() - first.dek.verifiedAtMs < TTL);
});

test('a DEK that nobody uses is not refreshed; its next use past ttl is', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  await key.seal();
  await world.clock.advance(4.8 * MINUTE);
  const calls = world.upstream.count();
  await world.clock.advance(30 * MINUTE);
  t.is(world.upstream.count(), calls);
  const { value } = (await world.outcome(key.encrypt())) as { value: { grace: boolean } };
  t.false(value.grace);
  t.is(world.upstream.count(), calls + 1);
});

test('a DEK that is first used late is refreshed at once', async (t) => {
  const world = makeWorld(t);
  const peer = world.peer();
  const { ciphertext } = await peer.seal();
  const key = world.key();
  await world.value(key.decrypt(ciphertext));
  await world.clock.advance(0.95 * TTL);
  const calls = world.upstream.count();
  plain(t, key.decrypt(ciphertext));
  await world.clock.advance(1);
  t.is(world.upstream.count(), calls + 1);
});

test('refreshes are few at a time, DEKs that encrypt first', async (t) => {
  const world = makeWorld(t);
  const peer = world.peer({ partitionBy: ['tenant'] });
  const key = world.key({ partitionBy: ['tenant'] });
  for (let tenant = 0; tenant < 10; tenant++) {
    const pairs = { tenant: `decrypts-${tenant}` };
    const { ciphertext } = await peer.seal(pairs);
    await world.value(key.decrypt(ciphertext, pairs));
  }
  peer.world.keyrings.close();
  for (let tenant = 0; tenant < 6; tenant++) await key.seal({ tenant: `encrypts-${tenant}` });
  world.upstream.answer({ kind: 'ok', afterMs: 100 });
  const before = world.upstream.count();
  // A clock step makes every DEK due.
  world.clock.stepWall(MINUTE);
  await world.clock.advance(10 * SECOND);
  const refreshes = world.upstream.calls.slice(before);
  t.is(refreshes.length, 16);
  const startedAt = new Map<number, number>();
  for (const { atMs } of refreshes) startedAt.set(atMs, (startedAt.get(atMs) ?? 0) + 1);
  t.true([...startedAt.values()].every((count) => count <= 4));
  const tenants = refreshes.map(({ context }) => context.pairs.get('tenant')!.replace(/-\d+$/, ''));
  t.deepEqual(
    tenants.slice(0, 6),
    Array.from({ length: 6 }, () => 'encrypts'),
  );
});

test('one refresh serves all requests that wait for it', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  const { ciphertext } = await key.seal();
  await world.clock.advance(2 * TTL);
  world.upstream.answer({ kind: 'ok', afterMs: 200 });
  const calls = world.upstream.count();
  const all = await world.value(Promise.all(Array.from({ length: 100 }, () => key.decrypt(ciphertext))));
  t.true(all.every(({ grace }) => !grace));
  t.is(world.upstream.count(), calls + 1);
  t.is(key.ring.counters.refreshes, 1);
});

test('a refresh that fails is counted, and probes take over', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  await key.seal();
  plain(t, key.encrypt());
  world.upstream.answer(UNREACHABLE);
  await world.clock.advance(TTL);
  t.is(key.ring.counters.refresh_failures, 1);
  const calls = world.upstream.count();
  await world.clock.advance(30 * SECOND);
  t.is(world.upstream.count(), calls + 10);
  t.deepEqual(world.events, [`outage ${world.kek('main').uri}`]);
});

test('a queued DEK that a request refreshed meanwhile is not asked about again', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ partitionBy: ['tenant'] });
  for (let tenant = 0; tenant < 5; tenant++) await key.seal({ tenant: `t${tenant}` });
  await world.clock.advance(2 * TTL);
  world.upstream.answer({ kind: 'ok', afterMs: 300 });
  const calls = world.upstream.count();
  world.clock.stepWall(MINUTE);
  while (world.upstream.count() === calls) await world.clock.advance(100);
  t.is(world.upstream.count(), calls + 4);
  for (const dek of key.held.slice(0, 4)) void key.encrypt(Object.fromEntries(dek.partition));
  void key.encrypt({ tenant: 't4' });
  await world.clock.advance(10 * SECOND);
  t.is(world.upstream.count(), calls + 5);
});

test('closing leaves no refresh to be made', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  await key.seal();
  plain(t, key.encrypt());
  world.keyrings.close();
  const calls = world.upstream.count();
  await world.clock.advance(2 * TTL);
  t.is(world.upstream.count(), calls);
  t.is(world.clock.timers, 0);
});
