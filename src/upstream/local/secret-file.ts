import { closeSync, constants, fstatSync, openSync, type Stats } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { DekdError } from '../../errors.ts';
import { excessiveBits, octal } from './directory.ts';

/** A file with a secret in it that an operator names. */
export interface SecretFile {
  /** In messages: `root key /run/secrets/root.key`. */
  readonly name: string;
  readonly path: string;
  /** What to do when it is not there. */
  readonly wayOut: string;
  /** What makes its owner and mode right. */
  readonly repair: (command: 'chown' | 'chmod') => string;
}

/** `file`, as the operator named it. */
export function namedFile(what: string, file: string, wayOut: string): SecretFile {
  const us = process.geteuid?.();
  return {
    name: `${what} ${file}`,
    path: file,
    wayOut,
    repair: (command) => `run: ${command === 'chown' ? `chown ${us}` : 'chmod 600'} ${file}`,
  };
}

/**
 * A credential that systemd gave to this service (systemd.exec(5), LoadCredential=): a file in $CREDENTIALS_DIRECTORY. It is root's with an
 * ACL for the service's user, which a mode shows as 0440, or that user's with 0400 where the file system has no ACLs: the rules of any
 * other secret file fit both. Throws DekdError INVALID_REQUEST.
 */
export function credentialFile(what: string, credential: string): SecretFile {
  const name = `${what} credential ${JSON.stringify(credential)}`;
  const wayOut = `add LoadCredentialEncrypted=${credential}:FILE to the unit of dekd`;
  // As systemd itself names them (fdname_valid): printable ASCII, no colon; a slash would lead out of the directory.
  if (!/^(?!\.{1,2}$)[ -.0-9;-~]{1,255}$/.test(credential)) {
    throw secretFault(name, 'is not the name of a credential: 1-255 printable ASCII characters without / and :');
  }
  const directory = process.env['CREDENTIALS_DIRECTORY'] ?? '';
  if (directory === '') {
    throw secretFault(name, `CREDENTIALS_DIRECTORY is not set: systemd gave this process no credentials; ${wayOut}`);
  }
  if (!isAbsolute(directory))
    throw secretFault(name, 'CREDENTIALS_DIRECTORY is not an absolute path; systemd sets one');
  const path = join(directory, credential);
  return { name, path, wayOut, repair: () => `${path} is not as systemd makes it; ${wayOut}` };
}

/**
 * Opens the file, checks that it is a regular one which nobody else can read or write, and closes it behind `use`. Symbolic links are
 * followed: Kubernetes mounts each file of a secret through two of them. Throws DekdError INVALID_REQUEST.
 */
export function withSecretFile<Result>(file: SecretFile, use: (descriptor: number, stats: Stats) => Result): Result {
  const descriptor = open(file);
  try {
    const stats = fstatSync(descriptor);
    if (!stats.isFile()) throw secretFault(file.name, `is not a regular file; ${file.wayOut}`);
    if (stats.uid !== 0 && stats.uid !== process.geteuid?.()) {
      throw secretFault(file.name, `belongs to uid ${stats.uid}, who can read it; ${file.repair('chown')}`);
    }
    if (excessiveBits(stats, 0o077, 0o037) !== 0) {
      throw secretFault(file.name, `can be read or written by others (mode ${octal(stats)}); ${file.repair('chmod')}`);
    }
    return use(descriptor, stats);
  } finally {
    closeSync(descriptor);
  }
}

export function secretFault(name: string, problem: string, cause?: unknown): DekdError {
  return new DekdError('INVALID_REQUEST', `${name}: ${problem}`, { cause });
}

function open({ name, path, wayOut }: SecretFile): number {
  try {
    // O_NONBLOCK: a named pipe is refused instead of waited for.
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') throw secretFault(name, `does not exist; ${wayOut}`, error);
    const user = `uid ${process.geteuid?.()}`;
    throw secretFault(name, `cannot be opened by ${user} (${code}); make that user its owner, mode 0600`, error);
  }
}
