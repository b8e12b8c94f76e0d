import { accessSync, closeSync, constants, fsyncSync, mkdirSync, openSync, type Stats, statSync } from 'node:fs';
import { join } from 'node:path';
import { DekdError } from '../../errors.ts';

export const DATABASE_FILE = 'keystore.db';

/**
 * Makes the directory and the database file when they are absent and checks that this process, and nobody who should not, can write
 * them. Returns the path of the database.
 */
export function prepareDirectory(directory: string): string {
  makeDirectory(directory);
  const database = join(directory, DATABASE_FILE);
  createPrivateFile(database);
  checkDatabaseFile(directory, database);
  return database;
}

/** The directory alone. */
export function makeDirectory(directory: string): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  refuseWritableByOthers(directory, directory);
  // SQLite opens what it cannot write without a word, and fails at the first change.
  accessSync(directory, constants.R_OK | constants.W_OK | constants.X_OK);
}

/** What prepareDirectory asks of a database that is there. */
export function checkDatabaseFile(directory: string, database: string): void {
  refuseWritableByOthers(directory, database);
  accessSync(database, constants.R_OK | constants.W_OK);
}

/** Waits until the names in the directory are on disk. */
export function syncDirectory(directory: string): void {
  const descriptor = openSync(directory, constants.O_RDONLY);
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** Whoever can write the files can put a whole older store in their place, which no MAC tells. */
function refuseWritableByOthers(directory: string, path: string): void {
  const stats = statSync(path);
  const ours = process.geteuid?.();
  if (stats.uid !== 0 && stats.uid !== ours) {
    throw new DekdError(
      'INVALID_REQUEST',
      `keystore ${directory}: ${path} belongs to uid ${stats.uid}, neither to root nor to dekd's; run: chown ${ours} ${path}`,
    );
  }
  if (excessiveBits(stats, 0o022, 0o002) === 0) return;
  throw new DekdError(
    'INVALID_REQUEST',
    `keystore ${directory}: others can write ${path} (mode ${octal(stats)}); run: chmod go-w ${path}`,
  );
}

/**
 * The permission bits of `stats` that are too many. `mask` = what is forbidden; of what belongs to root only `rootMask`: Kubernetes makes
 * the files and directories of a volume root's, and opens them to the pod's group (fsGroup).
 */
export function excessiveBits(stats: Stats, mask: number, rootMask: number): number {
  return stats.mode & (stats.uid === 0 ? rootMask : mask);
}

/** The permission bits as people write them, e.g. 0644. */
export function octal(stats: Stats): string {
  return (stats.mode & 0o7777).toString(8).padStart(4, '0');
}

/** Does nothing when it is there. SQLite would make the file with the umask's mode; its journal takes the mode of the file. */
export function createPrivateFile(path: string): void {
  try {
    closeSync(openSync(path, 'wx', 0o600));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}
