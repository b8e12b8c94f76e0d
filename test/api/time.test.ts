import test from 'ava';
import { duration, durationMs, timestamp } from '../../src/api/time.ts';

test('instants', (t) => {
  t.deepEqual(timestamp(0), { seconds: '0', nanos: 0 });
  t.deepEqual(timestamp(1_790_000_000_250), { seconds: '1790000000', nanos: 250_000_000 });
});

test('spans; an endless one is the longest that the type allows', (t) => {
  t.deepEqual(duration(0), { seconds: '0', nanos: 0 });
  t.deepEqual(duration(300_000), { seconds: '300', nanos: 0 });
  t.deepEqual(duration(1.5), { seconds: '0', nanos: 1_500_000 });
  t.deepEqual(duration(Number.POSITIVE_INFINITY), { seconds: '315576000000', nanos: 0 });
});

test('nanoseconds never reach a second', (t) => {
  for (const ms of [999.999_999_9, 1_999.999_999_8]) {
    t.true(duration(ms).nanos < 1e9, `duration(${ms})`);
    t.true(timestamp(ms).nanos < 1e9, `timestamp(${ms})`);
  }
});

test('spans of a request, cut to milliseconds, however hostile', (t) => {
  t.is(durationMs({ seconds: '604800', nanos: 1_999_999 }), 604_800_001);
  t.is(durationMs({ seconds: '-1', nanos: -1_000_000 }), -1_001);
  t.true(Number.isFinite(durationMs({ seconds: '9223372036854775807', nanos: 2_147_483_647 })));
});
