import { callAdmin } from '../client.ts';
import { parsePairs } from '../flags.ts';
import { printable } from '../messages.ts';
import { show } from '../show.ts';
import type { PartitionFlags } from './partitions.ts';

export async function warm(key: string, flags: PartitionFlags): Promise<void> {
  const request = { key, partition: parsePairs('--partition', flags.partition) };
  show(flags, await callAdmin<{ deks: string }>(flags, 'WarmKeyring', request), ({ deks }) =>
    printable(
      deks === '0'
        ? `nothing to do for ${key}: its DEK is in memory, or its cache mode keeps none`
        : `warmed ${key}: DEKs made: ${deks}`,
    ),
  );
}
