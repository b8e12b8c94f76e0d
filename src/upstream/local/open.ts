import { DekdError } from '../../errors.ts';
import { systemClock } from './clock.ts';
import { type KeystoreDatabase, openDatabase } from './database.ts';
import { openingError } from './errors.ts';
import { readRootKeyKdf } from './head.ts';
import { migrateFromSchema1 } from './migrate-1.ts';
import type { LocalOptions } from './options.ts';
import { LocalUpstream } from './provider.ts';
import { newRootKeyKdf, RAW, type RootKeyKdf } from './root-key-kdf.ts';
import { createStore, loadStore } from './store.ts';
import { freeStoreKeys, openStoreKeys, type StoreKeys } from './store-keys.ts';

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
    const { directory, isNew } = database;
    const kdf = isNew ? newRootKeyKdf(options.rootKey) : storedKdf(database);
    return openStore(options, database, kdf, openStoreKeys(options.rootKey, { directory, kdf, isNew }));
  } catch (error) {
    database.connection.close();
    throw error;
  }
}

/** Schema 1 knew raw root keys only, and did not say so. */
function storedKdf(database: KeystoreDatabase): RootKeyKdf {
  return database.schemaVersion === 1 ? RAW : readRootKeyKdf(database);
}

function openStore(options: LocalOptions, database: KeystoreDatabase, kdf: RootKeyKdf, keys: StoreKeys): LocalUpstream {
  try {
    const createdAt = Math.trunc((options.clock ?? systemClock).wallMs());
    if (database.schemaVersion === 1) migrateFromSchema1(database, keys);
    const store = database.isNew ? createStore(database, keys, { ...kdf, createdAt }) : loadStore(database, keys);
    return new LocalUpstream(options, store, keys, database.isNew);
  } catch (error) {
    freeStoreKeys(keys);
    throw error;
  }
}
