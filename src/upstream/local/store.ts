import { randomBytes } from 'node:crypto';
import { native } from '../../crypto/native.ts';
import { createSchema, type KeystoreDatabase, readRows, transaction } from './database.ts';
import { keystoreFault } from './errors.ts';
import { DAMAGED, type Head, type Manifest, readHead, writeHead } from './head.ts';
import { RecordChecker, recordBytes } from './record-checker.ts';
import { KEKS, type KekRecord, type Table, VERSIONS, type VersionRecord } from './records.ts';
import type { StoreKeys } from './store-keys.ts';

// Every record carries a MAC over all its columns; the store record holds the manifest, which lists the MAC of every record, under a MAC
// of its own. So an edited row fails its MAC, and an older, added or missing one does not match the manifest. All of it is checked once,
// when the store is opened: from then on the process holds SQLite's exclusive lock and works from its own memory, never from the file.
// An older copy of the whole file is not told from the present one.

export interface StoredKek {
  readonly record: KekRecord;
  /** By number, ascending. */
  readonly versions: ReadonlyMap<number, VersionRecord>;
}

/** Records to add or replace, in this order. */
export interface Change {
  readonly keks: readonly KekRecord[];
  readonly versions: readonly VersionRecord[];
}

const STORE_ID_BYTES = 8;

/** Makes a store in an empty database; its id is made here. */
export function createStore(database: KeystoreDatabase, keys: StoreKeys, made: Omit<Head, 'storeId'>): Keystore {
  const head: Head = { ...made, storeId: randomBytes(STORE_ID_BYTES).toString('hex') };
  transaction(database.connection, () => {
    createSchema(database.connection);
    writeHead(database, keys, head, new Map());
  });
  return new Keystore(database, keys, head, new Map());
}

/** Reads and verifies a store. Throws DekdError that names the record which is not as dekd left it. */
export function loadStore(database: KeystoreDatabase, keys: StoreKeys): Keystore {
  const { head, manifest } = readHead(database, keys);
  const store = new Keystore(database, keys, head, manifest);
  store.load();
  return store;
}

export class Keystore {
  readonly #database: KeystoreDatabase;
  readonly #keys: StoreKeys;
  readonly #head: Head;
  readonly #keks = new Map<string, { record: KekRecord; versions: Map<number, VersionRecord> }>();
  #manifest: Manifest;

  constructor(database: KeystoreDatabase, keys: StoreKeys, head: Head, manifest: Manifest) {
    this.#database = database;
    this.#keys = keys;
    this.#head = head;
    this.#manifest = manifest;
  }

  get id(): string {
    return this.#head.storeId;
  }

  names(): string[] {
    return [...this.#keks.keys()].sort();
  }

  kek(name: string): StoredKek | undefined {
    return this.#keks.get(name);
  }

  /** Puts a change on disk, all or nothing. Throws what node:sqlite throws; memory is then as before. */
  write(change: Change): void {
    const manifest = new Map(this.#manifest);
    transaction(this.#database.connection, () => {
      for (const record of change.keks) this.#writeRecord(KEKS, record, manifest);
      for (const record of change.versions) this.#writeRecord(VERSIONS, record, manifest);
      writeHead(this.#database, this.#keys, this.#head, manifest);
    });
    this.#manifest = manifest;
    this.#remember(change);
  }

  /** Verifies every record; called once, before the store is used. */
  load(): void {
    const { connection, directory } = this.#database;
    const checker = new RecordChecker(this.id, this.#keys.recordMac, this.#manifest);
    const keks = checker.check(KEKS, readRows(connection, KEKS.select));
    const versions = checker.check(VERSIONS, readRows(connection, VERSIONS.select));
    const [damage] = checker.finish();
    if (damage !== undefined) throw keystoreFault(directory, `${damage.what} ${damage.problem}; ${DAMAGED}`);
    this.#remember({ keks, versions });
  }

  close(): void {
    this.#database.connection.close();
  }

  #remember({ keks, versions }: Change): void {
    for (const record of keks) {
      this.#keks.set(record.name, { record, versions: this.#keks.get(record.name)?.versions ?? new Map() });
    }
    for (const record of versions) this.#keks.get(record.kek)?.versions.set(record.version, record);
  }

  #writeRecord<Row>(table: Table<Row>, record: Row, manifest: Map<string, string>): void {
    const row = table.toRow(record);
    const mac = native.hmac(this.#keys.recordMac, recordBytes(table.name, this.id, row));
    this.#database.connection.prepare(table.upsert).run(...row, mac);
    manifest.set(table.idOf(row), mac.toString('hex'));
  }
}
