import { callAgent } from '../client.ts';
import type { GlobalFlags } from '../flags.ts';
import { publicJson } from '../json-document.ts';
import { printable } from '../messages.ts';
import { writeText } from '../output.ts';

interface RotateKeyResponse {
  readonly key: string;
  readonly kek: string;
  readonly kek_version: string;
  readonly retired_deks: string;
}

export async function rotateKey(key: string, flags: GlobalFlags): Promise<void> {
  const response = await callAgent<RotateKeyResponse>(flags, {
    socket: 'admin',
    service: 'dekd.v1.KeyAdmin',
    method: 'RotateKey',
    request: { key },
  });
  if (flags.json === true) return writeText(`${JSON.stringify(publicJson(response), undefined, 2)}\n`);
  const kek = response.kek === '' ? '' : ` (${response.kek} is at version ${response.kek_version})`;
  writeText(printable(`rotated ${response.key}${kek}; ${response.retired_deks} DEKs no longer encrypt`).concat('\n'));
}
