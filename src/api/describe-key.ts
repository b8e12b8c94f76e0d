import { systemClock } from '../keyring/clock.ts';
import type { Keyring } from '../keyring/keyring.ts';
import type { Call } from './call.ts';
import { keyState, ROLES } from './key-state.ts';
import type { Parts } from './parts.ts';
import { authorize, checkKeyName } from './request.ts';
import { duration, timestamp } from './time.ts';

const SUITE_NAMES: Readonly<Record<number, string>> = { 1: 'SUITE_XAES_256_GCM', 2: 'SUITE_AES_256_GCM' };

/** A key's public facts, from memory: no upstream is asked. */
export function describeKey(request: { key: string }, call: Call, parts: Parts): object {
  checkKeyName('key', request.key);
  return keyFacts(authorize('DescribeKey', request.key, call, parts));
}

/** DescribeKeyResponse. */
export function keyFacts(keyring: Keyring): object {
  const { cache, partitionBy } = keyring.options;
  const counts = keyring.counts();
  return {
    ...keySummary(keyring),
    ttl: duration(cache.ttlMs),
    grace: duration(cache.mode === 'startup' ? Number.POSITIVE_INFINITY : cache.graceMs),
    rotate_after: duration(cache.rotateAfterMs),
    partition_by: partitionBy,
    partitions: String(counts.partitions),
    encrypting_deks: String(counts.encrypting),
    decrypting_deks: String(counts.decrypting),
    oldest_encrypting_dek_age: age(counts.oldestLoadedAtMs),
    oldest_verification_age: age(counts.oldestVerifiedAtMs),
    as_of: timestamp(counts.asOfMs),
  };
}

/** What ListKeys shows of a key, and DescribeKey begins with. */
export function keySummary(keyring: Keyring): object {
  const { name, suite, recipients } = keyring.options;
  const missing = keyring.encrypting.missingRecipients();
  return {
    key: name,
    state: keyState(keyring),
    suite: SUITE_NAMES[suite] ?? 'SUITE_UNSPECIFIED',
    recipients: recipients.map(({ kek, role }) => ({
      upstream: kek.upstreamName,
      kek: kek.uri,
      role: ROLES[role],
      origin_unproven: kek.upstream.allowsUnprovenOrigin === true,
      missing_deks: missing.get(kek) ?? 0,
    })),
  };
}

/** Since a moment of CLOCK_BOOTTIME. */
function age(sinceMs: number | undefined): object | undefined {
  return sinceMs === undefined ? undefined : duration(systemClock.bootMs() - sinceMs);
}
