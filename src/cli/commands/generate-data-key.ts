import { callAgent } from '../client.ts';
import { showDryRun } from '../dry-run.ts';
import { EXIT } from '../exit-codes.ts';
import { associatedData, type BindingFlags, checkUtf8, type GlobalFlags, parseInteger, parsePairs } from '../flags.ts';
import { jsonDocument } from '../json-document.ts';
import { CliError } from '../messages.ts';
import { checkOutput, type Output, toStandardOutput, writeOutput } from '../output.ts';

export interface GenerateDataKeyFlags extends GlobalFlags, BindingFlags {
  readonly key: string;
  readonly bytes: string;
  /** False with `--without-plaintext`. */
  readonly withoutPlaintext?: boolean;
  readonly out?: string;
  readonly outCiphertext?: string;
  readonly force?: boolean;
  readonly dryRun?: boolean;
}

interface GenerateDataKeyResponse {
  readonly plaintext?: Buffer;
  readonly key: string;
  readonly ciphertext: Buffer;
  readonly [field: string]: unknown;
}

const MAX_DATA_KEY_BYTES = 1024;

export async function generateDataKey(flags: GenerateDataKeyFlags): Promise<void> {
  const outputs = flags.dryRun === true ? [] : planOutputs(flags);
  for (const { output } of outputs) checkOutput(output);
  checkUtf8('--key', flags.key);
  const encryptionContext = parsePairs('--context', flags.context);
  const numberOfBytes = parseInteger('--bytes', flags.bytes, 1, MAX_DATA_KEY_BYTES);
  const data = associatedData(flags);
  try {
    const response = await callAgent<GenerateDataKeyResponse>(flags, {
      socket: 'agent',
      service: 'dekd.v1.KeyAgent',
      method: flags.withoutPlaintext === true ? 'GenerateDataKeyWithoutPlaintext' : 'GenerateDataKey',
      request: {
        key: flags.key,
        number_of_bytes: numberOfBytes,
        encryption_context: encryptionContext,
        associated_data: data,
        dry_run: flags.dryRun === true,
      },
    });
    if (flags.dryRun === true) return showDryRun(flags, response);
    try {
      for (const { output, bytes } of outputs) writeOutput(output, bytes(response));
    } finally {
      response.plaintext?.fill(0);
    }
  } finally {
    data.fill(0);
  }
}

interface Plan {
  readonly output: Output;
  readonly bytes: (response: GenerateDataKeyResponse) => Uint8Array;
}

/** The encrypted copy goes first: a data key whose encrypted copy could not be kept is of no use to anybody. */
function planOutputs(flags: GenerateDataKeyFlags): Plan[] {
  const force = flags.force === true;
  const plain = flags.withoutPlaintext !== true;
  if (flags.json === true) {
    const what = plain ? 'data key' : 'encrypted data key';
    refuse(flags.outCiphertext, '--out-ciphertext: not with --json, which puts both into one document');
    return [{ output: { what, kind: plain ? 'secret' : 'text', file: flags.out, force }, bytes: jsonDocument }];
  }
  const ciphertext = { what: 'encrypted data key', kind: 'binary', file: flags.outCiphertext, force } as const;
  const first: Plan = { output: ciphertext, bytes: (response) => response.ciphertext };
  if (!plain) {
    refuse(flags.out, '--out: the clear key stays away with --without-plaintext; name a file with --out-ciphertext');
    return [first];
  }
  if (toStandardOutput(flags.outCiphertext)) {
    const text = '--out-ciphertext FILE is needed: the encrypted data key goes there, the clear one to --out or a pipe';
    throw new CliError(EXIT.usage, `${text} (or both into one document with --json)`);
  }
  const output = { what: 'data key', kind: 'secret', file: flags.out, force } as const;
  return [first, { output, bytes: (response) => response.plaintext ?? new Uint8Array() }];
}

function refuse(value: string | undefined, problem: string): void {
  if (value !== undefined) throw new CliError(EXIT.usage, problem);
}
