import { callAgent } from '../client.ts';
import { showDryRun } from '../dry-run.ts';
import { associatedData, type BindingFlags, checkUtf8, type GlobalFlags, parsePairs } from '../flags.ts';
import { MAX_PLAINTEXT_BYTES, readInput } from '../input.ts';
import { jsonDocument, publicJson } from '../json-document.ts';
import { checkOutput, type Output, writeOutput } from '../output.ts';

export interface EncryptFlags extends GlobalFlags, BindingFlags {
  readonly key: string;
  readonly in?: string;
  readonly out?: string;
  readonly force?: boolean;
  readonly dryRun?: boolean;
}

interface EncryptResponse {
  readonly ciphertext: Buffer;
  readonly key: string;
}

export async function encrypt(flags: EncryptFlags): Promise<void> {
  const output: Output = {
    what: 'ciphertext',
    kind: flags.json === true ? 'text' : 'binary',
    file: flags.out,
    force: flags.force === true,
  };
  if (flags.dryRun !== true) checkOutput(output);
  checkUtf8('--key', flags.key);
  const encryptionContext = parsePairs('--context', flags.context);
  const data = associatedData(flags);
  const plaintext = readInput({ what: 'plaintext', maxBytes: MAX_PLAINTEXT_BYTES, file: flags.in });
  try {
    const response = await callAgent<EncryptResponse>(flags, {
      socket: 'agent',
      service: 'dekd.v1.KeyAgent',
      method: 'Encrypt',
      request: {
        key: flags.key,
        plaintext,
        encryption_context: encryptionContext,
        associated_data: data,
        dry_run: flags.dryRun === true,
      },
    });
    if (flags.dryRun === true) return showDryRun(flags, response);
    const bytes =
      flags.json === true
        ? jsonDocument(publicJson(response) as object as Record<string, unknown>)
        : response.ciphertext;
    writeOutput(output, bytes);
  } finally {
    plaintext.fill(0);
    data.fill(0);
  }
}
