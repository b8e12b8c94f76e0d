import { callAdmin } from '../client.ts';
import { parsePairs } from '../flags.ts';
import { printable } from '../messages.ts';
import { show } from '../show.ts';
import type { PartitionFlags } from './partitions.ts';

interface FlushKeyringResponse {
  readonly purged_deks: string;
  readonly keys: readonly string[];
}

/** Without a key, every key that the caller may operate. */
export async function flush(key: string | undefined, flags: PartitionFlags): Promise<void> {
  const request = { key: key ?? '', partition: parsePairs('--partition', flags.partition) };
  show(flags, await callAdmin<FlushKeyringResponse>(flags, 'FlushKeyring', request), (flushed) =>
    printable(`flushed ${flushed.keys.join(', ')}: DEKs zeroed: ${flushed.purged_deks}`),
  );
}
