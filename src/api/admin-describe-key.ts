import { systemClock } from '../keyring/clock.ts';
import type { Kek } from '../keyring/kek.ts';
import type { DeletionFacts, DisabledPartitionFacts, KekFacts, KekVersionFacts } from './administration.ts';
import type { Call } from './call.ts';
import { keyFacts } from './describe-key.ts';
import { kekStatus, roleName } from './kek-status.ts';
import { servingTime } from './key-counts.ts';
import { KEY_STATES } from './key-state.ts';
import type { Parts } from './parts.ts';
import { authorize, checkKeyName } from './request.ts';
import { duration, timestamp } from './time.ts';

const VERSION_STATES = {
  active: 'KEK_VERSION_STATE_ACTIVE',
  'decrypt-only': 'KEK_VERSION_STATE_DECRYPT_ONLY',
  archived: 'KEK_VERSION_STATE_ARCHIVED',
  disabled: 'KEK_VERSION_STATE_DISABLED',
  'pending-deletion': 'KEK_VERSION_STATE_PENDING_DELETION',
  destroyed: 'KEK_VERSION_STATE_DESTROYED',
} as const;

/** Of one KEK, so that the answer stays far below what a message may have. */
const MAX_PARTITIONS = 1_000;
const MAX_PARTITIONS_BYTES = 262_144;

/** What the data socket shows of a key, and its KEKs as their upstreams describe them. Throws QUOTA_EXCEEDED: who asks pays for that. */
export async function adminDescribeKey(request: { key: string }, call: Call, parts: Parts): Promise<object> {
  checkKeyName('key', request.key);
  const keyring = authorize('AdminDescribeKey', request.key, call, parts);
  const keks = await keyring.payForDescriptions(call.principal, () =>
    parts.administration.describeKeks(keyring, call.signal),
  );
  // Keys may share a KEK, and a partition's pairs name a customer.
  const missing = keyring.encrypting.missingRecipients();
  const isVisible = (key: string): boolean => parts.policy.may(call.principal, 'AdminDescribeKey', key);
  return {
    key: keyFacts(keyring),
    ...servingTime(keyring.counts()),
    keks: keks.map((kek) => ({
      ...kekMessage(kek, missing),
      ...partitionsMessage(kek.description?.disabledPartitions ?? [], isVisible),
    })),
  };
}

function kekMessage(
  { kek, role, description, nextRotationAt, problem }: KekFacts,
  missing: ReadonlyMap<Kek, number>,
): object {
  return {
    upstream: kek.upstreamName,
    kek: kek.uri,
    role: roleName(role),
    status: kekStatus({ kek, role }, missing),
    state: description === undefined ? 'KEY_STATE_UNSPECIFIED' : KEY_STATES[description.state],
    state_changed_at: optionalTimestamp(description?.stateChangedAt),
    state_changed_by: description?.stateChangedBy ?? '',
    labels: Object.fromEntries(description?.labels ?? []),
    versions: description?.versions.map(versionMessage) ?? [],
    expires_at: optionalTimestamp(description?.expiresAt),
    next_rotation_at: optionalTimestamp(nextRotationAt),
    deletion: description?.deletion === undefined ? undefined : deletionMessage(description.deletion),
    problem: problem ?? '',
  };
}

function versionMessage({ version, state, createdAt, createdBy, destroyedAt, destroyedBy }: KekVersionFacts): object {
  return {
    version,
    state: VERSION_STATES[state],
    created_at: timestamp(createdAt),
    created_by: createdBy ?? '',
    // A wall clock that was set back makes no age below zero.
    age: duration(Math.max(0, systemClock.wallMs() - createdAt)),
    destroyed_at: optionalTimestamp(destroyedAt),
    destroyed_by: destroyedBy ?? '',
  };
}

function partitionsMessage(partitions: Iterable<DisabledPartitionFacts>, isVisible: (key: string) => boolean): object {
  const shown: object[] = [];
  let count = 0;
  let bytes = 0;
  for (const { keyName, pairs, disabledAt, disabledBy } of partitions) {
    if (!isVisible(keyName)) continue;
    count++;
    for (const [name, value] of pairs) bytes += Buffer.byteLength(name) + Buffer.byteLength(value);
    if (count > MAX_PARTITIONS || bytes > MAX_PARTITIONS_BYTES) continue;
    const partition = Object.fromEntries(pairs);
    shown.push({ key: keyName, partition, disabled_at: timestamp(disabledAt), disabled_by: disabledBy });
  }
  return { disabled_partitions: shown, disabled_partition_count: count };
}

function deletionMessage({ requestedBy, waitingPeriodMs, at }: DeletionFacts): object {
  return { requested_by: requestedBy, waiting_period: duration(waitingPeriodMs), deletion_at: optionalTimestamp(at) };
}

function optionalTimestamp(unixMs: number | undefined): object | undefined {
  return unixMs === undefined ? undefined : timestamp(unixMs);
}
