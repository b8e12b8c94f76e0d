import test from 'ava';
import { DekdError } from '../../../src/errors.ts';
import type { CallPurpose } from '../../../src/upstream/provider.ts';
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

/** As many misses of each of these uids; how they end. */
function misses(rooms: Rooms, call: () => Promise<string>, counts: ReadonlyMap<number | undefined, number>) {
  const all: Promise<string>[] = [];
  for (const [payer, count] of counts) {
    for (let at = 0; at < count; at++) {
      all.push(rooms.run({ purpose: 'miss', payer, signal }, call).catch((error: DekdError) => error.message));
    }
  }
  return all;
}

const { atOnce, atOnceOfOne, waiting, waitingOfOne } = CALLS.miss;
/** Two uids that fill the places and the lines. */
const FULL = new Map([
  [1, atOnceOfOne + waitingOfOne],
  [2, atOnce - atOnceOfOne + waiting - waitingOfOne],
]);

test('each purpose has a room of its own: misses that fill theirs delay nothing else', async (t) => {
  const rooms = new Rooms('vault', new MovableClock());
  const slow = hanging();
  const all = misses(rooms, slow.call, FULL);
  await settled();
  t.is(slow.begun(), atOnce);
  for (const purpose of ['refresh', 'background', 'administration'] as const) {
    t.is(await rooms.run({ purpose, signal }, async () => purpose), purpose);
  }
  slow.end();
  t.deepEqual([...new Set(await Promise.all(all))], ['answer']);
  t.is(slow.begun(), all.length);
});

test('administrators who ask in a loop fill a room of their own, and hear so', async (t) => {
  const rooms = new Rooms('vault', new MovableClock());
  const slow = hanging();
  const ask = (): Promise<string> => rooms.run({ purpose: 'administration', signal }, slow.call);
  const all = Array.from({ length: CALLS.administration.atOnce + CALLS.administration.waiting }, ask);
  await settled();
  t.is(slow.begun(), CALLS.administration.atOnce);
  const error = await t.throwsAsync(ask(), { instanceOf: DekdError });
  t.is(error.reason, 'QUOTA_EXCEEDED');
  t.is(error.message, 'upstream vault: as many descriptions wait for it as may; try again later');
  t.is(await rooms.run({ purpose: 'miss', payer: 1, signal }, async () => 'miss'), 'miss');
  slow.end();
  await Promise.all(all);
});

test('one uid fills its places and its line: another’s miss begins at once, and so does one of nobody’s', async (t) => {
  const rooms = new Rooms('vault', new MovableClock());
  const slow = hanging();
  const all = misses(rooms, slow.call, new Map([[1000, 5_000]]));
  await settled();
  t.is(slow.begun(), 48);
  for (const payer of [1001, undefined]) t.is(await rooms.run({ payer, signal }, async () => 'begins'), 'begins');
  slow.end();
  const refused = (await Promise.all(all)).filter((how) => how !== 'answer');
  t.is(refused.length, 5_000 - 548);
  t.deepEqual(
    [...new Set(refused)],
    ['upstream vault: 500 calls of uid 1000 wait for it, as many as may of one caller; try again later'],
  );
});

test('all places are taken and one uid’s line is long: another’s miss has the first place that gets free', async (t) => {
  const rooms = new Rooms('vault', new MovableClock());
  const slow = hanging();
  const quick = hanging();
  const all = misses(rooms, slow.call, new Map([[1, 300]]));
  const last = rooms.run({ payer: 2, signal }, quick.call);
  all.push(...misses(rooms, slow.call, new Map([[2, 300]])));
  await settled();
  t.is(slow.begun() + quick.begun(), atOnce);
  let begins = false;
  const mine = rooms.run({ payer: 3, signal }, async () => {
    begins = true;
    return 'mine';
  });
  // A place that gets free is uid 2's, whose turn was before; the next one is not.
  quick.end();
  await last;
  await settled();
  t.false(begins);
  slow.end();
  t.is(await mine, 'mine');
  await Promise.all(all);
});

test('one miss more than those that may wait is QUOTA_EXCEEDED at once, with a pause, and says whose it is', async (t) => {
  const rooms = new Rooms('vault', new MovableClock());
  const slow = hanging();
  const all = misses(rooms, slow.call, FULL);
  await settled();
  for (const [payer, text] of [
    [1, '500 calls of uid 1 wait for it, as many as may of one caller'],
    [3, '1000 calls wait for it, as many as may, and this one of uid 3 has no place'],
    [undefined, '1000 calls wait for it, as many as may, and this one of the agent itself has no place'],
  ] as const) {
    const error = await t.throwsAsync(rooms.run({ payer, signal }, slow.call), { instanceOf: DekdError });
    t.is(error.reason, 'QUOTA_EXCEEDED');
    t.is(error.retryAfterMs, 1_000);
    t.is(error.message, `upstream vault: ${text}; try again later`);
    t.deepEqual(error.metadata, { upstream: 'vault' });
  }
  slow.end();
  await Promise.all(all);
});

test('refreshes of held DEKs all wait, however many there are', async (t) => {
  const rooms = new Rooms('vault', new MovableClock());
  const refreshes = hanging();
  const all = Array.from({ length: 5_000 }, () => rooms.run({ purpose: 'refresh', signal }, refreshes.call));
  await settled();
  t.is(refreshes.begun(), CALLS.refresh.atOnce);
  refreshes.end();
  t.is((await Promise.all(all)).length, 5_000);
});

test('together they fit into what one child process takes', (t) => {
  const places = Object.values(CALLS).map((room) => room.atOnce);
  t.true(places.reduce((sum, one) => sum + one, 0) < 128);
});

for (const purpose of ['miss', 'refresh', 'administration'] as const) {
  test(`${purpose}: who gave up while waiting is not called, and its place goes to the next`, async (t) => {
    const rooms = new Rooms('vault', new MovableClock());
    const slow = hanging();
    const all = Array.from({ length: placesOf(purpose) }, () => rooms.run({ purpose, signal }, slow.call));
    const control = new AbortController();
    let called = false;
    const left = rooms.run({ purpose, signal: control.signal }, async () => {
      called = true;
    });
    const next = rooms.run({ purpose, signal }, async () => 'next');
    control.abort();
    slow.end();
    await t.throwsAsync(left, { instanceOf: GivenUp });
    t.is(await next, 'next');
    await Promise.all(all);
    t.false(called);
  });
}

test('a miss, or a description, that waited for over 3 s is not made any more; what is for a held DEK is', async (t) => {
  const clock = new MovableClock();
  const rooms = new Rooms('vault', clock);
  for (const purpose of ['miss', 'refresh', 'administration'] as const) {
    const slow = hanging();
    const all = Array.from({ length: placesOf(purpose) }, () => rooms.run({ purpose, payer: 7, signal }, slow.call));
    const late = rooms
      .run({ purpose, payer: 7, signal }, async () => 'made')
      .catch((error: DekdError) => `${error.reason} ${error.message}`);
    await clock.advance(2_000);
    const young = rooms.run({ purpose, payer: 7, signal }, async () => 'made');
    await clock.advance(1_001);
    slow.end();
    await Promise.all(all);
    const expected = {
      miss: /QUOTA_EXCEEDED .* uid 7 waited for over 3 s/,
      refresh: /^made$/,
      administration: /QUOTA/,
    };
    t.regex(await late, expected[purpose]);
    t.is(await young, 'made');
  }
});

test('what a call throws is passed on as it is', async (t) => {
  const rooms = new Rooms('vault', new MovableClock());
  for (const purpose of ['miss', 'background'] as const) {
    const thrown = new Error('its own');
    t.is(await t.throwsAsync(rooms.run({ purpose, signal }, () => Promise.reject(thrown))), thrown);
  }
});

/** As many as one payer's calls fill. */
function placesOf(purpose: CallPurpose): number {
  return purpose === 'miss' ? atOnceOfOne : CALLS[purpose].atOnce;
}
