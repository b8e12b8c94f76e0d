import type { EncryptionContext } from '../crypto/context.ts';
import { MAX_PARTITION_VALUE_BYTES } from '../crypto/dek-block.ts';
import { invalidField } from '../errors.ts';

const NO_PARTITION: EncryptionContext = new Map();

/**
 * The pairs of a context that choose the DEK; `names` in the order of the context encoding. Throws INVALID_REQUEST when one is missing or
 * not 1-256 bytes long; `field` is where the request has the context.
 */
export function partitionOf(
  context: EncryptionContext,
  names: readonly string[],
  keyName: string,
  field = 'encryption_context',
): EncryptionContext {
  if (names.length === 0) return NO_PARTITION;
  const partition = new Map<string, string>();
  for (const name of names) {
    const value = context.get(name);
    const length = value === undefined ? 0 : Buffer.byteLength(value);
    if (value === undefined || length === 0 || length > MAX_PARTITION_VALUE_BYTES) {
      const found = value === undefined ? 'is missing' : `has ${length} bytes`;
      throw invalidField(
        field,
        `entry "${name}" ${found}; key ${keyName} is partitioned by it (1 to ${MAX_PARTITION_VALUE_BYTES} bytes)`,
      );
    }
    partition.set(name, value);
  }
  return partition;
}

/** One string for a partition's pairs; lengths keep different partitions apart. */
export function partitionKey(partition: EncryptionContext): string {
  let key = '';
  for (const [name, value] of partition) key += `${name.length}:${name}${value.length}:${value}`;
  return key;
}
