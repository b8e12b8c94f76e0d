import test from 'ava';
import { HANG, OK, refused, UNREACHABLE } from '../fakes/scripted-upstream.ts';
import { contextOf, makeWorld, plain, SECOND, TTL, uriOf, waiterOf } from './world.ts';

const BOTH = [
  ['main', 'authority'],
  ['spare', 'standby'],
] as const;

test('a dry run asks the authorities for their state and touches nothing else', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ recipients: BOTH });
  world.upstream.states.set(uriOf('spare'), 'disabled');
  await world.value(key.ring.checkState(new Map(), waiterOf()));
  t.deepEqual(
    world.upstream.calls.map(({ operation, kek }) => [operation, kek]),
    [['describe', uriOf('main')]],
  );
  t.deepEqual([key.held.length, world.kek('main').health.state], [0, 'unknown']);
});

for (const [state, reason] of [
  ['disabled', 'KEY_DISABLED'],
  ['archived', 'KEY_ARCHIVED'],
  ['pending-deletion', 'KEY_PENDING_DELETION'],
  ['destroyed', 'KEY_DESTROYED'],
] as const) {
  test(`a dry run of a key whose KEK is ${state} says ${reason}`, async (t) => {
    const world = makeWorld(t);
    const key = world.key();
    world.upstream.states.set(uriOf('main'), state);
    t.is(await world.reason(() => key.ring.checkState(new Map(), waiterOf())), reason);
  });
}

test('a dry run without the right to describe concludes nothing about the KEK', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  world.upstream.script({ operation: 'describe', answer: refused('access') });
  t.is(await world.reason(() => key.ring.checkState(new Map(), waiterOf())), 'UPSTREAM_REFUSED');
  t.is(world.kek('main').health.state, 'unknown');
  t.is(world.events.length, 0);
});

test('a dry run changes nothing of what is known of a disabled KEK', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  await key.seal();
  world.upstream.answer(refused('kek', 'disabled'));
  world.clock.suspend(2 * TTL);
  t.is(await world.reason(() => key.encrypt()), 'KEY_DISABLED');
  const kek = world.kek('main');
  const before = [kek.health, kek.calls, kek.failures, world.events.length];
  t.deepEqual([kek.health.state, kek.health.condition], ['refused', 'disabled']);
  for (const answer of [OK, UNREACHABLE, refused('access')]) {
    world.upstream.answer(answer, { operation: 'describe' });
    await world.reason(() => key.ring.checkState(new Map(), waiterOf()));
  }
  t.deepEqual([kek.health, kek.calls, kek.failures, world.events.length], before);
});

test('a dry run that is answered ends no outage: grace goes on at once', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  await key.seal();
  plain(t, key.encrypt());
  world.upstream.answer(UNREACHABLE);
  world.upstream.answer(OK, { operation: 'describe' });
  await world.clock.advance(TTL + 10 * SECOND);
  const { health } = world.kek('main');
  await world.value(key.ring.checkState(new Map(), waiterOf()));
  t.is(world.kek('main').health, health);
  t.true(plain(t, key.encrypt()).grace);
  t.deepEqual(world.events, [`outage ${uriOf('main')}`]);
});

test('a dry run in an outage ends: at once when there is an answer, after a second when there is none', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  const check = (): Promise<void> => key.ring.checkState(new Map(), waiterOf());
  world.upstream.answer(UNREACHABLE);
  t.is(await world.reason(check), 'UPSTREAM_UNAVAILABLE');
  world.upstream.answer(HANG);
  const outcome = await world.outcome(check());
  t.is('error' in outcome && outcome.error.reason, 'UPSTREAM_UNAVAILABLE');
  t.is(outcome.tookMs, SECOND);
});

test('a dry run misses an entry of partition_by before it asks', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ partitionBy: ['tenant'] });
  const check = (pairs: Record<string, string>): (() => Promise<void>) => {
    return () => key.ring.checkState(contextOf(pairs), waiterOf());
  };
  t.is(await world.reason(check({})), 'INVALID_REQUEST');
  t.is(world.upstream.count(), 0);
  t.is(await world.reason(check({ tenant: 'acme' })), 'none');
});

test('a name that no envelope could hold is refused', (t) => {
  const world = makeWorld(t);
  t.throws(() => world.key({ name: 'no spaces' }), { message: /is not a key name/ });
});

test('keys, KEKs and DEKs of all keyrings', async (t) => {
  const world = makeWorld(t);
  const orders = world.key({ name: 'orders', recipients: BOTH });
  const carts = world.key({ name: 'carts', decryptWith: ['old'] });
  t.deepEqual(world.keyrings.names(), ['carts', 'orders']);
  t.is(world.keyrings.byName('orders'), orders.ring);
  t.is(world.keyrings.byName('nothing'), undefined);
  t.deepEqual(
    world.keyrings
      .keks()
      .map(({ uri }) => uri)
      .toSorted(),
    ['main', 'old', 'spare'].map((name) => uriOf(name)),
  );
  await orders.seal();
  await carts.seal();
  t.deepEqual([...world.keyrings.all()].map(({ keyName }) => keyName).toSorted(), ['carts', 'orders']);
});

test('a detached envelope is not opened, since there are no shared generations', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  const { ciphertext, dek } = await key.seal();
  const detached = Buffer.concat([ciphertext.subarray(0, 40), ciphertext.subarray(42 + dek.block.length)]);
  detached[7] = 0;
  const error = t.throws(() => key.decrypt(detached));
  t.regex(error.message, /detached/);
});

test('what a message costs is counted once', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  const { ciphertext, dek } = await key.seal({}, '12345');
  await world.value(key.encrypt({}, '123'));
  await world.value(key.decrypt(ciphertext));
  const { counters } = key.ring;
  t.deepEqual([dek.messages, dek.bytes], [2, 8]);
  t.deepEqual(
    [counters.encrypt_misses, counters.encrypt_hits, counters.decrypt_misses, counters.decrypt_hits],
    [1, 1, 0, 1],
  );
  t.deepEqual([counters.wraps, counters.unwraps, counters.deks_created], [1, 1, 1]);
});
