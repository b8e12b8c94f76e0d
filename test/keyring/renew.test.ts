import test from 'ava';
import { OK, refused, UNREACHABLE } from '../fakes/scripted-upstream.ts';
import { MINUTE, makeResilientWorld, makeWorld, plain, SECOND, TTL, uriOf } from './world.ts';

// `refresh: renew`, for writers that may not decrypt: a new DEK takes the place of one that would be asked about, and what the upstream says of that counts alike.

const RENEW = { cache: { refresh: 'renew' } } as const;

test('refresh renew: a new DEK where the old one would be unwrapped; nothing is ever unwrapped', async (t) => {
  const world = makeWorld(t);
  world.upstream.script({ operation: 'unwrap', answer: refused('access') });
  const key = world.key(RENEW);
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
  const key = world.key(RENEW);
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

test('refresh renew: a DEK that came to be decrypted is refreshed by unwrapping, as it came', async (t) => {
  const world = makeWorld(t);
  const writer = world.peer();
  const { ciphertext } = await writer.seal();
  writer.world.keyrings.close();
  const key = world.key(RENEW);
  const { dek } = await world.value(key.decrypt(ciphertext));
  for (let minute = 0; minute < 20; minute++) {
    await world.clock.advance(MINUTE);
    t.is(plain(t, key.decrypt(ciphertext)).dek, dek);
  }
  world.upstream.answer(UNREACHABLE);
  await world.clock.advance(2 * TTL);
  t.true(plain(t, key.decrypt(ciphertext)).grace);
});

test('one refusal, ahead of its time: asked once more and forgotten, and nobody noticed', async (t) => {
  const world = makeWorld(t);
  const key = world.key(RENEW);
  const { dek } = await key.seal();
  plain(t, key.encrypt());
  world.upstream.script({ operation: 'wrap', answer: refused('access'), times: 1 });
  while (world.events.length === 0) await world.clock.advance(100);
  t.true(world.keyrings.refusalPending(dek));
  t.is(plain(t, key.encrypt()).dek, dek, 'within ttl it serves');
  await world.clock.advance(3 * SECOND);
  t.deepEqual(world.events.sort(), ['rotation-failed orders UPSTREAM_REFUSED', 'seen access', 'withdrawn access']);
  t.deepEqual(
    world.upstream.calls.map(({ operation, fresh }) => [operation, fresh]),
    [
      ['wrap', false],
      ['wrap', false],
      ['wrap', true],
    ],
  );
  const next = plain(t, key.encrypt());
  t.not(next.dek, dek);
  t.false(next.grace);
  t.is(dek.place, 'gone');
});

test('one refusal at the use that finds it past ttl: all who come wait for the second call, and are served', async (t) => {
  const world = makeWorld(t);
  const key = world.key(RENEW);
  const { dek } = await key.seal();
  world.upstream.script({ operation: 'wrap', answer: refused('access'), times: 1 });
  await world.clock.advance(TTL + SECOND);
  const others = Array.from({ length: 5 }, () => key.encrypt());
  const outcome = await world.outcome(key.encrypt());
  t.true('value' in outcome && !outcome.value.grace && outcome.value.dek !== dek);
  t.true(outcome.tookMs >= SECOND && outcome.tookMs <= 4 * SECOND, `${outcome.tookMs}`);
  for (const other of others) t.false((await other).grace);
  t.is(world.upstream.count('wrap'), 3);
});

test('a second refusal zeroes the DEK, and those who waited are refused', async (t) => {
  const world = makeWorld(t);
  const key = world.key(RENEW);
  const { dek } = await key.seal();
  world.upstream.script({ operation: 'wrap', answer: refused('access') });
  await world.clock.advance(TTL + SECOND);
  const waits = key.encrypt();
  await world.clock.advance(500);
  t.deepEqual([dek.place, world.upstream.count('wrap')], ['encrypting', 2]);
  const outcome = await world.outcome(waits);
  t.is('error' in outcome && outcome.error.reason, 'UPSTREAM_REFUSED');
  t.true(outcome.tookMs <= 3_500);
  t.deepEqual([dek.place, world.upstream.count('wrap')], ['gone', 3]);
  t.deepEqual([key.ring.counters.purged, key.ring.counters.refusals_confirmed], [1, 1]);
});

test('refused ahead of its time, and again: no use is later than that', async (t) => {
  const world = makeWorld(t);
  const key = world.key(RENEW);
  const { dek } = await key.seal();
  plain(t, key.encrypt());
  world.upstream.answer(refused('kek', 'disabled'));
  await world.clock.advance(0.9 * TTL + 4 * SECOND);
  t.is(dek.place, 'gone');
  t.is(world.events.at(-1), 'confirmed kek 1');
  t.is(await world.reason(() => key.encrypt()), 'KEY_DISABLED');
});

test('a successor that is refused says nothing of DEKs that are unwrapped', async (t) => {
  const world = makeWorld(t);
  const writer = world.peer();
  const { ciphertext } = await writer.seal();
  writer.world.keyrings.close();
  const key = world.key(RENEW);
  const other = world.key({ name: 'other' });
  await key.seal();
  const decrypting = await world.value(key.decrypt(ciphertext));
  const others = await other.seal();
  plain(t, key.encrypt());
  world.upstream.answer(refused('kek'), { operation: 'wrap' });
  await world.clock.advance(0.9 * TTL + 4 * SECOND);
  t.true(world.events.includes('confirmed kek 1'));
  t.deepEqual([decrypting.dek.place, others.dek.place], ['decrypting', 'encrypting']);
});

test('refused, then out: pending for one ttl and not for grace, asked again every 5 s, and well again after a yes', async (t) => {
  const world = makeWorld(t);
  const key = world.key(RENEW);
  await key.seal();
  plain(t, key.encrypt());
  world.upstream.script({ operation: 'wrap', answer: refused('access'), times: 1 }, { answer: UNREACHABLE });
  while (!world.events.includes('pending access')) await world.clock.advance(100);
  const pendingAtMs = world.clock.bootMs();
  await world.clock.advance(0.5 * TTL);
  t.true((await world.value(key.encrypt())).grace);
  const asked = world.upstream.calls.filter(({ fresh }) => fresh).length;
  await world.clock.advance(20 * SECOND);
  const more = world.upstream.calls.filter(({ fresh }) => fresh).length - asked;
  t.true(more >= 3 && more <= 5, `${more}`);
  await world.clock.advance(pendingAtMs + TTL - world.clock.bootMs());
  t.is(await world.reason(() => key.encrypt()), 'UPSTREAM_UNAVAILABLE');
  world.upstream.answer(OK);
  await world.clock.advance(6 * SECOND);
  t.is(world.events.at(-1), 'withdrawn access');
  t.false(plain(t, key.encrypt()).grace);
});

test('wrap any: who refused and then gives no answer is not left out of a successor, or cutting a line would undo the refusal', async (t) => {
  const world = makeWorld(t);
  const key = world.key({
    ...RENEW,
    wrap: 'any',
    recipients: [
      ['main', 'authority'],
      ['spare', 'authority'],
    ],
  });
  const { dek } = await key.seal();
  plain(t, key.encrypt());
  world.upstream.script(
    { kek: uriOf('main'), answer: refused('access'), times: 1 },
    { kek: uriOf('main'), answer: UNREACHABLE },
  );
  while (!world.events.includes('pending access')) await world.clock.advance(100);
  for (let second = 0; second < 60; second++) {
    t.is((await key.seal()).dek, dek);
    await world.clock.advance(SECOND);
  }
  await world.clock.advance(TTL);
  t.is(await world.reason(() => key.encrypt()), 'UPSTREAM_UNAVAILABLE');
});

test('behind a breaker: the first use past ttl in an outage waits for one attempt and is served in grace', async (t) => {
  const world = makeResilientWorld(t);
  const key = world.key(RENEW);
  await key.seal();
  world.upstream.answer({ kind: 'hang' });
  await world.clock.advance(TTL + SECOND);
  const outcome = await world.outcome(key.encrypt());
  t.true('value' in outcome && outcome.value.grace);
  t.true(outcome.tookMs <= 1_050, `${outcome.tookMs}`);
  t.true(plain(t, key.encrypt()).grace);
});

test('two KEKs that refuse once each zero nothing: each one’s second answer is its own', async (t) => {
  const world = makeWorld(t);
  const recipients = [
    ['first', 'authority'],
    ['second', 'authority'],
  ] as const;
  const key = world.key({ ...RENEW, recipients });
  const { dek } = await key.seal();
  plain(t, key.encrypt());
  world.upstream.script({ kek: uriOf('second'), answer: refused('access'), times: 1 });
  while (!world.events.includes('seen access')) await world.clock.advance(100);
  world.upstream.script({ kek: uriOf('first'), answer: refused('access'), times: 1 });
  while (world.events.filter((event) => event === 'seen access').length < 2) await world.clock.advance(100);
  t.is(plain(t, key.encrypt()).dek, dek, 'within ttl it serves');
  await world.clock.advance(10 * SECOND);
  t.is(key.ring.counters.purged, 0);
  t.deepEqual(
    world.events.filter((event) => /^(confirmed|withdrawn)/.test(event)),
    ['withdrawn access', 'withdrawn access'],
  );
  t.not(plain(t, key.encrypt()).dek, dek);
});
