import { closeSync, openSync, readSync } from 'node:fs';

const MAGIC = Buffer.from('d9d505f920a163d7', 'hex');

/**
 * Whether `file` is the rollback journal of a transaction that did not end (sqlite.org/fileformat2.html, "The Rollback Journal"). SQLite writes its
 * magic number before the first change of the database, and zeroes it at the end: in exclusive locking mode the file stays.
 */
export function isHotJournal(file: string): boolean {
  let descriptor: number;
  try {
    descriptor = openSync(file, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
  try {
    const header = Buffer.alloc(MAGIC.length);
    return readSync(descriptor, header) === MAGIC.length && header.equals(MAGIC);
  } finally {
    closeSync(descriptor);
  }
}
