import { DekdError } from '../../errors.ts';
import { callAgent } from '../client.ts';
import { EXIT } from '../exit-codes.ts';
import type { GlobalFlags } from '../flags.ts';
import { CliError } from '../messages.ts';
import { NewFile } from '../new-file.ts';
import { toStandardOutput, writeText } from '../output.ts';

export interface BackupFlags extends GlobalFlags {
  readonly out: string;
  readonly upstream?: string;
  readonly force?: boolean;
}

interface BackupKeystoreResponse {
  readonly store: Uint8Array;
}

/** The most that an agent sends: a store of some hundred thousand KEK versions. */
const MAX_BACKUP_BYTES = 64 * 1024 * 1024;
/** Of the answer, beside the store. */
const FRAMING_BYTES = 1024;

export async function backupKeystore(flags: BackupFlags): Promise<void> {
  const { out, upstream = '', force = false } = flags;
  if (toStandardOutput(out)) throw new CliError(EXIT.usage, `--out ${out}: a backup goes to a file; name one`);
  const file = new NewFile('backup', out, force);
  try {
    const { store } = await callAgent<BackupKeystoreResponse>(flags, {
      socket: 'admin',
      service: 'dekd.v1.KeyAdmin',
      method: 'BackupKeystore',
      request: { upstream, max_bytes: MAX_BACKUP_BYTES },
      maxAnswerBytes: MAX_BACKUP_BYTES + FRAMING_BYTES,
    });
    file.write(store);
    const keks = await verified(out, file.path);
    file.finish();
    const size = store.length;
    if (flags.json === true) writeText(`${JSON.stringify({ file: out, bytes: size, keks }, undefined, 2)}\n`);
    else writeText(`${out}: ${size} bytes, ${keks} KEKs; it opens with the root key that the store has now\n`);
  } finally {
    file.discard();
  }
}

/** Reads back what is on disk. Without the root key nobody can tell more than that it is a whole store. Returns how many KEKs it has. */
async function verified(out: string, path: string): Promise<number> {
  const { readSnapshot } = await import('../../upstream/local/snapshot.ts');
  const { KEKS } = await import('../../upstream/local/records.ts');
  const { damages, head, rows } = attempt(out, () => readSnapshot(out, path));
  const [damage] = damages;
  if (damage !== undefined) throw noKeystore(out, `${damage.what} ${damage.problem}`);
  if (head === undefined) throw noKeystore(out, 'the store record is missing');
  return rows.get(KEKS.name)?.length ?? 0;
}

function attempt<Result>(out: string, work: () => Result): Result {
  try {
    return work();
  } catch (error) {
    throw error instanceof DekdError ? noKeystore(out, error.message) : error;
  }
}

function noKeystore(out: string, problem: string): CliError {
  return new CliError(EXIT.failure, `${out}: not written: what the agent sent is no whole keystore (${problem})`);
}
