import { DatabaseSync } from 'node:sqlite';
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
    connection = new DatabaseSync(prepareDirectory(directory), { timeout: 0, defensive: true });
    configure(connection);
    const schemaVersion = checkSchema(directory, connection);
    return { directory, connection, isNew: schemaVersion === 0, schemaVersion };
  } catch (error) {
    connection?.close();
    throw openingError(directory, error);
  }
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
  const statement = connection.prepare(select);
  statement.setReadBigInts(true);
  statement.setReturnArrays(true);
  return statement.all() as unknown as Field[][];
}

function configure(connection: DatabaseSync): void {
  connection.exec('PRAGMA locking_mode = EXCLUSIVE');
  connection.exec('PRAGMA journal_mode = DELETE');
  connection.exec('PRAGMA synchronous = FULL');
  connection.exec('PRAGMA secure_delete = ON');
  connection.exec('PRAGMA foreign_keys = ON');
  connection.exec('PRAGMA trusted_schema = OFF');
  // In exclusive mode the lock that this takes stays until the connection is closed.
  connection.exec('BEGIN EXCLUSIVE; COMMIT');
}

/** Returns the version of the schema, 0 for an empty database; throws when it is not a sound keystore of a known version. */
function checkSchema(directory: string, connection: DatabaseSync): number {
  const integrity = readRows(connection, 'PRAGMA integrity_check(1)').flat().join();
  if (integrity !== 'ok') {
    throw keystoreFault(directory, `keystore.db is damaged (${integrity}); put back a backup of the directory`);
  }
  const version = pragma(connection, 'user_version');
  const statements = readRows(connection, 'SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid').flat();
  if (version === 0 && statements.length === 0) return 0;
  if (pragma(connection, 'application_id') !== APPLICATION_ID) {
    throw keystoreFault(directory, 'keystore.db is the database of another program; name another directory');
  }
  if (version > SCHEMA_VERSION) {
    throw keystoreFault(
      directory,
      `was written by a newer dekd (schema ${version}, this one reads ${SCHEMA_VERSION}); run that dekd`,
    );
  }
  const expected = version === SCHEMA_VERSION ? SCHEMA : version === 1 ? SCHEMA_1 : undefined;
  if (expected === undefined || statements.join('\n') !== expected.join('\n')) {
    throw keystoreFault(directory, 'its tables were changed outside dekd; put back a backup of the directory');
  }
  return version;
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
