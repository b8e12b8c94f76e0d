import { DekdError } from '../../errors.ts';
import { checkKeystore, type KeystoreReport, refuseDamaged } from './check.ts';
import { type KeystoreDatabase, openDatabase } from './database.ts';
import { openingError } from './errors.ts';
import { readRootKeyKdf } from './head.ts';
import type { RootKeySource } from './options.ts';
import { newRootKeyKdf } from './root-key-kdf.ts';
import { loadStore } from './store.ts';
import { freeStoreKeys, openStoreKeys, type StoreKeys } from './store-keys.ts';

/**
 * Wraps every KEK of the keystore in `directory` under another root key, in one transaction, and verifies what then lies on disk. A passphrase
 * gets a new salt. Neither root key's file is written. Throws DekdError; unless it says otherwise, the former root key still opens the store.
 */
export function changeRootKey(directory: string, from: RootKeySource, to: RootKeySource): KeystoreReport {
  // Sound in every record and key before anything is changed, and there at all: openDatabase would make one.
  refuseDamaged(directory, checkKeystore(directory, from), 'nothing was changed');
  try {
    rekey(openDatabase(directory), from, to);
  } catch (error) {
    throw openingError(directory, error);
  }
  const report = checkKeystore(directory, to);
  refuseDamaged(directory, report, 'the root key was changed');
  return report;
}

function rekey(database: KeystoreDatabase, from: RootKeySource, to: RootKeySource): void {
  const held: StoreKeys[] = [];
  const hold = (keys: StoreKeys): StoreKeys => {
    held.push(keys);
    return keys;
  };
  try {
    const { directory } = database;
    const keys = hold(openStoreKeys(from, { directory, kdf: readRootKeyKdf(database), isNew: false }));
    const store = loadStore(database, keys);
    const kdf = newRootKeyKdf(to);
    const next = hold(openStoreKeys(to, { directory, kdf, isNew: true }));
    if (next.rootKeyId.equals(keys.rootKeyId)) {
      throw new DekdError(
        'INVALID_REQUEST',
        `keystore ${directory}: the new root key is the old one; nothing was changed`,
      );
    }
    store.rekey(next, kdf);
  } finally {
    for (const keys of held) freeStoreKeys(keys);
    database.connection.close();
  }
}
