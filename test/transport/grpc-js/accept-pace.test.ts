import test from 'ava';
import { AcceptPace } from '../../../src/transport/grpc-js/accept-pace.ts';

test('64 connections of a uid at once, then one each 20 ms; another uid does not wait', (t) => {
  let nowMs = 1_000;
  const pace = new AcceptPace(() => nowMs);
  const delays = (count: number) => Array.from({ length: count }, () => pace.delayMs(1));
  t.true(delays(64).every((delayMs) => delayMs === 0));
  t.deepEqual(delays(3), [20, 40, 60]);
  t.is(pace.delayMs(2), 0);
  nowMs += 100;
  t.deepEqual(delays(3), [0, 0, 20]);
  nowMs += 10_000;
  t.true(delays(64).every((delayMs) => delayMs === 0));
});

test('who opens connections at the steady pace never waits, and uids that are gone are forgotten', (t) => {
  let nowMs = 0;
  const pace = new AcceptPace(() => nowMs);
  for (let uid = 0; uid < 1_000; uid++, nowMs += 20) t.is(pace.delayMs(uid) + pace.delayMs(7), 0);
});

test('a connection that was ended for what it sent counts as ten; no connection waits longer than 10 s', (t) => {
  let nowMs = 0;
  const pace = new AcceptPace(() => nowMs);
  for (let count = 0; count < 6; count++) {
    t.is(pace.delayMs(1), 0);
    pace.misused(1);
  }
  // 66 by now.
  t.is(pace.delayMs(1), 60);
  for (let count = 0; count < 1_000; count++) pace.misused(1);
  t.is(pace.delayMs(1), 10_020);
  t.is(pace.delayMs(2), 0);
  nowMs += 12_000;
  t.is(pace.delayMs(1), 0);
});
