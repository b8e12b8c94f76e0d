import { restoreKeystore } from '../../upstream/local/restore.ts';
import type { GlobalFlags } from '../flags.ts';
import { note } from '../messages.ts';
import { offline } from '../offline.ts';
import { writeText } from '../output.ts';
import { type RootKeyFlags, rootKeySource } from '../root-key-flags.ts';
import { reportJson, reportText } from './keystore-check.ts';

export interface RestoreFlags extends GlobalFlags, RootKeyFlags {
  readonly from: string;
  readonly directory: string;
  readonly replace?: boolean;
}

export function restoreKeystoreCommand(flags: RestoreFlags): void {
  const { from, directory, replace = false } = flags;
  const rootKey = rootKeySource(flags);
  const { report, replaced } = offline(directory, () =>
    restoreKeystore({ from, directory, rootKey, replace, now: Date.now() }),
  );
  if (replaced !== undefined) note('dekctl', `the store that was there is now ${replaced}`);
  writeText(flags.json === true ? reportJson(report) : reportText(report));
}
