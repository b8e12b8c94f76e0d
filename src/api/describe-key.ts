import { systemClock } from '../keyring/clock.ts';
import type { Dek } from '../keyring/dek.ts';
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
  const encrypting = [...keyring.encrypting.all()];
  const held = [...keyring.all()];
  return {
    ...keySummary(keyring),
    ttl: duration(cache.ttlMs),
    grace: duration(cache.mode === 'startup' ? Number.POSITIVE_INFINITY : cache.graceMs),
    rotate_after: duration(cache.rotateAfterMs),
    partition_by: partitionBy,
    partitions: String(new Set(held.map((dek) => dek.partitionKey)).size),
    encrypting_deks: String(encrypting.length),
    decrypting_deks: String(held.length - encrypting.length),
    oldest_encrypting_dek_age: oldest(encrypting, (dek) => dek.loadedAtMs),
    oldest_verification_age: oldest(held, (dek) => dek.verifiedAtMs),
    as_of: timestamp(systemClock.wallMs()),
  };
}

/** What ListKeys shows of a key, and DescribeKey begins with. */
export function keySummary(keyring: Keyring): object {
  const { name, suite, recipients } = keyring.options;
  return {
    key: name,
    state: keyState(keyring),
    suite: SUITE_NAMES[suite] ?? 'SUITE_UNSPECIFIED',
    recipients: recipients.map(({ kek, role }) => ({
      upstream: kek.upstreamName,
      kek: kek.uri,
      role: ROLES[role],
      origin_unproven: false,
    })),
  };
}

/** Of any number of DEKs: so many are no arguments of Math.min. */
export function oldest(deks: readonly Dek[], since: (dek: Dek) => number): object | undefined {
  if (deks.length === 0) return undefined;
  const first = deks.reduce((least, dek) => Math.min(least, since(dek)), Number.POSITIVE_INFINITY);
  return duration(systemClock.bootMs() - first);
}
