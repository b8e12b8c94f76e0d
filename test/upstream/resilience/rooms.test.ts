import test from 'ava';
import { DekdError } from '../../../src/errors.ts';
import { GivenUp } from '../../../src/upstream/resilience/attempt.ts';
import { CALLS } from '../../../src/upstream/resilience/limits.ts';
import { Rooms } from '../../../src/upstream/resilience/rooms.ts';
import { MovableClock, settled } from '../../helpers/movable-clock.ts';

const { signal } = new AbortController();

/** Calls that hang until they are let go. */
function hanging(): { call: () => Promise<string>; begun: () => number; end: () => void } {
  let begun = 0;
  const gate = Promise.withResolvers<string>();
  const call = (): Promise<string> => {
    begun++;
    return gate.promise;
  };
  return { call, begun: () => begun, end: () => gate.resolve('answer') };
}

test('each purpose has a room of its own: misses that fill theirs delay nothing else', async (t) => {
  const rooms = new Rooms('vault', new MovableClock());
  const misses = hanging();
  const all = Array.from({ length: CALLS.miss.atOnce + CALLS.miss.waiting }, () =>
    rooms.run('miss', signal, misses.call),
  );
  await settled();
  t.is(misses.begun(), CALLS.miss.atOnce);
  for (const purpose of ['refresh', 'background'] as const) {
    t.is(await rooms.run(purpose, signal, async () => purpose), purpose);
  }
  misses.end();
  t.deepEqual([...new Set(await Promise.all(all))], ['answer']);
  t.is(misses.begun(), all.length);
});

test('one miss more than those that may wait is QUOTA_EXCEEDED at once, with a pause', async (t) => {
  const rooms = new Rooms('vault', new MovableClock());
  const misses = hanging();
  const all = Array.from({ length: CALLS.miss.atOnce + CALLS.miss.waiting }, () =>
    rooms.run('miss', signal, misses.call),
  );
  await settled();
  const error = await t.throwsAsync(rooms.run('miss', signal, misses.call), { instanceOf: DekdError });
  t.is(error.reason, 'QUOTA_EXCEEDED');
  t.is(error.retryAfterMs, 1_000);
  t.true(error.message.startsWith('upstream vault: '));
  t.deepEqual(error.metadata, { upstream: 'vault' });
  misses.end();
  await Promise.all(all);
});

test('refreshes of held DEKs all wait, however many there are', async (t) => {
  const rooms = new Rooms('vault', new MovableClock());
  const refreshes = hanging();
  const all = Array.from({ length: 5_000 }, () => rooms.run('refresh', signal, refreshes.call));
  await settled();
  t.is(refreshes.begun(), CALLS.refresh.atOnce);
  refreshes.end();
  t.is((await Promise.all(all)).length, 5_000);
});

test('together they fit into what one child process takes', (t) => {
  const atOnce = Object.values(CALLS).map((room) => room.atOnce);
  t.true(atOnce.reduce((sum, one) => sum + one, 0) < 128);
});

test('who gave up while waiting is not called, and its place goes to the next', async (t) => {
  const rooms = new Rooms('vault', new MovableClock());
  const misses = hanging();
  const all = Array.from({ length: CALLS.miss.atOnce }, () => rooms.run('miss', signal, misses.call));
  const control = new AbortController();
  let called = false;
  const left = rooms.run('miss', control.signal, async () => {
    called = true;
  });
  const next = rooms.run('miss', signal, async () => 'next');
  control.abort();
  misses.end();
  await t.throwsAsync(left, { instanceOf: GivenUp });
  t.is(await next, 'next');
  t.false(called);
  await Promise.all(all);
});

test('a miss that waited for over 3 s is not made any more; what is for a held DEK is', async (t) => {
  const clock = new MovableClock();
  const rooms = new Rooms('vault', clock);
  for (const purpose of ['miss', 'refresh'] as const) {
    const slow = hanging();
    const all = Array.from({ length: CALLS[purpose].atOnce }, () => rooms.run(purpose, signal, slow.call));
    const late = rooms.run(purpose, signal, async () => 'made').catch((error: DekdError) => error.reason);
    await clock.advance(2_000);
    const young = rooms.run(purpose, signal, async () => 'made');
    await clock.advance(1_001);
    slow.end();
    await Promise.all(all);
    t.is(await late, purpose === 'miss' ? 'QUOTA_EXCEEDED' : 'made');
    t.is(await young, 'made');
  }
});

test('what a call throws is passed on as it is', async (t) => {
  const thrown = new Error('its own');
  t.is(
    await t.throwsAsync(new Rooms('vault', new MovableClock()).run('miss', signal, () => Promise.reject(thrown))),
    thrown,
  );
});
