import { callAgent } from '../client.ts';
import { associatedData, type BindingFlags, checkUtf8, type GlobalFlags, parsePairs } from '../flags.ts';
import { MAX_ENVELOPE_BYTES, readInput } from '../input.ts';
import { jsonDocument, publicJson } from '../json-document.ts';
import { checkOutput, type Output, writeOutput } from '../output.ts';

export interface ReEncryptFlags extends GlobalFlags, BindingFlags {
  readonly key: string;
  readonly sourceContext?: readonly string[];
  readonly sourceAad?: string;
  readonly sourceAadFile?: string;
  readonly in?: string;
  readonly out?: string;
  readonly force?: boolean;
}

interface ReEncryptResponse {
  readonly ciphertext: Buffer;
}

/** `--source-*` is what the ciphertext was made with, the rest what it shall have. */
export async function reEncrypt(flags: ReEncryptFlags): Promise<void> {
  const kind = flags.json === true ? 'text' : 'binary';
  const output: Output = { what: 'ciphertext', kind, file: flags.out, force: flags.force === true };
  checkOutput(output);
  checkUtf8('--key', flags.key);
  const sourceContext = parsePairs('--source-context', flags.sourceContext);
  const context = parsePairs('--context', flags.context);
  const sourceData = associatedData({ aad: flags.sourceAad, aadFile: flags.sourceAadFile }, '--source-aad');
  const data = associatedData(flags);
  const ciphertext = readInput({ what: 'ciphertext', maxBytes: MAX_ENVELOPE_BYTES, file: flags.in });
  try {
    const response = await callAgent<ReEncryptResponse>(flags, {
      socket: 'agent',
      service: 'dekd.v1.KeyAgent',
      method: 'ReEncrypt',
      request: {
        ciphertext,
        source_encryption_context: sourceContext,
        source_associated_data: sourceData,
        destination_key: flags.key,
        destination_encryption_context: context,
        destination_associated_data: data,
      },
    });
    const document = (): Buffer => jsonDocument(publicJson(response) as Record<string, unknown>);
    writeOutput(output, flags.json === true ? document() : response.ciphertext);
  } finally {
    sourceData.fill(0);
    data.fill(0);
  }
}
