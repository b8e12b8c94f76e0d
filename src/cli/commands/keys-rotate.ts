import { callAdmin } from '../client.ts';
import type { GlobalFlags } from '../flags.ts';
import { printable } from '../messages.ts';
import { show } from '../show.ts';

interface RotateKeyResponse {
  readonly key: string;
  readonly kek: string;
  readonly kek_version: string;
  readonly retired_deks: string;
}

export async function rotateKey(key: string, flags: GlobalFlags): Promise<void> {
  show(flags, await callAdmin<RotateKeyResponse>(flags, 'RotateKey', { key }), (rotated) => {
    const kek = rotated.kek === '' ? '' : ` (${rotated.kek} is at version ${rotated.kek_version})`;
    return printable(`rotated ${rotated.key}${kek}; DEKs that no longer encrypt: ${rotated.retired_deks}`);
  });
}
