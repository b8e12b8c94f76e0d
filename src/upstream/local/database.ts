import { statSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { DekdError } from '../../errors.ts';
import { prepareDirectory } from './directory.ts';
import { keystoreFault, openingError } from './errors.ts';
import type { Field } from './fields.ts';
import { APPLICATION_ID, SCHEMA, SCHEMA_VERSION } from './schema.ts';
import { SCHEMA_1 } from './schema-1.ts';

// node:sqlite, set up for a keystore: every change is on disk when it returns (synchronous=FULL), what is replaced is overwritten
// (secure_delete), and the lock is held from opening to closing, so that a second process is refused by SQLite itself.
// Nothing else in this process may open and close keystore.db: closing any descriptor of a file drops the process's POSIX locks on it.

export interface KeystoreDatabase {
  readonly directory: string;
  readonly connection: DatabaseSync;
  /** No store was made here yet. */
  readonly isNew: boolean;
  /** Of the store that lies here; one below SCHEMA_VERSION must be migrated before it is loaded. */
  readonly schemaVersion: number;
}

/** Opens and locks the database in `directory`, made when absent. Throws DekdError. */
export function openDatabase(directory: string): KeystoreDatabase {
  let connection: DatabaseSync | undefined;
  try {
    const database = prepareDirectory(directory);
    const found = statSync(database, { bigint: true });
    connection = new DatabaseSync(database, { timeout: 0, defensive: true });
    lockConnection(connection);
    refuseReplaced(directory, database, found.ino);
    const schemaVersion = checkSchema(directory, connection);
    return { directory, connection, isNew: schemaVersion === 0, schemaVersion };
  } catch (error) {
    connection?.close();
    throw openingError(directory, error);
  }
}

/** A restore that ended between the opening and the locking has put another file in the place of the one that is locked now. */
function refuseReplaced(directory: string, database: string, inode: bigint): void {
  if (statSync(database, { bigint: true, throwIfNoEntry: false })?.ino === inode) return;
  const problem = 'keystore.db was replaced or removed while it was opened; try again';
  throw new DekdError('UPSTREAM_UNAVAILABLE', `keystore ${directory}: ${problem}`);
}

/** Makes the tables. Runs inside the transaction that writes the store record, so that no store without one is ever seen. */
export function createSchema(connection: DatabaseSync): void {
  for (const statement of SCHEMA) connection.exec(statement);
  connection.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${SCHEMA_VERSION}`);
}

/** Runs `work` in one transaction: all of it is on disk afterwards, or nothing. */
export function transaction(connection: DatabaseSync, work: () => void): void {
  connection.exec('BEGIN IMMEDIATE');
  try {
    work();
    connection.exec('COMMIT');
  } catch (error) {
    rollback(connection);
    throw error;
  }
}

/** Every row of a SELECT, columns in order. */
export function readRows(connection: DatabaseSync, select: string): Field[][] {
  return [...iterateRows(connection, select)];
}

/** The same one by one: those before a damaged page can be had. */
export function iterateRows(connection: DatabaseSync, select: string): Iterable<Field[]> {
  const statement = connection.prepare(select);
  statement.setReadBigInts(true);
  statement.setReturnArrays(true);
  return statement.iterate() as unknown as Iterable<Field[]>;
}

/** Takes the lock of the agent that works with a store. A journal that a killed one left is rolled back. */
export function lockConnection(connection: DatabaseSync): void {
  connection.exec('PRAGMA locking_mode = EXCLUSIVE');
  connection.exec('PRAGMA journal_mode = DELETE');
  // Under the exclusive lock the journal is deleted only in the end; without this the old rows, wrapped keys too, stay in it until then.
  connection.exec('PRAGMA journal_size_limit = 0');
  connection.exec('PRAGMA synchronous = FULL');
  connection.exec('PRAGMA secure_delete = ON');
  connection.exec('PRAGMA foreign_keys = ON');
  connection.exec('PRAGMA trusted_schema = OFF');
  // In exclusive mode the lock that this takes stays until the connection is closed.
  connection.exec('BEGIN EXCLUSIVE; COMMIT');
}

/** Returns the version of the schema, 0 for an empty database; throws when it is not a sound keystore of a known version. */
function checkSchema(directory: string, connection: DatabaseSync): number {
  const [damage] = integrityProblems(connection, 1);
  if (damage !== undefined) {
    throw keystoreFault(directory, `keystore.db is damaged (${damage}); put back a backup of the directory`);
  }
  const version = schemaVersion(directory, connection);
  const [change] = schemaProblems(connection, version);
  if (change === undefined) return version;
  throw keystoreFault(
    directory,
    `its tables were changed outside dekd (${change}); put back a backup of the directory`,
  );
}

/** What SQLite finds wrong in the file, CHECK and NOT NULL constraints included; at most `max` lines, none for a sound one. */
export function integrityProblems(connection: DatabaseSync, max: number): string[] {
  const lines = readRows(connection, `PRAGMA integrity_check(${max})`).flat().map(String);
  return lines.join() === 'ok' ? [] : lines;
}

/** 0 for an empty database. Throws when it is another program's, or of a newer dekd. */
export function schemaVersion(directory: string, connection: DatabaseSync): number {
  const version = pragma(connection, 'user_version');
  if (version === 0 && schemaStatements(connection).length === 0) return 0;
  if (pragma(connection, 'application_id') !== APPLICATION_ID) {
    throw keystoreFault(directory, 'keystore.db is the database of another program; name another directory');
  }
  if (version <= SCHEMA_VERSION) return version;
  throw keystoreFault(
    directory,
    `was written by a newer dekd (schema ${version}, this one reads ${SCHEMA_VERSION}); run that dekd`,
  );
}

/** How the tables differ from those that a dekd of that schema made. Their order is VACUUM's to change. */
export function schemaProblems(connection: DatabaseSync, version: number): string[] {
  if (version === 0) return schemaStatements(connection).length === 0 ? [] : ['user_version is 0'];
  const expected = version === SCHEMA_VERSION ? SCHEMA : version === 1 ? SCHEMA_1 : [];
  const found = schemaStatements(connection);
  const missing = expected.filter((statement) => !found.includes(statement)).map((one) => `missing: ${shortened(one)}`);
  const added = found.filter((statement) => !expected.includes(statement)).map((one) => `added: ${shortened(one)}`);
  return [...missing, ...added];
}

function schemaStatements(connection: DatabaseSync): string[] {
  return readRows(connection, 'SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid').flat().map(String);
}

/** `CREATE TABLE kek (…` → `CREATE TABLE kek`. */
function shortened(statement: string): string {
  return /^[\w ]{0,80}/.exec(statement)?.[0].trim() ?? '';
}

function pragma(connection: DatabaseSync, name: string): number {
  return Number(readRows(connection, `PRAGMA ${name}`)[0]?.[0]);
}

function rollback(connection: DatabaseSync): void {
  try {
    // SQLite has rolled back by itself after some faults of the disk (sqlite.org/lang_transaction.html).
    if (connection.isTransaction) connection.exec('ROLLBACK');
  } catch {
    // The fault that led here is the one to report; an unfinished transaction is undone by the next opening.
  }
}
