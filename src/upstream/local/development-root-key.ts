import { randomFillSync } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { native } from '../../crypto/native.ts';
import { secretBuffer } from '../../crypto/secret-buffer.ts';
import { syncDirectory } from './directory.ts';

const ROOT_KEY_BYTES = 32;

/**
 * A root key in `file`, beside the store, which protects nothing from whoever reads the directory. Under a temporary name first, so that a
 * crash leaves a whole key or none. An existing file is kept. The store's lock is held.
 */
export function makeDevelopmentRootKey(directory: string, file: string): void {
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
  // The new name must be on disk before a store that needs it.
  syncDirectory(directory);
}
