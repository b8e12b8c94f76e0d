import test from 'ava';
import { bootTimestamp, duration, durationMs, timestamp } from '../../src/api/time.ts';
import { systemClock } from '../../src/keyring/clock.ts';

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

test('a moment since the boot is one instant, whenever it is asked, and follows the wall clock', (t) => {
  const bootMs = systemClock.bootMs() - 5_000;
  const first = bootTimestamp(bootMs);
  const firstMs = Number(first.seconds) * 1_000 + first.nanos / 1e6;
  t.true(Math.abs(Date.now() - 5_000 - firstMs) < 5_000);
  for (const untilMs = performance.now() + 30; performance.now() < untilMs; ) t.deepEqual(bootTimestamp(bootMs), first);
  const { wallMs } = systemClock;
  try {
    const aheadMs = wallMs() + 60_000 - systemClock.bootMs();
    Object.assign(systemClock, { wallMs: () => systemClock.bootMs() + aheadMs });
    const { seconds } = bootTimestamp(bootMs);
    t.is(Math.round((Number(seconds) * 1_000 - firstMs) / 10_000), 6);
  } finally {
    Object.assign(systemClock, { wallMs });
  }
});
