import { systemClock } from '../keyring/clock.ts';
import type { DekCounts } from '../keyring/dek-counts.ts';
import { bootTimestamp, duration, timestamp } from './time.ts';

/** The counts of a KeyStatus. */
export function keyCounts(counts: DekCounts): object {
  const nowMs = systemClock.bootMs();
  const { graceEndsAtMs: graceEnds, oldestVerifiedAtMs: oldest } = counts;
  const ends = graceEnds !== undefined && Number.isFinite(graceEnds);
  return {
    encrypting_deks: String(counts.encrypting),
    decrypting_deks: String(counts.decrypting),
    deks_in_grace: String(counts.inGrace),
    rotations_overdue: String(counts.rotationsOverdue),
    refusals_pending: String(counts.refusalsPending),
    // A count may be some seconds old.
    grace_left: ends ? duration(Math.max(0, graceEnds - nowMs)) : undefined,
    oldest_verification_age: oldest === undefined ? undefined : duration(nowMs - oldest),
    counted_at: timestamp(counts.asOfMs),
    ...servingTime(counts),
  };
}

/** Until when a key's DEKs serve if nothing answers: the fields that KeyStatus and AdminDescribeKeyResponse have in common. */
export function servingTime({ servesUntilMs: first, lastServesUntilMs: last }: DekCounts): object {
  if (first === undefined || last === undefined) return {};
  if (first === Number.POSITIVE_INFINITY) return { serves_without_end: true };
  return {
    serves_until: bootTimestamp(first),
    last_serves_until: Number.isFinite(last) ? bootTimestamp(last) : undefined,
  };
}
