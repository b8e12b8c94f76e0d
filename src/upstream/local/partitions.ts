import { invalidField } from '../../errors.ts';
import { KEK_NAME } from '../uri.ts';

const MAX_PAIRS = 64;
const MAX_PAIRS_BYTES = 8192;
/** Begins the pairs of a wrap context that are dekd's own. */
const OWN_PREFIX = 'dekd:';
const KEY_NAME = 'dekd:key';

/** Pairs as one text that no other pairs have: JSON [[key, value], …], ascending by key. */
export function canonicalPairs(pairs: ReadonlyMap<string, string>): string {
  return JSON.stringify([...pairs].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** The pairs that canonicalPairs wrote. */
export function parsePairs(canonical: string): Map<string, string> {
  return new Map(JSON.parse(canonical) as [string, string][]);
}

/** Names a partition of a key, as `partitionOf` does for a DEK's wrap context. */
export function partitionId(keyName: string, pairs: string): string {
  return `${keyName}:${pairs}`;
}

/** The key and partition that a DEK belongs to, from its wrap context: `dekd:key` and every pair that is not dekd's own. */
export function partitionOf(context: ReadonlyMap<string, string>): string {
  const pairs = new Map([...context].filter(([key]) => !key.startsWith(OWN_PREFIX)));
  return partitionId(context.get(KEY_NAME) ?? '', canonicalPairs(pairs));
}

/** The canonical pairs of a partition that somebody disables or enables. Throws DekdError INVALID_REQUEST. */
export function checkPartition(keyName: string, partition: ReadonlyMap<string, string>): string {
  // A key's name has the form of a KEK's.
  if (!KEK_NAME.test(keyName)) {
    throw invalidField('key', 'must be 1-128 of A-Z a-z 0-9 . _ - and begin with a letter or digit');
  }
  if (partition.size < 1 || partition.size > MAX_PAIRS) {
    throw invalidField('partition', `has ${partition.size} entries, 1 to ${MAX_PAIRS} are allowed`);
  }
  let bytes = 0;
  for (const [key, value] of partition) {
    if (!key.isWellFormed() || !value.isWellFormed()) {
      throw invalidField('partition', 'a key or value is not valid Unicode');
    }
    if (key === '' || value === '') throw invalidField('partition', 'a key or value is empty');
    if (key.startsWith(OWN_PREFIX))
      throw invalidField('partition', `keys that begin with ${OWN_PREFIX} are dekd's own`);
    bytes += Buffer.byteLength(key) + Buffer.byteLength(value);
  }
  if (bytes > MAX_PAIRS_BYTES) {
    throw invalidField('partition', `has ${bytes} bytes, at most ${MAX_PAIRS_BYTES} are allowed`);
  }
  return canonicalPairs(partition);
}
