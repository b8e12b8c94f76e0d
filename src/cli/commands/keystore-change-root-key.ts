import { changeRootKey } from '../../upstream/local/change-root-key.ts';
import type { GlobalFlags } from '../flags.ts';
import { note } from '../messages.ts';
import { offline } from '../offline.ts';
import { writeText } from '../output.ts';
import { rootKeySource } from '../root-key-flags.ts';
import { reportJson, reportText } from './keystore-check.ts';

export interface ChangeRootKeyFlags extends GlobalFlags {
  readonly directory: string;
  readonly oldRootKey?: string;
  readonly oldCredential?: string;
  readonly oldPassphraseFile?: string;
  readonly oldPassphraseCredential?: string;
  readonly newRootKey?: string;
  readonly newCredential?: string;
  readonly newPassphraseFile?: string;
  readonly newPassphraseCredential?: string;
}

export function changeRootKeyCommand(flags: ChangeRootKeyFlags): void {
  const { directory } = flags;
  const from = rootKeySource(
    {
      rootKey: flags.oldRootKey,
      credential: flags.oldCredential,
      passphraseFile: flags.oldPassphraseFile,
      passphraseCredential: flags.oldPassphraseCredential,
    },
    'old-',
  );
  const to = rootKeySource(
    {
      rootKey: flags.newRootKey,
      credential: flags.newCredential,
      passphraseFile: flags.newPassphraseFile,
      passphraseCredential: flags.newPassphraseCredential,
    },
    'new-',
  );
  const report = offline(directory, () => changeRootKey(directory, from, to));
  note('dekctl', "name the new root key in dekd's configuration; backups made before need the old one");
  writeText(flags.json === true ? reportJson(report) : reportText(report));
}
