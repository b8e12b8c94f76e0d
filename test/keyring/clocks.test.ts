import test from 'ava';
import { systemClock } from '../../src/keyring/clock.ts';
import { OK, UNREACHABLE } from '../fakes/scripted-upstream.ts';
import { GRACE, HOUR, MINUTE, makeWorld, plain, SECOND, TTL } from './world.ts';

test('after suspend a DEK past ttl is refreshed before it serves', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  const { ciphertext, dek } = await key.seal();
  plain(t, key.encrypt());
  world.clock.suspend(2 * HOUR);
  const calls = world.upstream.count();
  const { grace } = await world.value(key.decrypt(ciphertext));
  t.false(grace);
  t.is(world.upstream.count(), calls + 1);
  t.is(world.clock.bootMs(), dek.verifiedAtMs);
});

test('after suspend past grace in an outage nothing is served', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  const { ciphertext } = await key.seal();
  world.clock.suspend(TTL + GRACE + SECOND);
  world.upstream.answer(UNREACHABLE);
  t.is(await world.reason(() => key.decrypt(ciphertext)), 'UPSTREAM_UNAVAILABLE');
});

for (const [stepMs, noticed] of [
  [30_000, false],
  [30_001, true],
  [-HOUR, false],
] as const) {
  test(`a wall-clock step of ${stepMs} ms: ${noticed ? 'every DEK is due at once, none expires' : 'nothing happens'}`, async (t) => {
    const world = makeWorld(t);
    const key = world.key({ partitionBy: ['tenant'] });
    for (const tenant of ['a', 'b', 'c']) await key.seal({ tenant });
    const calls = world.upstream.count();
    world.clock.stepWall(stepMs);
    await world.clock.advance(6 * SECOND);
    t.is(world.upstream.count() - calls, noticed ? 3 : 0);
    t.deepEqual(world.events, noticed ? [`step ${stepMs}`] : []);
    t.is(key.ring.counters.clock_steps, noticed ? 1 : 0);
    t.is(key.held.length, 3);
    t.is(key.ring.counters.expired, 0);
  });
}

test('a step in an outage expires nothing: hits go on', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  await key.seal();
  world.upstream.answer(UNREACHABLE);
  world.clock.stepWall(10 * HOUR);
  await world.clock.advance(MINUTE);
  t.false(plain(t, key.encrypt()).grace);
});

test('after an outage refreshes are spread over half a ttl, few at a time, DEKs that encrypt first', async (t) => {
  const world = makeWorld(t);
  const writer = world.peer({ partitionBy: ['tenant'] });
  const key = world.key({ partitionBy: ['tenant'] });
  const decrypting = [];
  for (let at = 0; at < 40; at++) {
    const pairs = { tenant: `d${at}` };
    decrypting.push({ pairs, ciphertext: (await writer.seal(pairs)).ciphertext });
  }
  writer.world.keyrings.close();
  for (const { pairs, ciphertext } of decrypting) await world.value(key.decrypt(ciphertext, pairs));
  for (let at = 0; at < 10; at++) await key.seal({ tenant: `e${at}` });
  for (const { pairs, ciphertext } of decrypting) plain(t, key.decrypt(ciphertext, pairs));
  for (let at = 0; at < 10; at++) plain(t, key.encrypt({ tenant: `e${at}` }));
  world.upstream.answer(UNREACHABLE);
  await world.clock.advance(20 * MINUTE);
  world.clock.randoms.length = 0;
  for (let at = 0; at < 400; at++) world.clock.randoms.push((at * 0.618_034) % 1);
  world.upstream.answer(OK);
  const calls = world.upstream.count();
  while (!world.events.some((event) => event.startsWith('recovery'))) await world.clock.advance(100);
  const recoveredAtMs = world.clock.bootMs();
  await world.clock.advance(TTL / 2 + SECOND);
  const refreshes = world.upstream.calls.slice(calls + 1);
  const early = refreshes.filter(({ atMs }) => atMs - recoveredAtMs < SECOND);
  const encrypting = early.filter(({ context }) => context.pairs.get('tenant')!.startsWith('e'));
  t.true(encrypting.length >= 9, `${encrypting.length} encrypting DEKs at once`);
  const late = refreshes.filter(({ context }) => context.pairs.get('tenant')!.startsWith('d'));
  t.true(late.length >= 39);
  for (let tenth = 0; tenth < 10; tenth++) {
    const from = recoveredAtMs + (tenth * TTL) / 20;
    const count = late.filter(({ atMs }) => atMs >= from && atMs < from + TTL / 20).length;
    t.true(count >= 1 && count <= 8, `${count} in tenth ${tenth}`);
  }
});

test('a DEK that nobody used is not refreshed after an outage', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ partitionBy: ['tenant'] });
  await key.seal({ tenant: 'idle' });
  await key.seal({ tenant: 'busy' });
  plain(t, key.encrypt({ tenant: 'busy' }));
  world.upstream.answer(UNREACHABLE);
  await world.clock.advance(10 * MINUTE);
  const probed = world.upstream.calls.at(-1)!.context.pairs.get('tenant');
  world.upstream.answer(OK);
  const calls = world.upstream.count();
  await world.clock.advance(TTL);
  const asked = world.upstream.calls.slice(calls).map(({ context }) => context.pairs.get('tenant'));
  t.deepEqual(asked.toSorted(), [probed, 'busy'].toSorted());
});

test('the system clock counts whole milliseconds and its timers keep no process alive', async (t) => {
  const before = systemClock.bootMs();
  t.true(Number.isInteger(before) && before >= 0);
  const fired = new Promise<void>((resolve) => systemClock.after(-5, resolve));
  const cancel = systemClock.after(1, () => t.fail('cancelled'));
  cancel();
  systemClock.after(2 ** 40, () => t.fail('a long timer fires early only after 24 days'))();
  await new Promise((resolve) => setTimeout(resolve, 20));
  await fired;
  t.true(systemClock.bootMs() >= before + 15);
  t.true(Math.abs(systemClock.wallMs() - Date.now()) < 1_000);
  t.true(systemClock.random() < 1);
});
