import { callAdmin } from '../client.ts';
import { type GlobalFlags, parsePairs } from '../flags.ts';
import { printable } from '../messages.ts';
import { show } from '../show.ts';

export interface CreateKeyFlags extends GlobalFlags {
  readonly upstream?: string;
  readonly label?: readonly string[];
}

interface CreateKeyResponse {
  readonly key: string;
  readonly kek: string;
  readonly kek_version: string;
  readonly usable: boolean;
}

export async function createKey(key: string, flags: CreateKeyFlags): Promise<void> {
  const request = { key, upstream: flags.upstream ?? '', labels: parsePairs('--label', flags.label) };
  show(flags, await callAdmin<CreateKeyResponse>(flags, 'CreateKey', request), (made) => {
    const next = made.usable ? `key ${made.key} can be used at once` : 'name it in the configuration to use it';
    return printable(`created ${made.kek}, version ${made.kek_version}; ${next}`);
  });
}
