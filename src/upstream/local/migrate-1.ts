import { native } from '../../crypto/native.ts';
import { createSchema, type KeystoreDatabase, readRows, transaction } from './database.ts';
import { keystoreFault } from './errors.ts';
import { encodeFields } from './fields.ts';
import { DAMAGED, type Head, type Manifest, writeHead } from './head.ts';
import { RecordChecker } from './record-checker.ts';
import { RecordWriter } from './record-writer.ts';
import { KEKS, type KekRecord, type Table, VERSIONS, type VersionRecord } from './records.ts';
import { RAW } from './root-key-kdf.ts';
import { type StoreKeys, shortRootKeyId } from './store-keys.ts';

// Schema 1 knew two states, `active` for KEKs and `active` and `decrypt-only` for versions; nothing else was ever written.

const MIGRATION = 'migration from schema 1';

const KEKS_1: Pick<Table<KekRecord>, 'name' | 'select' | 'fromRow' | 'idOf'> = {
  name: 'kek',
  select: 'SELECT name, state, created_at, labels, mac FROM kek ORDER BY name',
  fromRow: ([name, , createdAt, labels]) => ({
    name: name as string,
    state: 'active',
    stateBefore: null,
    createdAt: Number(createdAt),
    changedAt: Number(createdAt),
    changedBy: MIGRATION,
    labels: new Map(JSON.parse(labels as string) as [string, string][]),
    deletion: null,
  }),
  idOf: KEKS.idOf,
};

const VERSIONS_1: Pick<Table<VersionRecord>, 'name' | 'select' | 'fromRow' | 'idOf'> = {
  name: 'kek_version',
  select: 'SELECT kek, version, state, created_at, wrapped_key, mac FROM kek_version ORDER BY kek, version',
  fromRow: ([kek, version, state, createdAt, wrappedKey]) => ({
    kek: kek as string,
    version: Number(version),
    state: state as VersionRecord['state'],
    createdAt: Number(createdAt),
    createdBy: MIGRATION,
    changedAt: Number(createdAt),
    changedBy: MIGRATION,
    wrappedKey: wrappedKey as Uint8Array,
  }),
  idOf: VERSIONS.idOf,
};

/** Verifies a store of schema 1 and writes it anew as schema 2, in one transaction. Throws DekdError for a store that is not as dekd left it. */
export function migrateFromSchema1(database: KeystoreDatabase, keys: StoreKeys): void {
  const { connection, directory } = database;
  const { head, manifest } = readHead1(database, keys);
  const checker = new RecordChecker(head.storeId, keys.recordMac, manifest);
  const keks = checker.check(KEKS_1, readRows(connection, KEKS_1.select));
  const versions = checker.check(VERSIONS_1, readRows(connection, VERSIONS_1.select));
  const [damage] = checker.finish();
  if (damage !== undefined) throw keystoreFault(directory, `${damage.what} ${damage.problem}; ${DAMAGED}`);
  transaction(connection, () => {
    connection.exec('DROP TABLE kek_version; DROP TABLE kek; DROP TABLE store');
    createSchema(connection);
    const writer = new RecordWriter(connection, head.storeId, keys.recordMac, new Map());
    writer.write(KEKS, keks);
    writer.write(VERSIONS, versions);
    writeHead(database, keys, head, writer.manifest);
  });
}

function readHead1({ connection, directory }: KeystoreDatabase, keys: StoreKeys): { head: Head; manifest: Manifest } {
  const [row] = readRows(connection, 'SELECT store_id, root_key_id, created_at, manifest, mac FROM store');
  if (row === undefined) throw keystoreFault(directory, `the store record is missing; ${DAMAGED}`);
  const [storeId, rootKeyId, createdAt, manifest, mac] = row as [string, Uint8Array, bigint, string, Uint8Array];
  if (!keys.rootKeyId.equals(rootKeyId)) {
    const ids = `(id ${shortRootKeyId(keys.rootKeyId)}) is not the store's (id ${shortRootKeyId(rootKeyId)})`;
    throw keystoreFault(directory, `this root key ${ids}; name the root key that the store was made with`);
  }
  if (!native.hmacVerify(keys.recordMac, encodeFields(['store', 1n, storeId, rootKeyId, createdAt, manifest]), mac)) {
    throw keystoreFault(directory, `the store record was changed outside dekd; ${DAMAGED}`);
  }
  return {
    head: { ...RAW, storeId, createdAt: Number(createdAt) },
    manifest: new Map(JSON.parse(manifest) as [string, string][]),
  };
}
