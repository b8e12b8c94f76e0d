import { callAgent } from '../client.ts';
import { type GlobalFlags, parseContext } from '../flags.ts';
import { publicJson } from '../json-document.ts';
import { printable } from '../messages.ts';
import { writeText } from '../output.ts';

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
  const labels = parseContext(flags.label, '--label');
  const response = await callAgent<CreateKeyResponse>(flags, {
    socket: 'admin',
    service: 'dekd.v1.KeyAdmin',
    method: 'CreateKey',
    request: { key, upstream: flags.upstream ?? '', labels },
  });
  if (flags.json === true) return writeText(`${JSON.stringify(publicJson(response), undefined, 2)}\n`);
  const next = response.usable ? `key ${response.key} can be used at once` : 'name it in the configuration to use it';
  writeText(printable(`created ${response.kek}, version ${response.kek_version}; ${next}`).concat('\n'));
}
