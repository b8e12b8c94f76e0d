import test from 'ava';
import { TokenBucket } from '../../src/keyring/token-bucket.ts';

const SIZE = { perSecond: 10, burst: 50 };

test('full at first; what is taken comes back with time, to a burst and no further', (t) => {
  const bucket = new TokenBucket(SIZE, 1_000);
  t.true(bucket.isFull(1_000));
  t.is(bucket.waitMs(50, 1_000), 0);
  bucket.take(50, 1_000);
  t.is(bucket.waitMs(1, 1_000), 100);
  t.is(bucket.waitMs(1, 1_050), 50);
  t.is(bucket.waitMs(1, 1_100), 0);
  bucket.take(1, 1_100);
  t.is(bucket.waitMs(20, 1_100), 2_000);
  t.false(bucket.isFull(6_000));
  t.true(bucket.isFull(6_100));
  bucket.take(50, 1_000_000);
  t.is(bucket.waitMs(1, 1_000_000), 100);
});

test('whatever the pace, in the long run no more is taken than a burst and what came back', (t) => {
  for (const stepMs of [1, 7, 100, 333]) {
    const bucket = new TokenBucket(SIZE, 0);
    let taken = 0;
    for (let nowMs = 0; nowMs <= 60_000; nowMs += stepMs) {
      while (bucket.waitMs(3, nowMs) === 0) {
        bucket.take(3, nowMs);
        taken += 3;
      }
    }
    t.true(taken <= 650 && taken > 640, `${taken} in steps of ${stepMs} ms`);
  }
});

test('more than a burst at once needs a full bucket, and what comes later waits for all of it', (t) => {
  const bucket = new TokenBucket(SIZE, 0);
  t.is(bucket.waitMs(80, 0), 0);
  bucket.take(80, 0);
  t.is(bucket.waitMs(1, 0), 3_100);
  t.is(bucket.waitMs(80, 8_000), 0);
});

test('what was not needed after all is given back, and no more than a burst is kept', (t) => {
  const bucket = new TokenBucket(SIZE, 0);
  bucket.take(50, 0);
  bucket.take(-20, 0);
  t.is(bucket.waitMs(20, 0), 0);
  bucket.take(-1_000, 0);
  t.is(bucket.waitMs(50, 0), 0);
  bucket.take(50, 0);
  t.is(bucket.waitMs(1, 0), 100);
});
