import { DatabaseSync } from 'node:sqlite';
import { integrityProblems, type KeystoreDatabase, readRows } from './database.ts';
import { keystoreFault } from './errors.ts';
import { DAMAGED, type Head, type Manifest, readHead } from './head.ts';
import { RecordChecker } from './record-checker.ts';
import {
  KEKS,
  type KekRecord,
  PARTITIONS,
  type PartitionRecord,
  type Table,
  VERSIONS,
  type VersionRecord,
} from './records.ts';
import type { StoreKeys } from './store-keys.ts';

/** Everything that lies in a store, verified. */
export interface StoreContent {
  readonly head: Head;
  readonly manifest: Manifest;
  readonly keks: readonly KekRecord[];
  readonly versions: readonly VersionRecord[];
  readonly partitions: readonly PartitionRecord[];
}

/** Reads and verifies a store. Throws DekdError that names the record which is not as dekd left it. */
export function readStore(database: KeystoreDatabase, keys: StoreKeys): StoreContent {
  const { head, manifest } = readHead(database, keys);
  const checker = new RecordChecker(head.storeId, keys.recordMac, manifest);
  const read = <Row>(table: Table<Row>): Row[] => checker.check(table, readRows(database.connection, table.select));
  const content = { head, manifest, keks: read(KEKS), versions: read(VERSIONS), partitions: read(PARTITIONS) };
  const [damage] = checker.finish();
  if (damage === undefined) return content;
  throw keystoreFault(database.directory, `${damage.what} ${damage.problem}; ${DAMAGED}`);
}

/**
 * A copy of the whole database, read back and verified. Throws DekdError when the file is not as dekd left it, or not the one that has the
 * records of `manifest`.
 */
export function copyStore(database: KeystoreDatabase, keys: StoreKeys, manifest: Manifest): Buffer {
  const { directory } = database;
  const bytes = database.connection.serialize();
  const connection = new DatabaseSync(':memory:');
  try {
    connection.deserialize(bytes);
    const [damage] = integrityProblems(connection, 1);
    if (damage !== undefined) throw keystoreFault(directory, `keystore.db is damaged (${damage}); ${DAMAGED}`);
    const copy = readStore({ ...database, connection }, keys);
    if (manifestText(copy.manifest) !== manifestText(manifest)) {
      throw keystoreFault(directory, `keystore.db was put back from an older copy while it was open; ${DAMAGED}`);
    }
  } finally {
    connection.close();
  }
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** As the store record has it. */
export function manifestText(manifest: Manifest): string {
  return JSON.stringify([...manifest]);
}
