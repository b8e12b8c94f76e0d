import { callAdmin } from '../client.ts';
import { type GlobalFlags, parsePairs } from '../flags.ts';
import { printable } from '../messages.ts';
import { pairsText } from '../render.ts';
import { show } from '../show.ts';

export interface PartitionFlags extends GlobalFlags {
  readonly partition?: readonly string[];
}

export async function disablePartition(key: string, flags: PartitionFlags): Promise<void> {
  const partition = parsePairs('--partition', flags.partition);
  show(
    flags,
    await callAdmin<{ purged_deks: string }>(flags, 'DisablePartition', { key, partition }),
    ({ purged_deks: purged }) =>
      printable(
        `disabled ${pairsText(partition)} of ${key}: every use is refused from now on, DEKs zeroed: ${purged}; ` +
          'back with: dekctl partitions enable',
      ),
  );
}

export async function enablePartition(key: string, flags: PartitionFlags): Promise<void> {
  const partition = parsePairs('--partition', flags.partition);
  show(flags, await callAdmin<object>(flags, 'EnablePartition', { key, partition }), () =>
    printable(`enabled ${pairsText(partition)} of ${key}`),
  );
}
