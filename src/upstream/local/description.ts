import type { DisabledPartition, KekDescription, KekVersionDescription } from '../provider.ts';
import { formatLocalKek } from '../uri.ts';
import { isLapsed } from './deletion.ts';
import { parsePairs } from './partitions.ts';
import type { DeletionRecord, PartitionRecord, VersionRecord } from './records.ts';
import type { KekPolicy } from './rotation.ts';
import type { StoredKek } from './store.ts';

/** What callers see of a KEK at `now` (Unix milliseconds). */
export function describeKek(storeId: string, stored: StoredKek, policy: KekPolicy, now: number): KekDescription {
  const { record, versions, partitions } = stored;
  const { expiresAt } = policy;
  const deletion = isLapsed(record.deletion, now) ? null : record.deletion;
  return {
    uri: formatLocalKek(storeId, record.name),
    state: record.state,
    stateChangedAt: record.changedAt,
    stateChangedBy: record.changedBy,
    versions: [...versions.values()].map(describeVersion),
    labels: record.labels,
    ...(expiresAt === undefined ? {} : { expiresAt }),
    ...(deletion === null ? {} : { deletion: describeDeletion(deletion) }),
    ...(partitions.size === 0 ? {} : { disabledPartitions: describePartitions(partitions) }),
  };
}

function describeVersion(record: VersionRecord): KekVersionDescription {
  const { version, state, createdAt, createdBy, changedAt, changedBy } = record;
  const description = { version: String(version), state, createdAt, createdBy };
  return state === 'destroyed' ? { ...description, destroyedAt: changedAt, destroyedBy: changedBy } : description;
}

function describePartitions(partitions: StoredKek['partitions']): Iterable<DisabledPartition> {
  return {
    *[Symbol.iterator]() {
      for (const record of partitions.values()) yield describePartition(record);
    },
  };
}

export function describePartition({ keyName, pairs, disabledAt, disabledBy }: PartitionRecord): DisabledPartition {
  return { keyName, pairs: parsePairs(pairs), disabledAt, disabledBy };
}

function describeDeletion({
  requestedBy,
  waitingPeriodMs,
  at,
}: DeletionRecord): NonNullable<KekDescription['deletion']> {
  return { requestedBy, waitingPeriodMs, at: at ?? undefined };
}
