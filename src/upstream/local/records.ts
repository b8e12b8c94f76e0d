import type { KekState, KekVersionDescription } from '../provider.ts';
import type { Field } from './fields.ts';

/** A row of `kek`. */
export interface KekRecord {
  readonly name: string;
  readonly state: KekState;
  /** Unix milliseconds. */
  readonly createdAt: number;
  readonly labels: ReadonlyMap<string, string>;
}

/** A row of `kek_version`. */
export interface VersionRecord {
  readonly kek: string;
  /** From 1, without gaps. */
  readonly version: number;
  readonly state: KekVersionDescription['state'];
  /** Unix milliseconds. */
  readonly createdAt: number;
  /** nonce | key | tag under the store's wrapping key; null once the version is destroyed. */
  readonly wrappedKey: Uint8Array | null;
}

/** How records of one kind lie in their table. Rows are the columns in order, without the MAC, which is the last column. */
export interface Table<Row> {
  readonly name: string;
  readonly select: string;
  /** Writes a row and its MAC: adds the record or replaces it. */
  readonly upsert: string;
  toRow(record: Row): Field[];
  /** Only for a row whose MAC was verified: it is then one that `toRow` made. */
  fromRow(row: readonly Field[]): Row;
  /** The record's name in the manifest, and in messages. */
  idOf(row: readonly Field[]): string;
}

export const KEKS: Table<KekRecord> = {
  name: 'kek',
  select: 'SELECT name, state, created_at, labels, mac FROM kek ORDER BY name',
  upsert: `INSERT INTO kek (name, state, created_at, labels, mac) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (name) DO UPDATE SET
      state = excluded.state, created_at = excluded.created_at, labels = excluded.labels, mac = excluded.mac`,
  toRow: (record) => [record.name, record.state, BigInt(record.createdAt), JSON.stringify([...record.labels])],
  fromRow: ([name, state, createdAt, labels]) => ({
    name: name as string,
    state: state as KekRecord['state'],
    createdAt: Number(createdAt),
    labels: new Map(JSON.parse(labels as string) as [string, string][]),
  }),
  idOf: ([name]) => String(name),
};

export const VERSIONS: Table<VersionRecord> = {
  name: 'kek_version',
  select: 'SELECT kek, version, state, created_at, wrapped_key, mac FROM kek_version ORDER BY kek, version',
  upsert: `INSERT INTO kek_version (kek, version, state, created_at, wrapped_key, mac) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (kek, version) DO UPDATE SET
      state = excluded.state, created_at = excluded.created_at, wrapped_key = excluded.wrapped_key, mac = excluded.mac`,
  toRow: (record) => [record.kek, BigInt(record.version), record.state, BigInt(record.createdAt), record.wrappedKey],
  fromRow: ([kek, version, state, createdAt, wrappedKey]) => ({
    kek: kek as string,
    version: Number(version),
    state: state as VersionRecord['state'],
    createdAt: Number(createdAt),
    wrappedKey: wrappedKey as Uint8Array | null,
  }),
  idOf: ([kek, version]) => `${kek}/${version}`,
};

/** A record's name for people: `KEK "orders" version 2`. */
export function describeRecord(id: string): string {
  const slash = id.lastIndexOf('/');
  if (slash < 0) return `KEK ${JSON.stringify(id)}`;
  return `KEK ${JSON.stringify(id.slice(0, slash))} version ${id.slice(slash + 1)}`;
}
