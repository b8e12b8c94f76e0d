import { randomBytes } from 'node:crypto';
import { DekdError } from '../../errors.ts';
import { createSchema, type KeystoreDatabase, readRows, transaction } from './database.ts';
import { unsettledChange, unsyncedChange } from './errors.ts';
import { type Head, type Manifest, writeHead } from './head.ts';
import { rewrapKek } from './kek-keys.ts';
import { partitionId } from './partitions.ts';
import { RecordWriter } from './record-writer.ts';
import { KEKS, type KekRecord, PARTITIONS, type PartitionRecord, VERSIONS, type VersionRecord } from './records.ts';
import type { RootKeyKdf } from './root-key-kdf.ts';
import type { StoreKeys } from './store-keys.ts';
import { copyStore, manifestText, readStore } from './store-reader.ts';

// Every record carries a MAC over all its columns; the store record holds the manifest, which lists the MAC of every record, under a MAC
// of its own. So an edited row fails its MAC, and an older, added or missing one does not match the manifest. All of it is checked once,
// when the store is opened: from then on the process holds SQLite's exclusive lock and works from its own memory, never from the file.
// An older copy of the whole file is not told from the present one.

export interface StoredKek {
  readonly record: KekRecord;
  /** By number, ascending. */
  readonly versions: ReadonlyMap<number, VersionRecord>;
  /** Disabled partitions, by partitionId. */
  readonly partitions: ReadonlyMap<string, PartitionRecord>;
}

/** Records to add or replace, in this order, and records to take out. */
export interface Change {
  readonly keks?: readonly KekRecord[];
  readonly versions?: readonly VersionRecord[];
  readonly partitions?: readonly PartitionRecord[];
  readonly removedPartitions?: readonly PartitionRecord[];
}

interface Entry {
  readonly record: KekRecord;
  readonly versions: Map<number, VersionRecord>;
  readonly partitions: Map<string, PartitionRecord>;
}

/** What a transaction writes, and what memory becomes once it is on disk. */
interface Commit {
  readonly keys: StoreKeys;
  readonly head: Head;
  readonly manifest: Map<string, string>;
  readonly change: Change;
}

const STORE_ID_BYTES = 8;

/** Makes a store in an empty database; its id is made here. */
export function createStore(database: KeystoreDatabase, keys: StoreKeys, made: Omit<Head, 'storeId'>): Keystore {
  const head: Head = { ...made, storeId: randomBytes(STORE_ID_BYTES).toString('hex') };
  transaction(database.connection, () => {
    createSchema(database.connection);
    writeHead(database, keys, head, new Map());
  });
  return new Keystore(database, keys, head, new Map(), {});
}

/** Reads and verifies a store. Throws DekdError that names the record which is not as dekd left it. */
export function loadStore(database: KeystoreDatabase, keys: StoreKeys): Keystore {
  const { head, manifest, ...content } = readStore(database, keys);
  return new Keystore(database, keys, head, manifest, content);
}

export class Keystore {
  readonly #database: KeystoreDatabase;
  readonly #keks = new Map<string, Entry>();
  #keys: StoreKeys;
  #head: Head;
  #manifest: Manifest;
  /** A transaction of which it is not known whether it is on disk. */
  #unsettled: Commit | undefined;
  /** Called with the KEKs of a change that memory has from now on although its write threw, or is about to. */
  onLateChange: ((keks: readonly string[]) => void) | undefined = undefined;

  constructor(database: KeystoreDatabase, keys: StoreKeys, head: Head, manifest: Manifest, content: Change) {
    this.#database = database;
    this.#keys = keys;
    this.#head = head;
    this.#manifest = manifest;
    this.#remember(content);
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

  /**
   * Puts a change on disk, all or nothing. Throws what node:sqlite throws: nothing is changed then; and DekdError, which says what is, or that
   * nobody knows yet.
   */
  write(change: Change): void {
    this.#refuseUnsettled();
    const commit = { keys: this.#keys, head: this.#head, manifest: new Map(this.#manifest), change };
    this.#commit(commit, () => this.#writeChange(commit));
  }

  /**
   * Wraps every KEK and writes every record under `keys`, in one transaction. From then on the store uses these keys, and the caller frees the
   * former ones. Throws as `write`, and what the native addon throws.
   */
  rekey(keys: StoreKeys, kdf: RootKeyKdf): void {
    this.#refuseUnsettled();
    const entries = [...this.#keks.values()];
    const versions = entries.flatMap((entry) => [...entry.versions.values()]);
    const change = {
      keks: entries.map(({ record }) => record),
      versions: versions.map((version) => this.#rewrapped(version, keys)),
      partitions: entries.flatMap(({ partitions }) => [...partitions.values()]),
    };
    const commit = { keys, head: { ...this.#head, ...kdf }, manifest: new Map<string, string>(), change };
    this.#commit(commit, () => {
      this.#clearVersions();
      this.#writeChange(commit);
    });
  }

  /** A copy of the whole database, read back and verified. Throws DekdError when the file is not as dekd left it. */
  backup(): Buffer {
    return copyStore(this.#database, this.#keys, this.#manifest);
  }

  close(): void {
    this.#database.connection.close();
  }

  /**
   * A transaction whose last sync failed may be on disk all the same. Memory that does not know it would write records into a store that has
   * others, so what lies there decides, before anything else is written. True when it is there. Throws while that cannot be read.
   */
  settle(): boolean {
    const commit = this.#unsettled;
    if (commit === undefined || !this.#isOnDisk(commit)) return false;
    this.onLateChange?.(keksOf(commit.change));
    return true;
  }

  /** What the caller wants was made from memory as it was before. */
  #refuseUnsettled(): void {
    if (!this.settle()) return;
    const problem = 'an earlier change that seemed to fail is on the disk after all; look at the key, and try again';
    throw new DekdError('UPSTREAM_UNAVAILABLE', `keystore ${this.#database.directory}: ${problem}`);
  }

  #commit(commit: Commit, work: () => void): void {
    let isWritten = false;
    try {
      transaction(this.#database.connection, () => {
        work();
        isWritten = true;
      });
      this.#adopt(commit);
    } catch (error) {
      // Only the commit itself can fail and be on disk; before it, the manifest that would tell is not even whole.
      if (!isWritten) throw error;
      this.#unsettled = commit;
      if (!this.#confirm(commit)) throw this.#unconfirmed(commit, error);
    }
  }

  /** Whether a transaction that failed is on disk after all, and stays there. */
  #confirm(commit: Commit): boolean {
    try {
      if (!this.#isOnDisk(commit)) return false;
      // A transaction more syncs what the failed one did not.
      transaction(this.#database.connection, () => writeHead(this.#database, this.#keys, this.#head, this.#manifest));
      return true;
    } catch {
      return false;
    }
  }

  #unconfirmed(commit: Commit, error: unknown): unknown {
    const { directory } = this.#database;
    if (this.#unsettled !== undefined) return unsettledChange(directory, error);
    if (this.#manifest !== commit.manifest) return error;
    this.onLateChange?.(keksOf(commit.change));
    return unsyncedChange(directory, error);
  }

  /** Whether the unsettled transaction is on disk: memory has it from then on. */
  #isOnDisk(commit: Commit): boolean {
    const [row] = readRows(this.#database.connection, 'SELECT manifest FROM store');
    this.#unsettled = undefined;
    const isOnDisk = row?.[0] === manifestText(commit.manifest);
    if (isOnDisk) this.#adopt(commit);
    return isOnDisk;
  }

  #adopt({ keys, head, manifest, change }: Commit): void {
    this.#keys = keys;
    this.#head = head;
    this.#manifest = manifest;
    this.#remember(change);
  }

  #remember({ keks = [], versions = [], partitions = [], removedPartitions = [] }: Change): void {
    for (const record of keks) {
      const entry = this.#keks.get(record.name) ?? { versions: new Map(), partitions: new Map() };
      this.#keks.set(record.name, { ...entry, record });
    }
    for (const record of versions) this.#keks.get(record.kek)?.versions.set(record.version, record);
    for (const record of partitions) this.#keks.get(record.kek)?.partitions.set(partitionIdOf(record), record);
    for (const record of removedPartitions) this.#keks.get(record.kek)?.partitions.delete(partitionIdOf(record));
  }

  #writeChange({ keys, head, manifest, change }: Commit): void {
    const { keks = [], versions = [], partitions = [], removedPartitions = [] } = change;
    const writer = new RecordWriter(this.#database.connection, this.id, keys.recordMac, manifest);
    writer.write(KEKS, keks);
    writer.write(VERSIONS, this.#versionsToWrite(versions));
    writer.write(PARTITIONS, partitions);
    writer.remove(PARTITIONS, removedPartitions);
    writeHead(this.#database, keys, head, manifest);
  }

  /**
   * When a key is destroyed: all versions, into an emptied table. SQLite moves rows between pages without overwriting where they lay
   * (secure_delete covers what is deleted only), so a copy of the key may lie in any page of the table; emptying it zeroes them all.
   */
  #versionsToWrite(changed: readonly VersionRecord[]): readonly VersionRecord[] {
    if (changed.every(({ wrappedKey }) => wrappedKey !== null)) return changed;
    this.#clearVersions();
    const isChanged = new Set(changed.map(({ kek, version }) => `${kek}/${version}`));
    const others = [...this.#keks.values()]
      .flatMap(({ versions }) => [...versions.values()])
      .filter(({ kek, version }) => !isChanged.has(`${kek}/${version}`));
    return [...others, ...changed];
  }

  #clearVersions(): void {
    this.#database.connection.exec('DELETE FROM kek_version');
  }

  #rewrapped(record: VersionRecord, keys: StoreKeys): VersionRecord {
    const { wrappedKey } = record;
    if (wrappedKey === null) return record;
    return {
      ...record,
      wrappedKey: rewrapKek(this.id, { ...record, wrappedKey }, this.#keys.kekWrap, keys.kekWrap),
    };
  }
}

function keksOf({ keks = [], versions = [], partitions = [], removedPartitions = [] }: Change): string[] {
  const names = [
    ...keks.map(({ name }) => name),
    ...[...versions, ...partitions, ...removedPartitions].map(({ kek }) => kek),
  ];
  return [...new Set(names)];
}

function partitionIdOf({ keyName, pairs }: PartitionRecord): string {
  return partitionId(keyName, pairs);
}
