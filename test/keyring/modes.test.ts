import test from 'ava';
import { refused, UNREACHABLE } from '../fakes/scripted-upstream.ts';
import { HOUR, makeWorld, plain, SECOND } from './world.ts';

for (const mode of ['none', 'request'] as const) {
  test(`mode ${mode}: a DEK for each operation, zeroed after it`, async (t) => {
    const world = makeWorld(t);
    const key = world.key({ cache: { mode } });
    const first = await key.seal();
    const second = await key.seal();
    t.not(first.dek, second.dek);
    t.deepEqual([first.dek.place, second.dek.place], ['gone', 'gone']);
    t.is(world.upstream.count('wrap'), 2);
    const opened = await world.value(key.decrypt(first.ciphertext));
    t.is(opened.text, 'hello');
    t.is(opened.dek.place, 'gone');
    await world.value(key.decrypt(first.ciphertext));
    t.is(world.upstream.count('unwrap'), 4);
    t.is(key.held.length, 0);
    t.is(world.clock.timers, 1, 'the beat is the only timer left');
    t.deepEqual([key.ring.counters.encrypt_misses, key.ring.counters.decrypt_misses], [2, 2]);
    world.upstream.answer(UNREACHABLE);
    t.is(await world.reason(() => key.encrypt()), 'UPSTREAM_UNAVAILABLE');
    t.is(await world.reason(() => key.decrypt(first.ciphertext)), 'UPSTREAM_UNAVAILABLE');
  });
}

test('mode none: a caller that leaves loses its answer, and the DEK is zeroed when it comes', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ cache: { mode: 'none' } });
  const { ciphertext } = await key.seal();
  world.upstream.answer({ kind: 'ok', afterMs: 500 });
  const control = new AbortController();
  const calls = [key.encrypt({}, 'x', control.signal), key.decrypt(ciphertext, {}, control.signal)];
  await world.clock.advance(100);
  control.abort();
  for (const call of calls) t.is(await world.reason(() => call), 'CANCELLED');
  await world.clock.advance(3 * SECOND);
  t.is(world.clock.timers, 1);
});

test('mode session: one DEK, whatever is sent', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  await key.seal();
  for (let sent = 0; sent < 1_000; sent++) plain(t, key.encrypt());
  t.is(world.upstream.count('wrap'), 1);
});

test('mode startup: warmed ahead, grace without a bound, and a refusal purges all the same', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ cache: { mode: 'startup' } });
  await key.ring.warm(new Map());
  await key.ring.warm(new Map());
  t.is(world.upstream.count('wrap'), 1);
  const { dek } = plain(t, key.encrypt());
  world.upstream.answer(UNREACHABLE);
  await world.clock.advance(72 * HOUR);
  t.true(plain(t, key.encrypt()).grace);
  t.is(dek.place, 'encrypting');
  world.upstream.answer(refused('kek', 'destroyed'));
  await world.clock.advance(10 * SECOND);
  t.is(dek.place, 'gone');
  t.is(await world.reason(() => key.encrypt()), 'KEY_DESTROYED');
});

test('mode startup: warming in an outage fails, so that the agent is not ready', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ cache: { mode: 'startup' } });
  world.upstream.answer(UNREACHABLE);
  t.is(await world.reason(() => key.ring.warm(new Map())), 'UPSTREAM_UNAVAILABLE');
});
