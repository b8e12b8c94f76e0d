import test from 'ava';
import { type Answer, HANG, INVALID, OK, refused, THROTTLED, UNREACHABLE } from '../fakes/scripted-upstream.ts';
import { GRACE, HOUR, MINUTE, makeWorld, type Opened, plain, SECOND, type Sealed, TTL } from './world.ts';

test('an outage serves for the whole grace at once, and says so', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  const { ciphertext, dek } = await key.seal();
  plain(t, key.encrypt());
  world.upstream.answer(UNREACHABLE);
  const { verifiedAtMs } = dek;
  let served = 0;
  while (world.clock.bootMs() - verifiedAtMs < TTL + GRACE - 2 * SECOND) {
    await world.clock.advance(2 * SECOND);
    const past = world.clock.bootMs() - verifiedAtMs > TTL;
    t.is(plain(t, key.encrypt()).grace, past);
    t.is(plain(t, key.decrypt(ciphertext)).grace, past);
    served += past ? 2 : 0;
  }
  t.is(dek.verifiedAtMs, verifiedAtMs, 'serving must not re-arm ttl');
  t.is(key.ring.counters.grace_served, served);
  await world.clock.advance(4 * SECOND);
  const calls = world.upstream.count();
  t.is(await world.reason(() => key.encrypt()), 'UPSTREAM_UNAVAILABLE');
  t.true(world.upstream.count() <= calls + 1);
});

test('idle past ttl is not in grace; without an answer of the upstream it is, until grace is over', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  const { dek } = await key.seal();
  const inGrace = (): boolean => world.keyrings.inGrace(dek, world.clock.bootMs());
  await world.clock.advance(TTL + MINUTE);
  t.false(inGrace(), 'nobody uses it and the upstream is well');
  world.upstream.answer(UNREACHABLE);
  t.true(plain(t, await key.encrypt()).grace);
  t.true(inGrace());
  await world.clock.advance(MINUTE);
  t.true(inGrace(), 'probes keep it known');
  world.upstream.answer(OK);
  await world.clock.advance(MINUTE);
  t.false(inGrace(), 'the upstream answers again');
});

test('past grace the answer in an outage is UNAVAILABLE at once', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ cache: { graceMs: MINUTE } });
  const { ciphertext } = await key.seal();
  plain(t, key.encrypt());
  world.upstream.answer(HANG);
  // The sweep drops it up to 5 s after grace; until then the refusal to serve is the table's.
  await world.clock.advance(TTL + MINUTE - 1);
  world.clock.suspend(2);
  const calls = world.upstream.count();
  for (const call of [() => key.encrypt(), () => key.decrypt(ciphertext)]) {
    const outcome = await world.outcome(call());
    t.is('error' in outcome && outcome.error.reason, 'UPSTREAM_UNAVAILABLE');
    t.is('error' in outcome && outcome.error.retryAfterMs, 5_000);
    t.is(outcome.tookMs, 0);
  }
  t.true(world.upstream.count() <= calls + 1, 'no call for a request that is refused at once');
});

test('probes keep the knowledge of an outage fresh for hours, about one call in 4 s', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ cache: { mode: 'startup' } });
  await key.seal();
  plain(t, key.encrypt());
  world.upstream.answer(HANG);
  await world.clock.advance(TTL + 10 * SECOND);
  const calls = world.upstream.count();
  for (let hour = 0; hour < 6; hour++) {
    await world.clock.advance(HOUR);
    t.true(plain(t, key.encrypt()).grace);
  }
  const perHour = (world.upstream.count() - calls) / 6;
  t.true(perHour > 3_600 / 5 && perHour <= 3_600 / 3, `${perHour} probes an hour`);
});

test('an idle DEK past ttl waits for an attempt, at most 1 s, and serves then', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  const { ciphertext } = await key.seal();
  world.upstream.answer(HANG);
  world.clock.suspend(2 * TTL);
  const first = await world.outcome(key.decrypt(ciphertext));
  t.true('value' in first && first.value.grace);
  t.is(first.tookMs, SECOND);
  t.true(plain(t, key.decrypt(ciphertext)).grace, 'the next one does not wait');
});

test('the first use of an idle DEK past ttl asks once, also when there is no answer', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  const { ciphertext } = await key.seal();
  for (const use of [() => key.encrypt(), () => key.decrypt(ciphertext)]) {
    world.upstream.answer(OK);
    await world.value(use());
    await world.clock.advance(HOUR);
    world.upstream.answer(UNREACHABLE);
    const unwraps = world.upstream.count('unwrap');
    const { grace } = await world.value(use());
    await world.clock.advance(SECOND / 2);
    t.is(world.upstream.count('unwrap'), unwraps + 1);
    t.true(grace);
    await world.clock.advance(MINUTE);
  }
});

test('an attempt that is slower than 1 s: the request is served in grace, the DEK keeps its age', async (t) => {
  const world = makeWorld(t);
  const key = world.key({
    recipients: [
      ['main', 'authority'],
      ['second', 'authority'],
    ],
  });
  await key.seal();
  world.clock.suspend(2 * TTL);
  // The first authority hangs for its whole attempt, so that the second one answers after the request's patience.
  world.upstream.script({ kek: world.kek('main').uri, answer: HANG }, { answer: { kind: 'ok', afterMs: 300 } });
  const outcome = await world.outcome(key.encrypt());
  t.true('value' in outcome && outcome.value.grace);
  t.is(outcome.tookMs, SECOND);
  await world.clock.advance(SECOND);
  t.false(plain(t, key.encrypt()).grace, 'the attempt went on and re-armed it');
});

test('the first request after the outage is served fresh', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  await key.seal();
  plain(t, key.encrypt());
  world.upstream.answer(UNREACHABLE);
  await world.clock.advance(20 * MINUTE);
  t.true(plain(t, key.encrypt()).grace);
  world.upstream.answer(OK);
  await world.clock.advance(5 * SECOND);
  t.false(plain(t, key.encrypt()).grace);
  t.deepEqual(world.events.slice(-1), [`recovery ${world.kek('main').uri}`]);
});

test('grace 0 serves nothing past ttl', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ cache: { graceMs: 0 } });
  await key.seal();
  plain(t, key.encrypt());
  world.upstream.answer(UNREACHABLE);
  await world.clock.advance(TTL + 1);
  t.is(await world.reason(() => key.encrypt()), 'UPSTREAM_UNAVAILABLE');
});

test('an answer that is neither yes nor no is a fault, and asked for once: then another DEK is tried for, which must open', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  await key.seal();
  world.clock.suspend(2 * TTL);
  world.upstream.answer({ kind: 'other-key' });
  const calls = world.upstream.count();
  t.is(await world.reason(() => key.encrypt()), 'UPSTREAM_FAULT');
  const made = world.upstream.calls.slice(calls).map(({ operation }) => operation);
  t.deepEqual(made, ['unwrap', 'wrap', 'unwrap']);
  t.deepEqual(world.events, ['disowned orders UPSTREAM_FAULT', 'rotation-failed orders UPSTREAM_FAULT']);
  t.is(await world.reason(() => key.encrypt()), 'UPSTREAM_FAULT');
  t.is(world.upstream.count(), calls + 3, 'remembered');
});

test('a refusal ends an outage: grace is over for it', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  const { dek } = await key.seal();
  plain(t, key.encrypt());
  world.upstream.answer(UNREACHABLE);
  await world.clock.advance(30 * MINUTE);
  t.true(plain(t, key.encrypt()).grace);
  world.upstream.answer(refused('kek', 'disabled'));
  await world.clock.advance(8 * SECOND);
  t.is(dek.place, 'gone');
  t.is(await world.reason(() => key.encrypt()), 'KEY_DISABLED');
});

test('an attempt that gets no answer is grace, though another recipient answered that it cannot tell', async (t) => {
  const world = makeWorld(t);
  const key = world.key({
    recipients: [
      ['main', 'authority'],
      ['spare', 'standby'],
    ],
  });
  await key.seal();
  world.clock.suspend(2 * TTL);
  world.upstream.script(
    { kek: world.kek('main').uri, answer: UNREACHABLE },
    { kek: world.kek('spare').uri, answer: { kind: 'other-key' } },
  );
  const calls = world.upstream.count();
  const outcome = await world.outcome(key.encrypt());
  t.true('value' in outcome && outcome.value.grace);
  t.is(world.upstream.count(), calls + 2);
});

test('an unreachable authority and a standby that cannot tell: grace for its whole time at few calls, then UNAVAILABLE', async (t) => {
  const world = makeWorld(t);
  const key = world.key({
    recipients: [
      ['main', 'authority'],
      ['spare', 'standby'],
    ],
  });
  const { ciphertext, dek } = await key.seal();
  plain(t, key.encrypt());
  world.upstream.answer(INVALID);
  world.upstream.script({ kek: world.kek('main').uri, answer: UNREACHABLE });
  await world.clock.advance(TTL + SECOND);
  for (const call of [() => key.encrypt(), () => key.decrypt(ciphertext)]) {
    const calls = world.upstream.count();
    const outcome = await world.outcome<Sealed | Opened>(call());
    t.true('value' in outcome && outcome.value.grace);
    t.true(outcome.tookMs <= SECOND);
    t.true(world.upstream.count() <= calls + 2, 'one attempt a request');
  }
  await world.clock.advance(GRACE - 10 * SECOND);
  t.true((await world.value(key.encrypt())).grace);
  // The sweep drops it up to 5 s after grace; until then it is held and may not serve.
  world.clock.suspend(10 * SECOND);
  t.is(dek.place, 'encrypting');
  t.is(await world.reason(() => key.encrypt()), 'UPSTREAM_UNAVAILABLE');
  t.is(await world.reason(() => key.decrypt(ciphertext)), 'UPSTREAM_UNAVAILABLE');
});

for (const [retryAfterMs, pauseMs] of [
  [undefined, 3_000],
  [1_000, 3_000],
  [20_000, 20_000],
  [3_600_000, 30_000],
] as const) {
  test(`a throttling upstream that asks for ${retryAfterMs} ms is asked again after ${pauseMs}, by a probe and by no request`, async (t) => {
    const world = makeWorld(t);
    const key = world.key();
    const { ciphertext } = await key.seal();
    world.upstream.answer({ ...THROTTLED, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) } as Answer);
    world.clock.suspend(TTL + SECOND);
    t.true((await world.value(key.decrypt(ciphertext))).grace);
    // The refresh that was due while nobody used it.
    await world.clock.advance(1);
    const calls = world.upstream.count();
    const startedAtMs = world.clock.bootMs();
    while (world.upstream.count() === calls && world.clock.bootMs() - startedAtMs < 60_000) {
      await world.clock.advance(100);
      t.true(plain(t, key.decrypt(ciphertext)).grace);
    }
    t.true(Math.abs(world.clock.bootMs() - startedAtMs - pauseMs) <= 200);
  });
}
