import test from 'ava';
import { simulateDay } from './simulated-day.ts';
import { HOUR, MINUTE } from './world.ts';

// `npm run bench -- upstream-calls` has a million operations; a DEK that is used all day long is asked for as often with a tenth of them.
const OPERATIONS = 100_000;
/** In session mode, with the defaults: ttl 5 min, rotation once a day, verification. */
const MOST_CALLS = 350;

test('a day of one busy key costs the upstream at most 350 calls, rotation and verification included', async (t) => {
  const day = await simulateDay({ operations: OPERATIONS });
  t.is(day.failures, 0);
  t.is(day.wraps, 2, 'the first DEK, and the one that the rotation made');
  t.true(day.calls <= MOST_CALLS, `${day.calls} calls`);
  // One each 240 to 270 seconds, or something was used without being asked for.
  t.true(day.unwraps >= 320, `${day.unwraps} unwraps`);
});

test('calls follow the time and not the operations', async (t) => {
  const [few, more] = [await simulateDay({ operations: 10_000 }), await simulateDay({ operations: 20_000 })];
  t.true(Math.abs(few.calls - more.calls) <= 4, `${few.calls} and ${more.calls}`);
});

test('messages of the last hour keep the DEK before the rotation alive for an hour more', async (t) => {
  const day = await simulateDay({ operations: 20_000, readBackMs: HOUR });
  t.is(day.failures, 0);
  const most = MOST_CALLS + Math.ceil(HOUR / (4 * MINUTE)) + 1;
  t.true(day.calls <= most, `${day.calls} calls`);
});
