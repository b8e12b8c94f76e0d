import { statSync } from 'node:fs';
import { join } from 'node:path';
import type { DisabledPartition, KekState, KekVersionState } from '../provider.ts';
import { describePartition } from './description.ts';
import { DATABASE_FILE } from './directory.ts';
import { keystoreFault, openingError } from './errors.ts';
import { rootKeyKdfOf, verifyHead } from './head.ts';
import { KekKeys } from './kek-keys.ts';
import type { RootKeySource } from './options.ts';
import { type Damage, RecordChecker } from './record-checker.ts';
import { KEKS, type KekRecord, PARTITIONS, VERSIONS, type VersionRecord } from './records.ts';
import type { RootKeyKdf } from './root-key-kdf.ts';
import { readSnapshot, type StoreSnapshot } from './snapshot.ts';
import { freeStoreKeys, openStoreKeys, type StoreKeys, shortRootKeyId } from './store-keys.ts';

/** What a keystore holds, as far as it could be verified, and all that is wrong with it. */
export interface KeystoreReport {
  /** 16 hex digits. */
  readonly storeId: string;
  /** The first 16 hex digits of the root key's id, as messages show it. */
  readonly rootKeyId: string;
  readonly rootKeyKdf: RootKeyKdf['rootKeyKdf'];
  /** Unix milliseconds. */
  readonly createdAt: number;
  /** By name. */
  readonly keks: readonly KekReport[];
  readonly disabledPartitions: readonly (DisabledPartition & { readonly kek: string })[];
  /** Empty for a sound store. */
  readonly damages: readonly Damage[];
}

export interface KekReport {
  readonly name: string;
  readonly state: KekState;
  /** By number. */
  readonly versions: readonly VersionReport[];
}

export interface VersionReport {
  readonly version: number;
  readonly state: KekVersionState;
  /** Unix milliseconds. */
  readonly createdAt: number;
}

/**
 * Verifies every record and unwraps every key of the keystore in `directory`, and changes nothing. Throws DekdError when it cannot tell:
 * an agent has it open, there is no store, the root key is another one, or the store record is damaged, without which nothing else verifies.
 */
export function checkKeystore(directory: string, source: RootKeySource): KeystoreReport {
  const file = join(directory, DATABASE_FILE);
  try {
    if (statSync(file, { throwIfNoEntry: false }) === undefined) {
      throw keystoreFault(directory, `has no ${DATABASE_FILE}; name the directory of a store`);
    }
    return checkFile({ name: directory, file, directory }, source);
  } catch (error) {
    throw openingError(directory, error);
  }
}

/** Throws DekdError with a line for each damage of `report`. `outcome` is what became of what was to be done. */
export function refuseDamaged(name: string, { damages }: KeystoreReport, outcome: string): void {
  if (damages.length === 0) return;
  const lines = damages.map(({ what, problem }) => `${what} ${problem}`);
  throw keystoreFault(name, [`is damaged; ${outcome}:`, ...lines].join('\n'));
}

/** A keystore file that lies in `directory`, or would, and how messages call it. */
export interface KeystoreFile {
  readonly name: string;
  readonly file: string;
  readonly directory: string;
}

/** checkKeystore for a file that may lie anywhere. */
export function checkFile({ name, file, directory }: KeystoreFile, source: RootKeySource): KeystoreReport {
  const snapshot = readSnapshot(name, file);
  const kdf = rootKeyKdfOf(snapshot.head);
  if (kdf === undefined)
    throw keystoreFault(name, `${damageText(snapshot.damages)}the store record is missing; ${PUT_BACK}`);
  const keys = openStoreKeys(source, { directory, kdf, isNew: false });
  try {
    return verify(name, snapshot, keys);
  } finally {
    freeStoreKeys(keys);
  }
}

const PUT_BACK = 'put back a backup';

function verify(name: string, { head: columns, rows, damages }: StoreSnapshot, keys: StoreKeys): KeystoreReport {
  const verified = verifyHead(columns, keys);
  if (verified.problem !== undefined) throw keystoreFault(name, `${damageText(damages)}${verified.problem}`);
  const { head, manifest } = verified;
  const checker = new RecordChecker(head.storeId, keys.recordMac, manifest);
  const keks = checker.check(KEKS, rows.get(KEKS.name) ?? []);
  const versions = checker.check(VERSIONS, rows.get(VERSIONS.name) ?? []);
  const partitions = checker.check(PARTITIONS, rows.get(PARTITIONS.name) ?? []);
  const recordDamages = checker.finish(damages.length === 0 ? undefined : 'cannot be read, or is missing');
  return {
    storeId: head.storeId,
    rootKeyId: shortRootKeyId(keys.rootKeyId),
    rootKeyKdf: head.rootKeyKdf,
    createdAt: head.createdAt,
    keks: kekReports(keks, versions),
    disabledPartitions: partitions.map((record) => ({ kek: record.kek, ...describePartition(record) })),
    damages: [...damages, ...recordDamages, ...keyDamages(head.storeId, keys, versions)],
  };
}

function kekReports(keks: readonly KekRecord[], versions: readonly VersionRecord[]): KekReport[] {
  const byKek = Map.groupBy(versions, ({ kek }) => kek);
  return keks.map(({ name, state }) => ({
    name,
    state,
    versions: (byKek.get(name) ?? []).map(({ version, state, createdAt }) => ({ version, state, createdAt })),
  }));
}

/** One after the other: secret memory may have room for a few keys only. */
function keyDamages(storeId: string, keys: StoreKeys, versions: readonly VersionRecord[]): Damage[] {
  const kekKeys = new KekKeys(storeId, keys.kekWrap);
  return versions.flatMap(({ kek, version, wrappedKey }) => {
    if (wrappedKey === null) return [];
    try {
      kekKeys.load(kek, version, wrappedKey);
      return [];
    } catch (error) {
      if ((error as { code?: unknown }).code !== 'ERR_AUTHENTICATION') throw error;
      const what = `the key of KEK ${JSON.stringify(kek)} version ${version}`;
      return [{ what, problem: 'does not open under this root key' }];
    } finally {
      kekKeys.freeAll();
    }
  });
}

/** Damages as one text, with a separator behind them. */
function damageText(damages: readonly Damage[]): string {
  return damages.map(({ what, problem }) => `${what} ${problem}; `).join('');
}
