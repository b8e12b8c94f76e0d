import { randomBytes } from 'node:crypto';
import { existsSync, linkSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { DekdError } from '../../errors.ts';
import { checkFile, type KeystoreFile, type KeystoreReport, refuseDamaged } from './check.ts';
import { readRows } from './database.ts';
import { checkDatabaseFile, createPrivateFile, DATABASE_FILE, makeDirectory, syncDirectory } from './directory.ts';
import { isDamage, keystoreFault, openingError } from './errors.ts';
import { isHotJournal } from './journal.ts';
import type { RootKeySource } from './options.ts';

export interface RestoreOptions {
  /** A backup of a keystore. */
  readonly from: string;
  /** Made with mode 0700 when absent. */
  readonly directory: string;
  readonly rootKey: RootKeySource;
  /** Puts the backup in the place of a store, which stays beside it under another name. */
  readonly replace: boolean;
  /** Unix milliseconds, for that name. */
  readonly now: number;
}

export interface Restored {
  readonly report: KeystoreReport;
  /** Where the store that was there lies now. */
  readonly replaced: string | undefined;
}

/**
 * Puts a backup into a keystore's directory once every record of it was verified and every key unwrapped: at once and whole, or not at all.
 * Throws DekdError: for a damaged backup, another root key, and a store that is there already or that an agent has open.
 */
export function restoreKeystore(options: RestoreOptions): Restored {
  const { directory } = options;
  const database = join(directory, DATABASE_FILE);
  try {
    makeDirectory(directory);
    const taken = takePlace(database);
    if (taken !== undefined) return install(options, database, taken);
    checkDatabaseFile(directory, database);
    const held = lock(database);
    try {
      return replace(options, database, held);
    } finally {
      held?.close();
    }
  } catch (error) {
    throw openingError(directory, error);
  }
}

/**
 * Where no database is: an empty one, which has its lock before it has its name, so that an agent that starts meanwhile is refused. One that a
 * killed restore leaves is no store. Undefined when there is a database.
 */
function takePlace(database: string): DatabaseSync | undefined {
  const empty = `${database}.empty-${randomBytes(8).toString('hex')}`;
  let connection: DatabaseSync | undefined;
  try {
    createPrivateFile(empty);
    connection = lock(empty);
    linkSync(empty, database);
    return connection;
  } catch (error) {
    connection?.close();
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return undefined;
    throw error;
  } finally {
    rmSync(empty, { force: true });
  }
}

/** In a place that was taken; given back, before its lock is, when nothing comes into it. */
function install(options: RestoreOptions, database: string, taken: DatabaseSync): Restored {
  let isInPlace = false;
  try {
    return withVerifiedCopy(options, database, (incoming) => {
      setJournalAside(database, replacedName(database, options.now));
      renameSync(incoming, database);
      isInPlace = true;
      return undefined;
    });
  } finally {
    if (!isInPlace) rmSync(database, { force: true });
    taken.close();
  }
}

/** The old store gets a second name before the new one takes the first: there is a whole store under it at any moment. */
function replace(options: RestoreOptions, database: string, held: DatabaseSync | undefined): Restored {
  const isStore = held === undefined || hasTables(held);
  if (isStore && !options.replace) throw storeExists(options.directory);
  return withVerifiedCopy(options, database, (incoming) => {
    const name = replacedName(database, options.now);
    if (isStore) linkSync(database, name);
    if (held === undefined) setJournalAside(database, name);
    renameSync(incoming, database);
    return isStore ? name : undefined;
  });
}

/** A start that failed may have left a database without any. What cannot be read is to be kept. */
function hasTables(connection: DatabaseSync): boolean {
  try {
    return readRows(connection, 'SELECT 1 FROM sqlite_schema').length > 0;
  } catch (error) {
    if (isDamage(error)) return true;
    throw error;
  }
}

/** What is verified is the copy that is put in place, so that the backup may change meanwhile. */
function withVerifiedCopy(
  { from, directory, rootKey }: RestoreOptions,
  database: string,
  putInPlace: (incoming: string) => string | undefined,
): Restored {
  const incoming = `${database}.restoring`;
  try {
    copyBackup(from, incoming);
    const report = checkBackup({ name: from, file: incoming, directory }, rootKey);
    const replaced = putInPlace(incoming);
    syncDirectory(directory);
    return { report, replaced };
  } finally {
    rmSync(incoming, { force: true });
  }
}

/** Errors speak of a store in its directory; here it is a backup, under any name, and another one is the way out. */
function checkBackup(backup: KeystoreFile, rootKey: RootKeySource): KeystoreReport {
  try {
    const report = checkFile(backup, rootKey);
    refuseDamaged(backup.name, report, 'nothing was restored');
    return report;
  } catch (error) {
    if (!(error instanceof DekdError)) throw error;
    const { name, directory } = backup;
    const stores = [`keystore ${name}: `, `keystore ${directory}: `].find((start) => error.message.startsWith(start));
    if (stores === undefined) throw error;
    const problem = error.message
      .slice(stores.length)
      .replace(/put back a backup(?: of the directory)?$/, 'nothing was restored; name another backup')
      .replace(/name the directory of a store$/, 'name a backup')
      .replaceAll(/^keystore\.db /gm, 'it ');
    throw new DekdError(error.reason, `backup ${name}: ${problem}`, { cause: error });
  }
}

function storeExists(directory: string): DekdError {
  const wayOut = 'name another directory, or insist with --replace, which keeps the old store beside it';
  return new DekdError('INVALID_REQUEST', `keystore ${directory}: has a store already; ${wayOut}`);
}

function copyBackup(from: string, incoming: string): void {
  if (isHotJournal(`${from}-journal`) || existsSync(`${from}-wal`)) {
    const problem = 'is a store in use, or of an agent that was killed: a journal lies beside it';
    throw keystoreFault(from, `${problem}; start dekd on it and make a backup with: dekctl keystore backup`);
  }
  const bytes = readBackup(from);
  rmSync(incoming, { force: true });
  writeFileSync(incoming, bytes, { mode: 0o600, flag: 'wx', flush: true });
}

function readBackup(from: string): Buffer {
  try {
    if (!statSync(from).isFile()) throw keystoreFault(from, 'is not a regular file; name a backup');
    return readFileSync(from);
  } catch (error) {
    if (error instanceof DekdError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    const problem = code === 'ENOENT' ? 'does not exist' : `cannot be read by uid ${process.geteuid?.()} (${code})`;
    throw new DekdError('INVALID_REQUEST', `backup ${from}: ${problem}`, { cause: error });
  }
}

function replacedName(database: string, now: number): string {
  return `${database}.replaced-${new Date(now).toISOString().replace(/[-:.]/g, '')}`;
}

/** SQLite would take it for the new store's and undo with it what that never did. */
function setJournalAside(database: string, replaced: string): void {
  for (const suffix of ['-journal', '-wal', '-shm']) {
    if (existsSync(`${database}${suffix}`)) renameSync(`${database}${suffix}`, `${replaced}${suffix}`);
  }
}

/**
 * The lock that an agent takes; what a killed one left half done is undone. Without a journal file, whose name the new store's may already be
 * when this connection is closed. Undefined for a file so damaged that no agent can open it either.
 */
function lock(database: string): DatabaseSync | undefined {
  const connection = new DatabaseSync(database, { timeout: 0 });
  try {
    connection.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE; COMMIT');
    return connection;
  } catch (error) {
    connection.close();
    if (isDamage(error)) return undefined;
    throw error;
  }
}
