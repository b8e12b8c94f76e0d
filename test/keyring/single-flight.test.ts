import test from 'ava';
import { SingleFlight, useOnce, waitFor } from '../../src/keyring/single-flight.ts';
import { HANG, UNREACHABLE } from '../fakes/scripted-upstream.ts';
import { attempt, makeWorld, plain, SECOND } from './world.ts';

test('1,000 concurrent first Decrypts are one upstream call', async (t) => {
  const world = makeWorld(t);
  const writer = world.peer();
  const sealed = [];
  for (let at = 0; at < 1_000; at++) sealed.push((await world.value(writer.encrypt({}, `text ${at}`))).ciphertext);
  const key = world.key();
  world.upstream.answer({ kind: 'ok', afterMs: 200 });
  const calls = world.upstream.count();
  const opened = await world.value(Promise.all(sealed.map((one) => key.decrypt(one))));
  t.deepEqual(
    opened.map(({ text }) => text),
    sealed.map((_, at) => `text ${at}`),
  );
  t.is(world.upstream.count(), calls + 1);
  t.deepEqual([key.ring.counters.decrypt_misses, key.ring.counters.coalesced], [1_000, 999]);
  t.is(key.held.length, 1);
  plain(t, key.decrypt(sealed[0]!));
});

test('1,000 concurrent first Encrypts of a partition are one DEK', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  world.upstream.answer({ kind: 'ok', afterMs: 200 });
  const all = await world.value(Promise.all(Array.from({ length: 1_000 }, () => key.encrypt())));
  t.is(new Set(all.map(({ dek }) => dek)).size, 1);
  t.deepEqual([world.upstream.count('wrap'), world.upstream.count('unwrap')], [1, 1]);
  t.is(key.ring.counters.coalesced, 999);
});

test('a failed flight fails for all who wait, and the next one starts anew', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  world.upstream.answer(UNREACHABLE);
  const outcomes = await Promise.all(Array.from({ length: 10 }, () => world.reason(() => key.encrypt())));
  t.true(outcomes.every((reason) => reason === 'UPSTREAM_UNAVAILABLE'));
  t.is(world.upstream.count(), 1);
  world.upstream.script({ answer: { kind: 'ok' } });
  await key.seal();
});

test('a caller that leaves does not end the flight, and its retry joins it', async (t) => {
  const world = makeWorld(t);
  const writer = world.peer();
  const { ciphertext } = await writer.seal();
  const key = world.key();
  world.upstream.answer({ kind: 'ok', afterMs: 800 });
  const calls = world.upstream.count();
  const control = new AbortController();
  const first = attempt(() => key.decrypt(ciphertext, {}, control.signal));
  await world.clock.advance(300);
  control.abort();
  t.is(await world.reason(() => first), 'CANCELLED');
  await world.clock.advance(100);
  t.is((await world.value(key.decrypt(ciphertext))).text, 'hello');
  t.is(world.upstream.count(), calls + 1);
});

test('a retry that comes after the flight has ended still finds its DEK', async (t) => {
  const world = makeWorld(t);
  const writer = world.peer();
  const { ciphertext } = await writer.seal();
  const key = world.key();
  world.upstream.answer({ kind: 'ok', afterMs: 800 });
  const calls = world.upstream.count();
  const control = new AbortController();
  const first = attempt(() => key.decrypt(ciphertext, {}, control.signal));
  control.abort();
  t.is(await world.reason(() => first), 'CANCELLED');
  await world.clock.advance(5 * SECOND);
  t.is(key.held.length, 0);
  t.is((await world.value(key.decrypt(ciphertext))).text, 'hello');
  t.is(key.held.length, 1);
  t.is(world.upstream.count(), calls + 1);
  await world.clock.advance(10 * SECOND);
  t.is(key.held.length, 1, 'the linger is over, the cached DEK stays');
});

test('waiters keep their own deadlines', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  world.upstream.answer({ kind: 'ok', afterMs: 900 });
  const controls = [100, 500, 5_000].map((ms) => {
    const control = new AbortController();
    world.clock.after(ms, () => control.abort());
    return control;
  });
  const outcomes = await Promise.all(controls.map(({ signal }) => world.outcome(key.encrypt({}, 'x', signal))));
  t.deepEqual(
    outcomes.map((outcome) => ('error' in outcome ? outcome.error.reason : 'served')),
    ['CANCELLED', 'CANCELLED', 'served'],
  );
  t.is(world.upstream.count('wrap'), 1);
});

test('a call without a deadline ends after the upstream’s attempts', async (t) => {
  const world = makeWorld(t);
  const recipients = Array.from({ length: 15 }, (_, at) => [`kek-${at}`, 'authority'] as const);
  const writer = world.peer({ recipients });
  const { ciphertext } = await writer.seal();
  const key = world.key({ recipients });
  world.upstream.answer(HANG);
  const outcome = await world.outcome(key.decrypt(ciphertext));
  t.is('error' in outcome && outcome.error.reason, 'UPSTREAM_UNAVAILABLE');
  t.is(outcome.tookMs, 10 * SECOND);
  t.is(world.kek('kek-14').health.state, 'unknown', 'a KEK that was not asked has not failed');
});

test('SingleFlight: one run a name, forgotten when it ends; nobody left is no unhandled rejection', async (t) => {
  const flights = new SingleFlight<number>();
  let runs = 0;
  const work = async (): Promise<number> => ++runs;
  const [a, b, other] = await Promise.all([flights.run('x', work), flights.run('x', work), flights.run('y', work)]);
  t.deepEqual([a, b, other, runs], [1, 1, 2, 2]);
  t.false(flights.has('x'));
  t.is(flights.size, 0);
  void flights.run('x', () => Promise.reject(new Error('left alone'))).catch(() => undefined);
  await new Promise((resolve) => setImmediate(resolve));
  t.is(await flights.run('x', work), 3);
});

test('waitFor: a waiter that has left already does not wait', async (t) => {
  const never = new Promise<void>(() => undefined);
  const error = await t.throwsAsync(waitFor(never, { signal: AbortSignal.abort() }));
  t.is((error as { reason?: string }).reason, 'CANCELLED');
});

test('useOnce releases what it made: used, failed, and come too late', async (t) => {
  const signal = new AbortController().signal;
  const released: string[] = [];
  const release = (one: string): void => {
    released.push(one);
  };
  t.is(await useOnce(Promise.resolve('used'), { signal }, (one) => one.length, release), 4);
  const use = (): never => {
    throw new Error('cannot');
  };
  await t.throwsAsync(useOnce(Promise.resolve('failed'), { signal }, use, release));
  const late = Promise.withResolvers<string>();
  await t.throwsAsync(useOnce(late.promise, { signal: AbortSignal.abort() }, (one) => one, release));
  late.resolve('late');
  await t.throwsAsync(useOnce(Promise.reject(new Error('never made')), { signal }, (one: string) => one, release));
  t.deepEqual(released.toSorted(), ['failed', 'late', 'used']);
});
