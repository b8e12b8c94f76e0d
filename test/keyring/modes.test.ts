import test from 'ava';
import { OK, refused, UNREACHABLE } from '../fakes/scripted-upstream.ts';
import { HOUR, MINUTE, makeWorld, plain, SECOND, TTL } from './world.ts';

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

test('refresh renew: a new DEK where the old one would be unwrapped; nothing is ever unwrapped', async (t) => {
  const world = makeWorld(t);
  world.upstream.script({ operation: 'unwrap', answer: refused('access') });
  const key = world.key({ cache: { refresh: 'renew' } });
  const first = await key.seal();
  for (let minute = 0; minute < 30; minute++) {
    t.false(plain(t, key.encrypt()).grace);
    await world.clock.advance(MINUTE);
  }
  t.is(world.upstream.count('unwrap'), 0);
  const made = world.upstream.count('wrap');
  t.true(made >= 6 && made <= 8, `${made} DEKs in half an hour`);
  t.is(first.dek.place, 'gone', 'it may not be asked about, so it is not kept');
  t.is(key.held.length, 1);
});

test('refresh renew: grace in an outage, and rotation is told of once', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ cache: { refresh: 'renew' } });
  const first = await key.seal();
  plain(t, key.encrypt());
  world.upstream.answer(UNREACHABLE);
  for (let minute = 0; minute < 30; minute++) {
    await world.clock.advance(MINUTE);
    const { grace, dek } = plain(t, key.encrypt());
    t.is(dek, first.dek);
    t.is(grace, minute >= 5);
  }
  t.is(world.events.filter((event) => event.startsWith('rotation-failed')).length, 1);
  world.upstream.answer(OK);
  await world.clock.advance(10 * SECOND);
  const { grace, dek } = plain(t, key.encrypt());
  t.false(grace);
  t.not(dek, first.dek);
});

for (const used of [true, false]) {
  const when = used ? 'ahead of its time' : 'at the use that finds it past ttl';
  test(`refresh renew: one refusal, ${when}, retires nothing however often it is heard`, async (t) => {
    const world = makeWorld(t);
    const key = world.key({ cache: { refresh: 'renew' } });
    const { dek } = await key.seal();
    if (used) plain(t, key.encrypt());
    world.upstream.script({ operation: 'wrap', answer: refused('access'), times: 1 });
    await world.clock.advance(used ? 0.9 * TTL : TTL + SECOND);
    for (let asked = 0; asked < 5; asked++) await world.reason(() => key.encrypt());
    t.is(world.upstream.count('wrap'), 2, 'the refusal is remembered, not asked for again');
    t.is(dek.place, 'encrypting');
    await world.clock.advance(6 * SECOND);
    if (used) await world.clock.advance(0.2 * TTL);
    const next = await world.value(key.encrypt());
    t.not(next.dek, dek);
    t.false(next.grace);
  });
}

test('refresh renew: a second refusal from a real call zeroes the DEK', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ cache: { refresh: 'renew' } });
  const { dek } = await key.seal();
  world.upstream.script({ operation: 'wrap', answer: refused('access') });
  await world.clock.advance(TTL + SECOND);
  await world.reason(() => key.encrypt());
  t.deepEqual([dek.place, world.upstream.count('wrap')], ['encrypting', 2]);
  await world.clock.advance(6 * SECOND);
  t.is(await world.reason(() => key.encrypt()), 'UPSTREAM_REFUSED');
  t.deepEqual([dek.place, world.upstream.count('wrap')], ['gone', 3]);
});

test('refresh renew: refused twice, the DEK encrypts no more', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ cache: { refresh: 'renew' } });
  const { dek } = await key.seal();
  plain(t, key.encrypt());
  world.upstream.answer(refused('access'));
  await world.clock.advance(TTL + SECOND);
  t.is(await world.reason(() => key.encrypt()), 'UPSTREAM_REFUSED');
  t.is(dek.place, 'gone');
});

test('refresh renew: a DEK that came to be decrypted is refreshed by unwrapping, as it came', async (t) => {
  const world = makeWorld(t);
  const writer = world.peer();
  const { ciphertext } = await writer.seal();
  writer.world.keyrings.close();
  const key = world.key({ cache: { refresh: 'renew' } });
  const { dek } = await world.value(key.decrypt(ciphertext));
  for (let minute = 0; minute < 20; minute++) {
    await world.clock.advance(MINUTE);
    t.is(plain(t, key.decrypt(ciphertext)).dek, dek);
  }
  world.upstream.answer(UNREACHABLE);
  await world.clock.advance(2 * TTL);
  t.true(plain(t, key.decrypt(ciphertext)).grace);
});
