import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { fileURLToPath } from 'node:url';
import type { ExecutionContext } from 'ava';
import { openArena } from '../../../src/crypto/native.ts';
import { type KeystoreDatabase, openDatabase } from '../../../src/upstream/local/database.ts';
import { readRootKeyKdf } from '../../../src/upstream/local/head.ts';
import { openLocal } from '../../../src/upstream/local/open.ts';
import type { LocalOptions } from '../../../src/upstream/local/options.ts';
import type { LocalUpstream } from '../../../src/upstream/local/provider.ts';
import type { KekRecord, VersionRecord } from '../../../src/upstream/local/records.ts';
import { RAW } from '../../../src/upstream/local/root-key-kdf.ts';
import { createStore, type Keystore, loadStore } from '../../../src/upstream/local/store.ts';
import { freeStoreKeys, openStoreKeys, type StoreKeys } from '../../../src/upstream/local/store-keys.ts';
import { MovableClock } from '../../helpers/movable-clock.ts';

/** A place for a keystore and a root key, both gone when the test ends. The keystore's directory is not made yet. */
export interface Place {
  readonly directory: string;
  readonly database: string;
  readonly rootKeyFile: string;
  readonly options: LocalOptions;
}

export function makePlace(t: ExecutionContext): Place {
  openArena({ size: 1 << 20, lock: 'best-effort' });
  const parent = mkdtempSync(join(tmpdir(), 'dekd-local-'));
  t.teardown(() => rmSync(parent, { recursive: true, force: true }));
  const directory = join(parent, 'keystore');
  const rootKeyFile = join(parent, 'test-root.key');
  writeFileSync(rootKeyFile, randomBytes(32), { mode: 0o600 });
  return {
    directory,
    database: join(directory, 'keystore.db'),
    rootKeyFile,
    options: { type: 'local', directory, rootKey: { file: rootKeyFile } },
  };
}

/** Opened as the upstream `store`; closed when the test ends, if not before. */
export async function openPlace(t: ExecutionContext, options: LocalOptions): Promise<LocalUpstream> {
  const upstream = await openLocal('store', options);
  t.teardown(() => upstream.close());
  return upstream;
}

/** A closed keystore with `orders` (two versions, a label) and `carts` (one version). */
export async function makeStore(t: ExecutionContext): Promise<Place> {
  const place = makePlace(t);
  const upstream = await openPlace(t, { ...place.options, clock: new MovableClock() });
  await upstream.createKek('orders', new Map([['team', 'payments']]), 'uid 2001');
  await upstream.rotateKek('local:orders', 'uid 2001');
  await upstream.createKek('carts', new Map(), 'uid 2001');
  await upstream.close();
  return place;
}

/** What somebody with a SQLite shell does to a closed keystore. */
export function edit(place: Place, work: (connection: DatabaseSync) => void): void {
  mkdirSync(place.directory, { recursive: true, mode: 0o700 });
  const connection = new DatabaseSync(place.database, { enableForeignKeyConstraints: false, defensive: false });
  try {
    work(connection);
  } finally {
    connection.close();
  }
}

/** Runs a scene of child.ts in a process of its own, under a shell's `limits`; returns what it printed. */
export function runChild(scene: string, options: LocalOptions, limits = ':'): unknown {
  const child = fileURLToPath(new URL('child.ts', import.meta.url));
  const command = `${limits}; exec "$0" "$@"`;
  const run = spawnSync('sh', ['-c', command, process.execPath, child, scene, JSON.stringify(options)], {
    encoding: 'utf8',
    timeout: 30_000,
  });
  if (run.status !== 0) throw new Error(`the child ended with ${run.status ?? run.signal}: ${run.stderr}`);
  return JSON.parse(run.stdout);
}

/** The store itself, made when `place` has none, without the upstream around it; closed when the test ends. */
export function openStore(
  t: ExecutionContext,
  place: Place,
): { store: Keystore; database: KeystoreDatabase; keys: StoreKeys } {
  const database = openDatabase(place.directory);
  t.teardown(() => {
    if (database.connection.isOpen) database.connection.close();
  });
  const { directory, isNew } = database;
  const kdf = isNew ? RAW : readRootKeyKdf(database);
  const keys = openStoreKeys(place.options.rootKey, { directory, kdf, isNew });
  t.teardown(() => freeStoreKeys(keys));
  try {
    const store = isNew ? createStore(database, keys, { ...RAW, createdAt: 1 }) : loadStore(database, keys);
    return { store, database, keys };
  } catch (error) {
    database.connection.close();
    throw error;
  }
}

export function kekRecord(name: string, changes: Partial<KekRecord> = {}): KekRecord {
  const times = { createdAt: 1, changedAt: 1, changedBy: 'uid 2001' };
  return { name, state: 'active', stateBefore: null, ...times, labels: new Map(), deletion: null, ...changes };
}

/** With random bytes in the place of a wrapped key. */
export function versionRecord(kek: string, version = 1, changes: Partial<VersionRecord> = {}): VersionRecord {
  const times = { createdAt: 1, createdBy: 'uid 2001', changedAt: 1, changedBy: 'uid 2001' };
  return { kek, version, state: 'active', ...times, wrappedKey: new Uint8Array(randomBytes(72)), ...changes };
}
