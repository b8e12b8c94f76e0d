import { native } from '../../crypto/native.ts';
import { type KeystoreDatabase, readRows } from './database.ts';
import { keystoreFault } from './errors.ts';
import { encodeFields, type Field } from './fields.ts';
import { SCHEMA_VERSION } from './schema.ts';
import { type StoreKeys, shortRootKeyId } from './store-keys.ts';

// The store record: what the store is, how its root key is made from what the operator gives, and the manifest, all under one MAC.

/** What the store record says of the store itself. */
export interface Head {
  /** 16 hex digits. */
  readonly storeId: string;
  /** How the root key comes about: the bytes of a file, or a passphrase through scrypt. */
  readonly rootKeyKdf: 'raw' | 'scrypt';
  /** Salt and cost of the KDF; null exactly for `raw`. */
  readonly rootKeyParams: Uint8Array | null;
  /** Unix milliseconds. */
  readonly createdAt: number;
}

/** Id and MAC (hex) of every record. */
export type Manifest = ReadonlyMap<string, string>;

export const DAMAGED = 'put back a backup of the directory';

const COLUMNS = 'store_id, root_key_id, root_key_kdf, root_key_params, created_at, manifest, mac';
const READ_HEAD = `SELECT ${COLUMNS} FROM store`;
const WRITE_HEAD = `INSERT INTO store (id, ${COLUMNS}) VALUES (1, ?, ?, ?, ?, ?, ?, ?)
  ON CONFLICT (id) DO UPDATE SET
    root_key_id = excluded.root_key_id, root_key_kdf = excluded.root_key_kdf, root_key_params = excluded.root_key_params,
    manifest = excluded.manifest, mac = excluded.mac`;

type Row = readonly [
  storeId: string,
  rootKeyId: Uint8Array,
  rootKeyKdf: Head['rootKeyKdf'],
  rootKeyParams: Uint8Array | null,
  createdAt: bigint,
  manifest: string,
];

/** Writes the store record; runs inside the transaction that writes the records of the manifest. */
export function writeHead({ connection }: KeystoreDatabase, keys: StoreKeys, head: Head, manifest: Manifest): void {
  const { storeId, rootKeyKdf, rootKeyParams, createdAt } = head;
  const json = JSON.stringify([...manifest]);
  const row: Row = [storeId, keys.rootKeyId, rootKeyKdf, rootKeyParams, BigInt(createdAt), json];
  connection.prepare(WRITE_HEAD).run(...row, native.hmac(keys.recordMac, headBytes(row)));
}

/** Reads and verifies the store record. Throws DekdError, another one for a wrong root key than for an edited record. */
export function readHead(
  { connection, directory }: KeystoreDatabase,
  keys: StoreKeys,
): { head: Head; manifest: Manifest } {
  const [columns] = readRows(connection, READ_HEAD);
  if (columns === undefined) throw keystoreFault(directory, `the store record is missing; ${DAMAGED}`);
  const row = columns.slice(0, -1) as unknown as Row;
  const mac = columns.at(-1) as Uint8Array;
  const [storeId, rootKeyId, rootKeyKdf, rootKeyParams, createdAt, manifest] = row;
  const verifies = (id: Uint8Array): boolean =>
    native.hmacVerify(keys.recordMac, headBytes([storeId, id, rootKeyKdf, rootKeyParams, createdAt, manifest]), mac);
  const sameRootKey = keys.rootKeyId.equals(rootKeyId);
  // With the right root key and an edited id, the record verifies once the id is the right one again.
  if (!sameRootKey && !verifies(keys.rootKeyId)) {
    throw keystoreFault(
      directory,
      `this root key (id ${shortRootKeyId(keys.rootKeyId)}) is not the store's (id ${shortRootKeyId(rootKeyId)}); ` +
        'name the root key that the store was made with',
    );
  }
  if (!sameRootKey || !verifies(rootKeyId)) {
    throw keystoreFault(directory, `the store record was changed outside dekd; ${DAMAGED}`);
  }
  return {
    head: { storeId, rootKeyKdf, rootKeyParams, createdAt: Number(createdAt) },
    manifest: new Map(JSON.parse(manifest) as [string, string][]),
  };
}

function headBytes(row: Row): Buffer {
  return encodeFields(['store', BigInt(SCHEMA_VERSION), ...(row as readonly Field[])]);
}
