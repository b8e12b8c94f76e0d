import { randomFillSync } from 'node:crypto';
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  fsyncSync,
  openSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import type { SlotHandle } from '../../../native/binding.d.ts';
import { native } from '../../crypto/native.ts';
import { secretBuffer } from '../../crypto/secret-buffer.ts';
import { DekdError } from '../../errors.ts';
import { excessiveBits, octal } from './directory.ts';
import type { LocalOptions } from './options.ts';

const ROOT_KEY_BYTES = 32;
const DEVELOPMENT_FILE = 'root.key';

/**
 * The root key, in secret memory; the caller frees it. A development root key is made with a new store and never for an existing one.
 * Throws DekdError.
 */
export function openRootKey(options: LocalOptions, storeIsNew: boolean): SlotHandle {
  if ('file' in options.rootKey) return readRootKey(options.rootKey.file, storeIsNew);
  const file = join(options.directory, DEVELOPMENT_FILE);
  if (storeIsNew) makeDevelopmentRootKey(options.directory, file);
  return readRootKey(file, storeIsNew);
}

/** Symbolic links are followed: Kubernetes mounts each file of a secret through two of them. */
function readRootKey(file: string, storeIsNew: boolean): SlotHandle {
  const descriptor = openFile(file, storeIsNew);
  try {
    const stats = fstatSync(descriptor);
    if (!stats.isFile()) throw rootKeyFault(file, `is not a regular file; ${howToMake(file)}`);
    if (stats.size !== ROOT_KEY_BYTES) {
      const way = storeIsNew ? howToMake(file) : PUT_BACK;
      throw rootKeyFault(file, `must have exactly ${ROOT_KEY_BYTES} bytes and has ${stats.size}; ${way}`);
    }
    const us = process.geteuid?.();
    if (stats.uid !== 0 && stats.uid !== us) {
      throw rootKeyFault(file, `belongs to uid ${stats.uid}, who can read it; run: chown ${us} ${file}`);
    }
    if (excessiveBits(stats, 0o077, 0o037) !== 0) {
      throw rootKeyFault(file, `can be read or written by others (mode ${octal(stats)}); run: chmod 600 ${file}`);
    }
    return native.readKey(descriptor, 'raw', ROOT_KEY_BYTES);
  } finally {
    closeSync(descriptor);
  }
}

const PUT_BACK = 'put back the root key that the store was made with: nothing else opens its KEKs';

function howToMake(file: string): string {
  return `make one with: head -c ${ROOT_KEY_BYTES} /dev/urandom > ${file} && chmod 600 ${file}`;
}

function openFile(file: string, storeIsNew: boolean): number {
  try {
    // O_NONBLOCK: a named pipe is refused instead of waited for.
    return openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT')
      throw rootKeyFault(file, `does not exist; ${storeIsNew ? howToMake(file) : PUT_BACK}`, error);
    const user = `uid ${process.geteuid?.()}`;
    throw rootKeyFault(file, `cannot be opened by ${user} (${code}); make that user its owner, mode 0600`, error);
  }
}

/** Under a temporary name first, so that a crash leaves a whole key or none. An existing file is kept. The store's lock is held. */
function makeDevelopmentRootKey(directory: string, file: string): void {
  if (existsSync(file)) return;
  const temporary = `${file}.new`;
  rmSync(temporary, { force: true });
  const descriptor = openSync(temporary, 'wx', 0o600);
  // The only key that is ever in memory outside the arena: it lies in the clear beside the store anyway.
  const key = secretBuffer(ROOT_KEY_BYTES);
  try {
    writeSync(descriptor, randomFillSync(key));
    fsyncSync(descriptor);
  } finally {
    native.cleanse(key);
    closeSync(descriptor);
  }
  renameSync(temporary, file);
  syncDirectory(directory);
}

/** The new name must be on disk before a store that needs it. */
function syncDirectory(directory: string): void {
  const descriptor = openSync(directory, constants.O_RDONLY);
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function rootKeyFault(file: string, problem: string, cause?: unknown): DekdError {
  return new DekdError('INVALID_REQUEST', `root key ${file}: ${problem}`, { cause });
}
