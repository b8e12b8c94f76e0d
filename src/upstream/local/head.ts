import { native } from '../../crypto/native.ts';
import { type KeystoreDatabase, readRows } from './database.ts';
import { keystoreFault } from './errors.ts';
import { encodeFields, type Field } from './fields.ts';
import type { RootKeyKdf } from './root-key-kdf.ts';
import { SCHEMA_VERSION } from './schema.ts';
import { type StoreKeys, shortRootKeyId } from './store-keys.ts';

// The store record: what the store is, how its root key is made from what the operator gives, and the manifest, all under one MAC.

/** What the store record says of the store itself. */
export interface Head extends RootKeyKdf {
  /** 16 hex digits. */
  readonly storeId: string;
  /** Unix milliseconds. */
  readonly createdAt: number;
}

/** Id and MAC (hex) of every record. */
export type Manifest = ReadonlyMap<string, string>;

export const DAMAGED = 'put back a backup of the directory';

const COLUMNS = 'store_id, root_key_id, root_key_kdf, root_key_params, created_at, manifest, mac';
export const READ_HEAD = `SELECT ${COLUMNS} FROM store`;
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

/** How the root key comes about. Needed to have the key that verifies it, so nothing of it is verified. Throws DekdError without a record. */
export function readRootKeyKdf({ connection, directory }: KeystoreDatabase): RootKeyKdf {
  const kdf = rootKeyKdfOf(readRows(connection, READ_HEAD)[0]);
  if (kdf === undefined) throw keystoreFault(directory, `${MISSING}; ${DAMAGED}`);
  return kdf;
}

/** The same of columns of READ_HEAD; undefined when there are none of that kind. */
export function rootKeyKdfOf(columns: readonly Field[] | undefined): RootKeyKdf | undefined {
  if (columns === undefined) return undefined;
  const [, , rootKeyKdf, rootKeyParams] = columns as unknown as Row;
  return rootKeyKdf === 'raw' || rootKeyKdf === 'scrypt' ? { rootKeyKdf, rootKeyParams } : undefined;
}

/** Reads and verifies the store record. Throws DekdError, another one for a wrong root key than for an edited record. */
export function readHead(
  { connection, directory }: KeystoreDatabase,
  keys: StoreKeys,
): { head: Head; manifest: Manifest } {
  const [columns] = readRows(connection, READ_HEAD);
  const verified = verifyHead(columns, keys);
  if (verified.problem !== undefined) throw keystoreFault(directory, verified.problem);
  return verified;
}

export type VerifiedHead = { head: Head; manifest: Manifest; problem?: undefined } | { problem: string };

/** `columns` of READ_HEAD: what they say, or what is wrong with them or with the root key. */
export function verifyHead(columns: readonly Field[] | undefined, keys: StoreKeys): VerifiedHead {
  if (columns === undefined) return { problem: `${MISSING}; ${DAMAGED}` };
  const row = columns.slice(0, -1) as unknown as Row;
  const mac = columns.at(-1) as Uint8Array;
  const [storeId, rootKeyId, rootKeyKdf, rootKeyParams, createdAt, manifest] = row;
  const verifies = (id: Uint8Array): boolean =>
    native.hmacVerify(keys.recordMac, headBytes([storeId, id, rootKeyKdf, rootKeyParams, createdAt, manifest]), mac);
  const sameRootKey = keys.rootKeyId.equals(rootKeyId);
  // With the right root key and an edited id, the record verifies once the id is the right one again.
  if (!sameRootKey && !verifies(keys.rootKeyId)) {
    return { problem: wrongRootKey(rootKeyKdf, keys.rootKeyId, rootKeyId) };
  }
  if (!sameRootKey || !verifies(rootKeyId)) {
    return { problem: `the store record was changed outside dekd; ${DAMAGED}` };
  }
  return {
    head: { storeId, rootKeyKdf, rootKeyParams, createdAt: Number(createdAt) },
    manifest: new Map(JSON.parse(manifest) as [string, string][]),
  };
}

const MISSING = 'the store record is missing';

function wrongRootKey(kdf: RootKeyKdf['rootKeyKdf'], given: Uint8Array, stored: Uint8Array): string {
  const ids = `(id ${shortRootKeyId(given)}) is not the store's (id ${shortRootKeyId(stored)})`;
  if (kdf === 'raw') return `this root key ${ids}; name the root key that the store was made with`;
  return `the root key that this passphrase makes ${ids}; the passphrase is wrong, or the salt in the store record was changed`;
}

function headBytes(row: Row): Buffer {
  return encodeFields(['store', BigInt(SCHEMA_VERSION), ...(row as readonly Field[])]);
}
