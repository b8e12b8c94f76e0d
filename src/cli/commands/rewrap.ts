import { callAgent } from '../client.ts';
import type { GlobalFlags } from '../flags.ts';
import { MAX_ENVELOPE_BYTES, readInput } from '../input.ts';
import { jsonDocument, publicJson } from '../json-document.ts';
import { note } from '../messages.ts';
import { checkOutput, type Output, writeOutput } from '../output.ts';

export interface RewrapFlags extends GlobalFlags {
  readonly in?: string;
  readonly out?: string;
  readonly force?: boolean;
}

interface RewrapResponse {
  readonly ciphertext: Buffer;
  readonly changed: boolean;
}

export async function rewrap(flags: RewrapFlags): Promise<void> {
  const kind = flags.json === true ? 'text' : 'binary';
  const output: Output = { what: 'ciphertext', kind, file: flags.out, force: flags.force === true };
  checkOutput(output);
  const ciphertext = readInput({ what: 'ciphertext', maxBytes: MAX_ENVELOPE_BYTES, file: flags.in });
  const response = await callAgent<RewrapResponse>(flags, {
    socket: 'agent',
    service: 'dekd.v1.KeyAgent',
    method: 'Rewrap',
    request: { ciphertext },
  });
  if (flags.json === true) return writeOutput(output, jsonDocument(publicJson(response) as Record<string, unknown>));
  if (!response.changed) note('dekctl', 'nothing to rewrap: its recipients are those of today already');
  writeOutput(output, response.ciphertext);
}
