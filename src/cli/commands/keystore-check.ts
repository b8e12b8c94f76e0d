import { checkKeystore, type KeystoreReport } from '../../upstream/local/check.ts';
import { EXIT } from '../exit-codes.ts';
import type { GlobalFlags } from '../flags.ts';
import { CliError } from '../messages.ts';
import { offline } from '../offline.ts';
import { writeText } from '../output.ts';
import { pairsText, table } from '../render.ts';
import { type RootKeyFlags, rootKeySource } from '../root-key-flags.ts';

export interface CheckFlags extends GlobalFlags, RootKeyFlags {
  readonly directory: string;
}

export function checkKeystoreCommand(flags: CheckFlags): void {
  const source = rootKeySource(flags);
  const report = offline(flags.directory, () => checkKeystore(flags.directory, source));
  writeText(flags.json === true ? reportJson(report) : reportText(report));
  const { length } = report.damages;
  if (length === 0) return;
  const found = length === 1 ? '1 damage' : `${length} damages`;
  throw new CliError(
    EXIT.failure,
    `keystore ${flags.directory}: ${found}; put back a backup with: dekctl keystore restore --replace`,
  );
}

export function reportJson(report: KeystoreReport): string {
  const { storeId, rootKeyId, rootKeyKdf, createdAt, keks, disabledPartitions, damages } = report;
  const document = {
    sound: damages.length === 0,
    store_id: storeId,
    root_key_id: rootKeyId,
    root_key_kdf: rootKeyKdf,
    created_at: instant(createdAt),
    keks: keks.map(({ name, state, versions }) => ({
      name,
      state,
      versions: versions.map((version) => ({
        version: String(version.version),
        state: version.state,
        created_at: instant(version.createdAt),
      })),
    })),
    disabled_partitions: disabledPartitions.map(({ kek, keyName, pairs, disabledAt, disabledBy }) => ({
      kek,
      key: keyName,
      partition: Object.fromEntries(pairs),
      disabled_at: instant(disabledAt),
      disabled_by: disabledBy,
    })),
    damages,
  };
  return `${JSON.stringify(document, undefined, 2)}\n`;
}

export function reportText(report: KeystoreReport): string {
  const { storeId, rootKeyId, rootKeyKdf, createdAt, keks, disabledPartitions, damages } = report;
  const rows: [string, string | undefined][] = [
    ['store', `${storeId}, made ${instant(createdAt)}`],
    ['root key', `${rootKeyId}, ${rootKeyKdf === 'raw' ? '32 raw bytes' : 'made from a passphrase with scrypt'}`],
    ...keks.map(({ name, state, versions }): [string, string] => [
      `KEK ${name}`,
      `${state}; ${versions.map((version) => `${version.version} ${version.state}`).join(', ') || 'no version'}`,
    ]),
    ...disabledPartitions.map(({ kek, keyName, pairs, disabledAt, disabledBy }): [string, string] => [
      'partition',
      `${pairsText(Object.fromEntries(pairs))} of key ${keyName}: disabled under KEK ${kek} since ${instant(disabledAt)} by ${disabledBy}`,
    ]),
    ...damages.map(({ what, problem }): [string, string] => ['DAMAGED', `${what} ${problem}`]),
    ['result', damages.length === 0 ? 'sound: every record verifies, every key opens' : undefined],
  ];
  return `${table(rows)}\n`;
}

function instant(ms: number): string {
  return new Date(ms).toISOString();
}
