import { closeSync, copyFileSync, mkdtempSync, openSync, readSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { DekdError } from '../../errors.ts';
import { integrityProblems, iterateRows, lockConnection, schemaProblems, schemaVersion } from './database.ts';
import { DATABASE_FILE } from './directory.ts';
import { isDamage, keystoreFault, openingError, READONLY_ROLLBACK } from './errors.ts';
import type { Field } from './fields.ts';
import { READ_HEAD } from './head.ts';
import type { Damage } from './record-checker.ts';
import { KEKS, PARTITIONS, VERSIONS } from './records.ts';
import { SCHEMA_VERSION } from './schema.ts';

const MAX_INTEGRITY_PROBLEMS = 100;
const TABLES = [KEKS, VERSIONS, PARTITIONS];

/** A keystore's rows as SQLite gives them. Nothing of it is verified. */
export interface StoreSnapshot {
  /** Columns of READ_HEAD. */
  readonly head: readonly Field[] | undefined;
  /** By table, columns of its `select`. */
  readonly rows: ReadonlyMap<string, readonly (readonly Field[])[]>;
  /** What is wrong with the file itself: rows that could not be read are not in `rows`. */
  readonly damages: readonly Damage[];
}

/**
 * Reads a keystore file in one go, without changing it or anything beside it. What a killed agent left half done is undone in a copy.
 * `name` is how messages call it. Not for a process that has the store open itself: closing the file drops its lock (fcntl(2)). Throws
 * DekdError when an agent has it open, and for what is no keystore of this version.
 */
export function readSnapshot(name: string, file: string): StoreSnapshot {
  try {
    refuseWriteAheadLog(name, file);
    return snapshotOf(name, file);
  } catch (error) {
    if ((error as { errcode?: unknown }).errcode !== READONLY_ROLLBACK) throw openingError(name, error);
    return recoveredSnapshot(name, file);
  }
}

/** dekd never uses one, and opening it, even only to read, makes files. Read here before SQLite has the file open. */
function refuseWriteAheadLog(name: string, file: string): void {
  const descriptor = openReadable(name, file);
  try {
    // "File format write version" of the header (sqlite.org/fileformat2.html): 2 = write-ahead log.
    const header = Buffer.alloc(20);
    if (readSync(descriptor, header) < header.length || header[18] !== 2) return;
  } finally {
    closeSync(descriptor);
  }
  throw keystoreFault(name, `${DATABASE_FILE} was switched to a write-ahead log outside dekd; put back a backup`);
}

function openReadable(name: string, file: string): number {
  try {
    return openSync(file, 'r');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'EACCES' && code !== 'EPERM') throw error;
    const problem = `cannot be read by uid ${process.geteuid?.()} (${code}); run this as the user that dekd runs as`;
    throw new DekdError('INVALID_REQUEST', `keystore ${name}: ${problem}`, { cause: error });
  }
}

function snapshotOf(name: string, file: string): StoreSnapshot {
  const connection = new DatabaseSync(file, { readOnly: true, timeout: 0, defensive: true });
  try {
    connection.exec('PRAGMA trusted_schema = OFF');
    // One transaction: an agent that starts meanwhile waits outside.
    connection.exec('BEGIN');
    const damages = fileDamages(name, connection);
    return { ...readTables(connection, damages), damages };
  } finally {
    connection.close();
  }
}

/** What SQLite itself finds wrong, else what differs in the tables. Throws while an agent holds the file. */
function fileDamages(name: string, connection: DatabaseSync): Damage[] {
  const damages: Damage[] = [];
  for (const problem of reading(damages, () => integrityProblems(connection, MAX_INTEGRITY_PROBLEMS))) {
    damages.push({ what: DATABASE_FILE, problem });
  }
  if (damages.length > 0) return damages;
  const version = schemaVersion(name, connection);
  const changes = schemaProblems(connection, version);
  if (version < SCHEMA_VERSION && changes.length === 0) {
    const problem =
      version === 0
        ? 'has no store in it; name the directory of a store'
        : `was written by an older dekd (schema ${version}); start dekd on it once, which brings it up to date`;
    throw keystoreFault(name, problem);
  }
  return changes.map((change) => ({
    what: DATABASE_FILE,
    problem: `has tables that were changed outside dekd (${change})`,
  }));
}

/** Rows up to the first one that cannot be read, which is a damage more. */
function readTables(connection: DatabaseSync, damages: Damage[]): Pick<StoreSnapshot, 'head' | 'rows'> {
  const read = (select: string) => reading(damages, () => iterateRows(connection, select));
  const [head] = read(READ_HEAD);
  return { head, rows: new Map(TABLES.map(({ name, select }) => [name, read(select)])) };
}

function reading<Item>(damages: Damage[], items: () => Iterable<Item>): Item[] {
  const read: Item[] = [];
  try {
    for (const item of items()) read.push(item);
  } catch (error) {
    if (!isDamage(error)) throw error;
    const problem = `cannot be read to its end (${error.message})`;
    if (!damages.some((known) => known.problem === problem)) damages.push({ what: DATABASE_FILE, problem });
  }
  return read;
}

/** A copy may be changed: SQLite rolls the journal back in it, as the next start will do in the store itself. */
function recoveredSnapshot(name: string, file: string): StoreSnapshot {
  const directory = mkdtempSync(join(tmpdir(), 'dekd-keystore-'));
  try {
    const copy = join(directory, DATABASE_FILE);
    const journal = `${file}-journal`;
    const before = identity(journal);
    copyFileSync(file, copy);
    copyFileSync(journal, `${copy}-journal`);
    // Until it is gone, the journal can undo whatever a start has done to the file meanwhile.
    if (identity(journal) !== before) throw keystoreFault(name, 'an agent has just been started on it; stop that one');
    rollBack(copy);
    return snapshotOf(name, copy);
  } catch (error) {
    throw openingError(name, error);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function rollBack(file: string): void {
  const connection = new DatabaseSync(file, { timeout: 0 });
  try {
    lockConnection(connection);
  } finally {
    connection.close();
  }
}

function identity(file: string): string {
  const stats = statSync(file, { throwIfNoEntry: false });
  return `${stats?.ino} ${stats?.size} ${stats?.mtimeMs}`;
}
