import type { KekState, KekVersionState } from '../provider.ts';
import type { Field } from './fields.ts';

/** A row of `kek`. */
export interface KekRecord {
  readonly name: string;
  readonly state: KekState;
  /** Where `enable` leads to; null unless the KEK is disabled or pending deletion. */
  readonly stateBefore: 'active' | 'archived' | null;
  /** Unix milliseconds, as all times of records. */
  readonly createdAt: number;
  /** When the state was last changed, and by whom: "uid 2001". Its creation is the first change. */
  readonly changedAt: number;
  readonly changedBy: string;
  readonly labels: ReadonlyMap<string, string>;
  readonly deletion: DeletionRecord | null;
}

/** A deletion that custodians asked for. */
export interface DeletionRecord {
  /** Who asked, in their order. */
  readonly requestedBy: readonly string[];
  readonly waitingPeriodMs: number;
  /** When the first one asked. */
  readonly requestedAt: number;
  /** When the KEK will be destroyed; null until enough custodians asked, set exactly while it is pending deletion. */
  readonly at: number | null;
}

/** A row of `kek_version`. */
export interface VersionRecord {
  readonly kek: string;
  /** From 1, without gaps. */
  readonly version: number;
  readonly state: KekVersionState;
  readonly createdAt: number;
  /** Who created or rotated the KEK: "uid 2001", "rotation schedule". */
  readonly createdBy: string;
  /** When the state was last changed, and by whom; its creation is the first change, its destruction the last. */
  readonly changedAt: number;
  readonly changedBy: string;
  /** nonce | key | tag under the store's wrapping key; null once the version is destroyed. */
  readonly wrappedKey: Uint8Array | null;
}

/** A row of `disabled_partition`: under this KEK, the DEKs of this key and partition are refused. */
export interface PartitionRecord {
  readonly kek: string;
  readonly keyName: string;
  /** The partition's pairs as canonicalPairs writes them. */
  readonly pairs: string;
  readonly disabledAt: number;
  readonly disabledBy: string;
}

/** How records of one kind lie in their table. Rows are the columns in order, without the MAC, which is the last column. */
export interface Table<Row> {
  readonly name: string;
  readonly select: string;
  /** Writes a row and its MAC: adds the record or replaces it. */
  readonly upsert: string;
  /** Takes a row out; its values are the row's first `keyColumns`. */
  readonly remove: string;
  readonly keyColumns: number;
  toRow(record: Row): Field[];
  /** Only for a row whose MAC was verified: it is then one that `toRow` made. */
  fromRow(row: readonly Field[]): Row;
  /** The record's id in the manifest, which describeRecord turns into words. */
  idOf(row: readonly Field[]): string;
}

export const KEKS: Table<KekRecord> = {
  ...statements('kek', 1, [
    'name',
    'state',
    'state_before',
    'created_at',
    'changed_at',
    'changed_by',
    'labels',
    'deletion_by',
    'deletion_waiting_ms',
    'deletion_requested_at',
    'deletion_at',
  ]),
  toRow: ({ name, state, stateBefore, createdAt, changedAt, changedBy, labels, deletion }) => [
    name,
    state,
    stateBefore,
    BigInt(createdAt),
    BigInt(changedAt),
    changedBy,
    JSON.stringify([...labels]),
    deletion === null ? null : JSON.stringify(deletion.requestedBy),
    integer(deletion?.waitingPeriodMs),
    integer(deletion?.requestedAt),
    integer(deletion?.at),
  ],
  fromRow: ([name, state, stateBefore, createdAt, changedAt, changedBy, labels, ...deletion]) => ({
    name: name as string,
    state: state as KekRecord['state'],
    stateBefore: stateBefore as KekRecord['stateBefore'],
    createdAt: Number(createdAt),
    changedAt: Number(changedAt),
    changedBy: changedBy as string,
    labels: new Map(JSON.parse(labels as string) as [string, string][]),
    deletion: deletionFrom(deletion),
  }),
  idOf: ([name]) => String(name),
};

export const VERSIONS: Table<VersionRecord> = {
  ...statements('kek_version', 2, [
    'kek',
    'version',
    'state',
    'created_at',
    'created_by',
    'changed_at',
    'changed_by',
    'wrapped_key',
  ]),
  toRow: ({ kek, version, state, createdAt, createdBy, changedAt, changedBy, wrappedKey }) => [
    kek,
    BigInt(version),
    state,
    BigInt(createdAt),
    createdBy,
    BigInt(changedAt),
    changedBy,
    wrappedKey,
  ],
  fromRow: ([kek, version, state, createdAt, createdBy, changedAt, changedBy, wrappedKey]) => ({
    kek: kek as string,
    version: Number(version),
    state: state as VersionRecord['state'],
    createdAt: Number(createdAt),
    createdBy: createdBy as string,
    changedAt: Number(changedAt),
    changedBy: changedBy as string,
    wrappedKey: wrappedKey as Uint8Array | null,
  }),
  idOf: ([kek, version]) => `${kek}/${version}`,
};

export const PARTITIONS: Table<PartitionRecord> = {
  ...statements('disabled_partition', 3, ['kek', 'key_name', 'pairs', 'disabled_at', 'disabled_by']),
  toRow: ({ kek, keyName, pairs, disabledAt, disabledBy }) => [kek, keyName, pairs, BigInt(disabledAt), disabledBy],
  fromRow: ([kek, keyName, pairs, disabledAt, disabledBy]) => ({
    kek: kek as string,
    keyName: keyName as string,
    pairs: pairs as string,
    disabledAt: Number(disabledAt),
    disabledBy: disabledBy as string,
  }),
  // No name of a KEK or key has a colon.
  idOf: ([kek, keyName, pairs]) => `${kek}:${keyName}:${pairs}`,
};

/** Every table of records, each after those that it refers to. */
export const TABLES: readonly Table<unknown>[] = [KEKS, VERSIONS, PARTITIONS];

/** A record's name for people: `KEK "orders" version 2`. Whatever somebody wrote into the file cannot forge a second line of a log. */
export function describeRecord(id: string): string {
  const [kek = '', keyName, ...pairs] = id.split(':');
  if (keyName !== undefined) {
    const partition = JSON.stringify(pairs.join(':'));
    return `the disabled partition ${partition} of key ${JSON.stringify(keyName)} under KEK ${JSON.stringify(kek)}`;
  }
  const slash = id.lastIndexOf('/');
  if (slash < 0) return `KEK ${JSON.stringify(id)}`;
  return `KEK ${JSON.stringify(id.slice(0, slash))} version ${id.slice(slash + 1)}`;
}

function statements(
  name: string,
  keyColumns: number,
  columns: readonly string[],
): Pick<Table<unknown>, 'name' | 'select' | 'upsert' | 'remove' | 'keyColumns'> {
  const all = [...columns, 'mac'];
  const keys = columns.slice(0, keyColumns);
  const replaced = all.slice(keyColumns).map((column) => `${column} = excluded.${column}`);
  return {
    name,
    keyColumns,
    select: `SELECT ${all.join(', ')} FROM ${name} ORDER BY ${keys.join(', ')}`,
    upsert:
      `INSERT INTO ${name} (${all.join(', ')}) VALUES (${all.map(() => '?').join(', ')}) ` +
      `ON CONFLICT (${keys.join(', ')}) DO UPDATE SET ${replaced.join(', ')}`,
    remove: `DELETE FROM ${name} WHERE ${keys.map((column) => `${column} = ?`).join(' AND ')}`,
  };
}

function deletionFrom([requestedBy, waitingPeriodMs, requestedAt, at]: readonly Field[]): DeletionRecord | null {
  if (requestedBy === null) return null;
  return {
    requestedBy: JSON.parse(requestedBy as string) as string[],
    waitingPeriodMs: Number(waitingPeriodMs),
    requestedAt: Number(requestedAt),
    at: at === null ? null : Number(at),
  };
}

function integer(value: number | null | undefined): bigint | null {
  return value == null ? null : BigInt(value);
}
