import test from 'ava';
import { PrincipalBuckets } from '../../src/keyring/principal-buckets.ts';

const SIZE = { perSecond: 10, burst: 50 };

test('each principal has a bucket of its own', (t) => {
  const buckets = new PrincipalBuckets(SIZE, 0);
  buckets.of(1000, 0).take(50, 0);
  t.is(buckets.of(1000, 0).waitMs(1, 0), 100);
  t.is(buckets.of(1001, 0).waitMs(50, 0), 0);
});

test('full ones are forgotten when there is no room, never one that is not full', (t) => {
  const buckets = new PrincipalBuckets(SIZE, 0, 3);
  buckets.of(1, 0).take(50, 0);
  buckets.of(2, 0).take(1, 0);
  buckets.of(3, 0).take(1, 0);
  // 2 and 3 are full again after 100 ms.
  t.is(buckets.of(4, 100).waitMs(50, 100), 0);
  t.is(buckets.remembered, 2);
  t.is(buckets.of(1, 100).waitMs(50, 100), 4_900);
});

test('those for whom there is no room share one bucket, and get their own when there is', (t) => {
  const buckets = new PrincipalBuckets(SIZE, 0, 2);
  for (const uid of [1, 2]) buckets.of(uid, 0).take(50, 0);
  buckets.of(3, 0).take(50, 0);
  t.is(buckets.of(4, 0).waitMs(1, 0), 100);
  t.is(buckets.remembered, 2);
  t.is(buckets.of(5, 5_000).waitMs(50, 5_000), 0);
  t.is(buckets.remembered, 1);
});
