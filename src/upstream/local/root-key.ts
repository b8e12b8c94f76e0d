import type { Stats } from 'node:fs';
import { join } from 'node:path';
import type { SlotHandle } from '../../../native/binding.d.ts';
import { native } from '../../crypto/native.ts';
import { fromNative } from '../../crypto/native-errors.ts';
import { makeDevelopmentRootKey } from './development-root-key.ts';
import type { RootKeySource } from './options.ts';
import { parseScryptParams, type RootKeyKdf, type ScryptParams } from './root-key-kdf.ts';
import { credentialFile, namedFile, type SecretFile, secretFault, withSecretFile } from './secret-file.ts';

const ROOT_KEY_BYTES = 32;
const DEVELOPMENT_FILE = 'root.key';
/** The addon's own bounds; one line feed at the end of the file is not part of the passphrase. */
const MIN_PASSPHRASE_BYTES = 8;
const MAX_PASSPHRASE_BYTES = 1024;

/** The store that a root key is for. */
export interface RootKeyUse {
  readonly directory: string;
  /** As the store record says, which is not verified yet, or will say. */
  readonly kdf: RootKeyKdf;
  /** There is no store yet that needs a certain key. */
  readonly isNew: boolean;
}

/**
 * The root key, in secret memory; the caller frees it. Half a second and 128 MiB for a passphrase. A development root key is made with a
 * new store and never for an existing one. Throws DekdError.
 */
export function openRootKey(source: RootKeySource, use: RootKeyUse): SlotHandle {
  if ('passphrase' in source) return readPassphrase(passphraseFile(source.passphrase, use), scryptParams(use));
  const file = rootKeyFile(source, use);
  refuseForPassphraseStore(file, use);
  if ('development' in source && use.isNew) makeDevelopmentRootKey(use.directory, file.path);
  return withSecretFile(file, (descriptor, stats) => {
    checkLength(file, stats, use);
    return native.readKey(descriptor, 'raw', ROOT_KEY_BYTES);
  });
}

function rootKeyFile(source: Exclude<RootKeySource, { passphrase: unknown }>, use: RootKeyUse): SecretFile {
  if ('credential' in source) return credentialFile('root key', source.credential);
  const path = 'file' in source ? source.file : join(use.directory, DEVELOPMENT_FILE);
  return namedFile('root key', path, use.isNew ? howToMake(path) : PUT_BACK);
}

function passphraseFile(source: { file: string } | { credential: string }, use: RootKeyUse): SecretFile {
  if ('credential' in source) return credentialFile('passphrase', source.credential);
  const wayOut = use.isNew
    ? `write the passphrase into it, then: chmod 600 ${source.file}`
    : 'put back the passphrase that the store was made with: nothing else opens its KEKs';
  return namedFile('passphrase', source.file, wayOut);
}

const PUT_BACK = 'put back the root key that the store was made with: nothing else opens its KEKs';

/** As a command, for messages. */
function howToMake(file: string): string {
  return `make one with: head -c ${ROOT_KEY_BYTES} /dev/urandom > ${file} && chmod 600 ${file}`;
}

function checkLength(file: SecretFile, { size }: Stats, { isNew }: RootKeyUse): void {
  if (size === ROOT_KEY_BYTES) return;
  const way = isNew ? howToMake(file.path) : PUT_BACK;
  throw secretFault(file.name, `must have exactly ${ROOT_KEY_BYTES} bytes and has ${size}; ${way}`);
}

function refuseForPassphraseStore({ name }: SecretFile, { directory, kdf }: RootKeyUse): void {
  if (kdf.rootKeyKdf === 'raw') return;
  const problem = `is not what opens the keystore ${directory}: its root key is made from a passphrase; name the passphrase's file or credential`;
  throw secretFault(name, problem);
}

function scryptParams({ directory, kdf }: RootKeyUse): ScryptParams {
  if (kdf.rootKeyKdf === 'raw') {
    const problem = `a passphrase does not open it: its root key is ${ROOT_KEY_BYTES} raw bytes; name their file or credential`;
    throw secretFault(`keystore ${directory}`, problem);
  }
  const params = parseScryptParams(kdf.rootKeyParams);
  if (params !== undefined) return params;
  const problem =
    'the store record was changed outside dekd: it asks scrypt for what no dekd writes; put back a backup';
  throw secretFault(`keystore ${directory}`, problem);
}

function readPassphrase(file: SecretFile, { salt, logN, r, p }: ScryptParams): SlotHandle {
  return withSecretFile(file, (descriptor) => {
    try {
      return native.readPassphraseKey(descriptor, salt, logN, r, p);
    } catch (error) {
      const { code, syscall } = error as NodeJS.ErrnoException;
      if (code === 'ERR_KEY_LENGTH') {
        const bounds = `${MIN_PASSPHRASE_BYTES} to ${MAX_PASSPHRASE_BYTES} bytes`;
        throw secretFault(file.name, `must have ${bounds}, and at most one line feed behind them`, error);
      }
      if (code === 'ERR_SYSTEM' && syscall === 'mmap') {
        const size = (128 * r * 2 ** logN) / 2 ** 20;
        throw secretFault(
          file.name,
          `scrypt needs ${size} MiB of memory for a moment; raise the process's limit`,
          error,
        );
      }
      throw fromNative(error);
    }
  });
}
