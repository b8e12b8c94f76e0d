import test from 'ava';
import { DestructionClock } from '../../../src/upstream/local/destruction-clock.ts';
import { MovableClock } from '../../helpers/movable-clock.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/** A deletion that took effect `elapsedMs` ago. */
function world(elapsedMs = 0) {
  const clock = new MovableClock();
  const waitingPeriodMs = 7 * DAY_MS;
  const at = clock.wallMs() + waitingPeriodMs - elapsedMs;
  const deletion = { requestedBy: ['uid 1', 'uid 2'], waitingPeriodMs, requestedAt: 0, at };
  const destructionClock = new DestructionClock(clock);
  return { clock, deletion, hasCome: () => destructionClock.hasCome('orders', deletion) };
}

test('it comes when the waiting is over, not before', (t) => {
  const { clock, hasCome } = world();
  t.false(hasCome());
  clock.suspend(7 * DAY_MS - 1);
  t.false(hasCome());
  clock.suspend(1);
  t.true(hasCome());
});

test('a wall clock that jumps ahead brings nothing forward', (t) => {
  const { clock, hasCome } = world();
  t.false(hasCome());
  clock.stepWall(40 * DAY_MS);
  t.false(hasCome());
  clock.suspend(6 * DAY_MS);
  t.false(hasCome());
  clock.suspend(DAY_MS);
  t.true(hasCome());
});

test('a wall clock that is set back delays', (t) => {
  const { clock, hasCome } = world();
  t.false(hasCome());
  clock.stepWall(-DAY_MS);
  clock.suspend(7 * DAY_MS);
  t.false(hasCome());
  clock.suspend(DAY_MS);
  t.true(hasCome());
});

test('an agent that starts with the time long over waits for an hour, in which the clock may turn out wrong', (t) => {
  const right = world(10 * DAY_MS);
  t.false(right.hasCome());
  right.clock.suspend(HOUR_MS - 1);
  t.false(right.hasCome());
  right.clock.suspend(1);
  t.true(right.hasCome());

  const wrong = world(10 * DAY_MS);
  t.false(wrong.hasCome());
  wrong.clock.suspend(30 * MINUTE_MS);
  wrong.clock.stepWall(-5 * DAY_MS);
  wrong.clock.suspend(HOUR_MS);
  t.false(wrong.hasCome());
});

test('an agent that starts with a clock far behind waits at most the whole period', (t) => {
  const { clock, hasCome } = world();
  clock.stepWall(-20_000 * DAY_MS);
  t.false(hasCome());
  clock.stepWall(20_000 * DAY_MS);
  clock.suspend(7 * DAY_MS - 1);
  t.false(hasCome());
  clock.suspend(1);
  t.true(hasCome());
});

test('a request that did not take effect never comes', (t) => {
  const { clock, deletion } = world(10 * DAY_MS);
  const destructionClock = new DestructionClock(clock);
  const request = { ...deletion, at: null };
  t.false(destructionClock.hasCome('orders', request));
  clock.suspend(30 * DAY_MS);
  t.false(destructionClock.hasCome('orders', request));
});

test('another deletion of the same KEK waits anew, each KEK for itself', (t) => {
  const { clock, deletion } = world();
  const destructionClock = new DestructionClock(clock);
  t.false(destructionClock.hasCome('orders', deletion));
  // Cancelled on the last day, and scheduled again.
  clock.suspend(7 * DAY_MS);
  const again = { ...deletion, at: clock.wallMs() + 7 * DAY_MS };
  t.false(destructionClock.hasCome('orders', again));
  clock.stepWall(40 * DAY_MS);
  clock.suspend(6 * DAY_MS);
  t.false(destructionClock.hasCome('orders', again));
  t.false(destructionClock.hasCome('carts', again));
  clock.suspend(DAY_MS);
  t.true(destructionClock.hasCome('orders', again));
});
