import { readFileSync, statSync } from 'node:fs';
import { DekdError } from '../../errors.ts';

/**
 * What a file of certificate authorities holds (PEM), read again when it changed; the same buffer while it did not. A file that is no longer
 * one, perhaps for a moment, changes nothing. Throws DekdError INVALID_REQUEST when it is none at the start.
 */
export function followAuthorities(file: string): () => Buffer {
  let seen = signature(file);
  let pem = readAuthorities(file);
  return () => {
    const now = signature(file);
    if (now === seen) return pem;
    try {
      const read = readAuthorities(file);
      if (!read.equals(pem)) pem = read;
      seen = now;
    } catch (error) {
      // What was trusted before stays so until there is something else to trust.
      if (!(error instanceof DekdError)) throw error;
    }
    return pem;
  };
}

/** Changes with the file, also where a symlink leads to another one from now on; undefined while it is not to be had, whatever the reason. */
function signature(file: string): string | undefined {
  try {
    const { dev, ino, size, mtimeMs, ctimeMs } = statSync(file);
    return [dev, ino, size, mtimeMs, ctimeMs].join(' ');
  } catch {
    return undefined;
  }
}

function readAuthorities(file: string): Buffer {
  try {
    const pem = readFileSync(file);
    if (pem.includes('-----BEGIN CERTIFICATE-----')) return pem;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new DekdError('INVALID_REQUEST', `ca ${file}: cannot be read by uid ${process.geteuid?.()} (${code})`, {
      cause: error,
    });
  }
  throw new DekdError(
    'INVALID_REQUEST',
    `ca ${file}: holds no certificate; write PEM into it (-----BEGIN CERTIFICATE-----)`,
  );
}
