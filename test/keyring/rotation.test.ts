import test from 'ava';
import { DekdError } from '../../src/errors.ts';
import { rotationOverdue } from '../../src/keyring/decide.ts';
import { HANG, INVALID, OK, OTHER_KEY, refused, UNREACHABLE } from '../fakes/scripted-upstream.ts';
import { HOUR, MINUTE, makeWorld, plain, SECOND, TTL, type World, waiterOf } from './world.ts';

/** Goes on in steps within which a used DEK stays fresh. */
async function live(world: World, ms: number, use: () => unknown): Promise<void> {
  for (let passed = 0; passed < ms; passed += MINUTE) {
    await world.value(use());
    await world.clock.advance(Math.min(MINUTE, ms - passed));
  }
}

for (const [random, share] of [
  [0, 0.8],
  [0.999_999, 0.95],
] as const) {
  test(`the next DEK is made ahead, at ${share} of rotate_after, while the old one serves`, async (t) => {
    const world = makeWorld(t);
    world.clock.randoms[0] = random;
    const key = world.key({ cache: { rotateAfterMs: 2 * HOUR } });
    const first = await key.seal();
    await live(world, share * 2 * HOUR - MINUTE, () => key.encrypt());
    t.is(plain(t, key.encrypt()).dek, first.dek);
    t.is(world.upstream.count('wrap'), 1);
    await world.clock.advance(MINUTE + SECOND);
    t.is(plain(t, key.encrypt()).dek, first.dek, 'the use that starts it is served at once');
    await world.clock.advance(0);
    const next = plain(t, key.encrypt()).dek;
    t.not(next, first.dek);
    t.is(first.dek.place, 'decrypting');
    t.is(plain(t, key.decrypt(first.ciphertext)).text, 'hello');
    t.deepEqual([key.ring.counters.rotations, key.ring.counters.deks_created], [1, 2]);
  });
}

test('at 0.9 of max_messages a successor is made; the limit itself is never passed while one can be had', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ cache: { maxMessages: 1_000 } });
  const first = await key.seal();
  for (let sent = 1; sent < 900; sent++) plain(t, key.encrypt());
  await world.clock.advance(0);
  t.is(world.upstream.count('wrap'), 1);
  plain(t, key.encrypt());
  await world.clock.advance(0);
  t.is(world.upstream.count('wrap'), 2);
  t.not(plain(t, key.encrypt()).dek, first.dek);
  t.is(first.dek.messages, 901);
});

test('without a successor at the limit a request waits for one, at most 1 s, and then goes on', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ cache: { maxMessages: 100 } });
  const first = await key.seal();
  world.upstream.script({ operation: 'wrap', answer: HANG });
  let sent = 1;
  for (let result = key.encrypt(); !(result instanceof Promise); result = key.encrypt()) {
    sent++;
    if (sent > 100) t.fail('the limit was passed without a wait');
  }
  t.is(first.dek.messages, 100);
  const outcome = await world.outcome(key.encrypt());
  t.true('value' in outcome && outcome.value.dek === first.dek);
  t.is(outcome.tookMs, SECOND);
});

test('max_bytes rotates as well', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ cache: { maxBytes: 10_000 } });
  const first = await key.seal();
  for (let sent = 0; sent < 9; sent++) plain(t, key.encrypt({}, 'x'.repeat(1_000)));
  t.is(world.upstream.count('wrap'), 1);
  plain(t, key.encrypt());
  await world.clock.advance(0);
  t.not(plain(t, key.encrypt()).dek, first.dek);
  t.true(first.dek.bytes <= 10_000);
});

test('rotation due in an outage: the old DEK goes on under the grace rule, and that is told once', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ cache: { rotateAfterMs: HOUR, graceMs: 24 * HOUR } });
  const { dek } = await key.seal();
  await live(world, 0.75 * HOUR, () => key.encrypt());
  world.upstream.answer(UNREACHABLE);
  await live(world, 2 * HOUR, () => {
    const served = plain(t, key.encrypt());
    t.is(served.dek, dek);
    return served;
  });
  t.true(rotationOverdue(dek, world.clock.bootMs()));
  t.is(world.events.filter((event) => event === 'rotation-failed orders UPSTREAM_UNAVAILABLE').length, 1);
  t.true(key.ring.counters.rotation_failures > 1);
  world.upstream.answer(OK);
  await live(world, 3 * MINUTE, () => key.encrypt());
  t.not(plain(t, key.encrypt()).dek, dek);
  t.false(rotationOverdue(key.held[0]!, world.clock.bootMs()));
});

test('an overdue DEK that only decrypts answers synchronously and makes no successor', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ cache: { rotateAfterMs: TTL / 2 } });
  const { ciphertext } = await key.seal();
  world.clock.suspend(TTL - SECOND);
  t.is(plain(t, key.decrypt(ciphertext)).text, 'hello');
  await world.clock.advance(100);
  t.is(world.upstream.count('wrap'), 1);
});

test('a slow upstream that makes the successor later than 1 s does not stop Encrypt', async (t) => {
  const world = makeWorld(t);
  const recipients = ['a', 'b', 'c'].map((name) => [name, 'authority'] as const);
  const key = world.key({ recipients, cache: { rotateAfterMs: HOUR } });
  const first = await key.seal();
  await live(world, 0.7 * HOUR, () => key.encrypt());
  world.clock.suspend(0.31 * HOUR);
  world.upstream.answer({ kind: 'ok', afterMs: 900 });
  for (let sent = 0; sent < 5; sent++) {
    const outcome = await world.outcome(key.encrypt());
    t.true('value' in outcome);
    t.true(outcome.tookMs <= 2 * SECOND, `${outcome.tookMs} ms`);
  }
  await world.clock.advance(6 * SECOND);
  t.not((await world.value(key.encrypt())).dek, first.dek);
});

test("only the suite's hard limit stops it, and that error passes through", async (t) => {
  const world = makeWorld(t);
  const key = world.key({ suite: 2 });
  await key.seal();
  const limit = new DekdError('QUOTA_EXCEEDED', 'suite limit');
  const use = (): never => {
    throw limit;
  };
  const waiter = waiterOf();
  t.is(
    t.throws(() => key.ring.encrypt(new Map(), 1, use, waiter)),
    limit,
  );
  t.is(key.held[0]!.messages, 1, 'what was not sealed is not counted');
});

test('a partition first seen in an outage is UNAVAILABLE; one that is held serves', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ partitionBy: ['tenant'] });
  await key.seal({ tenant: 'old' });
  world.upstream.answer(UNREACHABLE);
  t.is(await world.reason(() => key.encrypt({ tenant: 'new' })), 'UPSTREAM_UNAVAILABLE');
  t.is(plain(t, key.encrypt({ tenant: 'old' })).dek.partition.get('tenant'), 'old');
});

test('a wrap that the upstream refuses twice retires the DEK: it decrypts and encrypts no more', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ cache: { rotateAfterMs: HOUR } });
  const { dek, ciphertext } = await key.seal();
  await live(world, 0.95 * HOUR, () => key.decrypt(ciphertext));
  world.upstream.script({ operation: 'wrap', answer: refused('access') });
  plain(t, key.encrypt());
  await world.clock.advance(6 * SECOND);
  t.is(plain(t, key.encrypt()).dek, dek);
  await world.clock.advance(SECOND);
  t.is(dek.place, 'decrypting');
  t.is(await world.reason(() => key.encrypt()), 'UPSTREAM_REFUSED');
  t.is(plain(t, key.decrypt(ciphertext)).text, 'hello');
});

test('rotate gives every partition a new DEK', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ partitionBy: ['tenant'] });
  for (const tenant of ['a', 'b']) await key.seal({ tenant });
  t.is(await world.value(key.ring.rotate()), 2);
  t.deepEqual([key.ring.encrypting.size, key.ring.decrypting.size, key.ring.counters.rotations], [2, 2, 2]);
});

test('rotate does not join a creation that began before it', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ partitionBy: ['tenant'] });
  await key.seal({ tenant: 'a' });
  world.upstream.answer({ kind: 'ok', afterMs: 300 });
  const [old] = key.held;
  const underWay = key.ring.encrypting.replace(old!);
  await world.clock.advance(100);
  world.upstream.versions.set(world.kek('main').uri, '2');
  await world.value(Promise.all([underWay, key.ring.rotate()]));
  const current = [...key.ring.encrypting.all()];
  t.is(current.length, 1);
  t.is(current[0]!.recipients[0]!.wrapped.kekVersion, '2');
});

for (const [name, answer] of [
  ['is another key', OTHER_KEY],
  ['is invalid', INVALID],
] as const) {
  test(`verify_wrap: a new wrap that ${name} is a fault, and nothing is cached`, async (t) => {
    const world = makeWorld(t);
    const key = world.key({
      recipients: [
        ['main', 'authority'],
        ['spare', 'standby'],
      ],
    });
    world.upstream.script({ operation: 'unwrap', kek: world.kek('spare').uri, answer });
    const outcome = await world.outcome(key.encrypt());
    t.is('error' in outcome && outcome.error.reason, 'UPSTREAM_FAULT');
    t.true('error' in outcome && outcome.error.retryable);
    t.is(key.held.length, 0);
    t.is(key.ring.counters.deks_created, 0);
  });
}

test('verify_wrap off: wrapped once, unwrapped never', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ cache: { verifyWrap: false } });
  await key.seal();
  t.deepEqual([world.upstream.count('wrap'), world.upstream.count('unwrap')], [1, 0]);
});
