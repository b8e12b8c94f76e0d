import type { RootKeySource } from '../upstream/local/options.ts';
import { EXIT } from './exit-codes.ts';
import { CliError } from './messages.ts';

/** Where a root key comes from, as flags; exactly one of them. */
export interface RootKeyFlags {
  readonly rootKey?: string | undefined;
  readonly credential?: string | undefined;
  readonly passphraseFile?: string | undefined;
  readonly passphraseCredential?: string | undefined;
}

/** `prefix` is that of the flags' names, e.g. `old-`. Throws CliError unless exactly one flag is given. */
export function rootKeySource(flags: RootKeyFlags, prefix = ''): RootKeySource {
  const { rootKey, credential, passphraseFile, passphraseCredential } = flags;
  const sources: RootKeySource[] = [];
  if (rootKey !== undefined) sources.push({ file: rootKey });
  if (credential !== undefined) sources.push({ credential });
  if (passphraseFile !== undefined) sources.push({ passphrase: { file: passphraseFile } });
  if (passphraseCredential !== undefined) sources.push({ passphrase: { credential: passphraseCredential } });
  const [source, second] = sources;
  if (source !== undefined && second === undefined) return source;
  const names = ['root-key FILE', 'credential NAME', 'passphrase-file FILE', 'passphrase-credential NAME'];
  const which = names.map((name) => `--${prefix}${name}`).join(', ');
  throw new CliError(EXIT.usage, `give one of ${which}${source === undefined ? '' : ', not several'}`);
}
