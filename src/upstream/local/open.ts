import { native } from '../../crypto/native.ts';
import { DekdError } from '../../errors.ts';
import { type KeystoreDatabase, openDatabase } from './database.ts';
import { openingError } from './errors.ts';
import type { LocalOptions } from './options.ts';
import { LocalUpstream } from './provider.ts';
import { openRootKey } from './root-key.ts';
import { createStore, loadStore } from './store.ts';
import { deriveStoreKeys, freeStoreKeys, type StoreKeys } from './store-keys.ts';

/** Opens the keystore of `options`, made when its directory has none. Throws DekdError that begins with the upstream's name. */
export async function openLocal(name: string, options: LocalOptions): Promise<LocalUpstream> {
  try {
    return openKeystore(options);
  } catch (error) {
    const { reason, message, cause } = openingError(options.directory, error);
    throw new DekdError(reason, `upstream ${name}: ${message}`, { cause });
  }
}

function openKeystore(options: LocalOptions): LocalUpstream {
  const database = openDatabase(options.directory);
  try {
    return openStore(options, database, openStoreKeys(options, database.isNew));
  } catch (error) {
    database.connection.close();
    throw error;
  }
}

/** The root key is in memory only while the store's keys are derived from it. */
function openStoreKeys(options: LocalOptions, storeIsNew: boolean): StoreKeys {
  const rootKey = openRootKey(options, storeIsNew);
  try {
    return deriveStoreKeys(rootKey);
  } finally {
    native.freeKey(rootKey);
  }
}

function openStore(options: LocalOptions, database: KeystoreDatabase, keys: StoreKeys): LocalUpstream {
  try {
    const createdAt = Math.trunc((options.wallClock ?? Date.now)());
    const store = database.isNew
      ? createStore(database, keys, { rootKeyKdf: 'raw', rootKeyParams: null, createdAt })
      : loadStore(database, keys);
    return new LocalUpstream(options, store, keys, database.isNew);
  } catch (error) {
    freeStoreKeys(keys);
    throw error;
  }
}
