import test from 'ava';
import { keyCounts, servingTime } from '../../src/api/key-counts.ts';
import { systemClock } from '../../src/keyring/clock.ts';
import type { DekCounts } from '../../src/keyring/dek-counts.ts';

const ENDLESS = Number.POSITIVE_INFINITY;

function counts(more: Partial<DekCounts> = {}): DekCounts {
  return {
    asOfMs: 1_790_000_000_000,
    partitions: 1,
    encrypting: 1,
    decrypting: 2,
    inGrace: 0,
    rotationsOverdue: 3,
    refusalsPending: 4,
    oldestLoadedAtMs: undefined,
    oldestVerifiedAtMs: undefined,
    graceEndsAtMs: undefined,
    servesUntilMs: undefined,
    lastServesUntilMs: undefined,
    ...more,
  };
}

// biome-ignore lint/suspicious/noExplicitAny: fields of a message
type Fields = any;

const millis = ({ seconds, nanos }: { seconds: string; nanos: number }): number =>
  Number(seconds) * 1_000 + nanos / 1e6;

test('counts, and times that are not there without a DEK that has them', (t) => {
  t.deepEqual(keyCounts(counts()), {
    encrypting_deks: '1',
    decrypting_deks: '2',
    deks_in_grace: '0',
    rotations_overdue: '3',
    refusals_pending: '4',
    grace_left: undefined,
    oldest_verification_age: undefined,
    counted_at: { seconds: '1790000000', nanos: 0 },
  });
});

test('what is left of grace, never below nothing though the count is old, and not there when it has no end', (t) => {
  const left = (graceEndsAtMs: number): Fields =>
    (keyCounts(counts({ inGrace: 1, graceEndsAtMs })) as Fields).grace_left;
  const nowMs = systemClock.bootMs();
  t.is(Math.round(millis(left(nowMs + 600_000)) / 60_000), 10);
  t.is(millis(left(nowMs - 5_000)), 0);
  t.is(left(ENDLESS), undefined);
});

test('until when DEKs serve: the first, the last, or without end', (t) => {
  const nowMs = systemClock.bootMs();
  const serving: Fields = servingTime(counts({ servesUntilMs: nowMs + 60_000, lastServesUntilMs: nowMs + 120_000 }));
  t.is(Math.round((millis(serving.last_serves_until) - millis(serving.serves_until)) / 1_000), 60);
  t.is(Math.round((millis(serving.serves_until) - Date.now()) / 10_000), 6);
  t.deepEqual(servingTime(counts()), {});
  t.deepEqual(servingTime(counts({ servesUntilMs: ENDLESS, lastServesUntilMs: ENDLESS })), {
    serves_without_end: true,
  });
  // A startup key one of whose DEKs has a refusal pending.
  const some: Fields = servingTime(counts({ servesUntilMs: nowMs, lastServesUntilMs: ENDLESS }));
  t.truthy(some.serves_until);
  t.is(some.last_serves_until, undefined);
});
