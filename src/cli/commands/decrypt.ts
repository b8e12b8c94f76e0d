import { callAgent } from '../client.ts';
import { showDryRun } from '../dry-run.ts';
import { associatedData, type BindingFlags, checkUtf8, type GlobalFlags, parsePairs } from '../flags.ts';
import { MAX_ENVELOPE_BYTES, readInput } from '../input.ts';
import { jsonDocument } from '../json-document.ts';
import { checkOutput, type Output, writeOutput } from '../output.ts';

export interface DecryptFlags extends GlobalFlags, BindingFlags {
  readonly expectedKey?: string;
  readonly in?: string;
  readonly out?: string;
  readonly force?: boolean;
  readonly dryRun?: boolean;
}

interface DecryptResponse {
  readonly plaintext: Buffer;
  readonly key: string;
  readonly [field: string]: unknown;
}

export async function decrypt(flags: DecryptFlags): Promise<void> {
  const output: Output = { what: 'plaintext', kind: 'secret', file: flags.out, force: flags.force === true };
  if (flags.dryRun !== true) checkOutput(output);
  checkUtf8('--expected-key', flags.expectedKey);
  const encryptionContext = parsePairs('--context', flags.context);
  const data = associatedData(flags);
  const ciphertext = readInput({ what: 'ciphertext', maxBytes: MAX_ENVELOPE_BYTES, file: flags.in });
  try {
    const response = await callAgent<DecryptResponse>(flags, {
      socket: 'agent',
      service: 'dekd.v1.KeyAgent',
      method: 'Decrypt',
      request: {
        ciphertext,
        encryption_context: encryptionContext,
        associated_data: data,
        expected_key: flags.expectedKey ?? '',
        dry_run: flags.dryRun === true,
      },
    });
    if (flags.dryRun === true) return showDryRun(flags, response);
    try {
      writeOutput(output, flags.json === true ? jsonDocument(response) : response.plaintext);
    } finally {
      response.plaintext.fill(0);
    }
  } finally {
    data.fill(0);
  }
}
