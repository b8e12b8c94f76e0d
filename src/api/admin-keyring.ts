import { invalidField } from '../errors.ts';
import { actor, adminDenied, exactPartition } from './admin-request.ts';
import type { Call } from './call.ts';
import type { Parts } from './parts.ts';
import { authorize, checkKeyName } from './request.ts';

interface PartitionRequest {
  key: string;
  partition: Record<string, string>;
}

export async function disablePartition(request: PartitionRequest, call: Call, parts: Parts): Promise<object> {
  checkKeyName('key', request.key);
  const keyring = authorize('DisablePartition', request.key, call, parts);
  const partition = namedPartition(request.partition, keyring);
  const purged = await parts.administration.changePartition(keyring, partition, 'disable', actor(call));
  return { purged_deks: String(purged) };
}

export async function enablePartition(request: PartitionRequest, call: Call, parts: Parts): Promise<object> {
  checkKeyName('key', request.key);
  const keyring = authorize('EnablePartition', request.key, call, parts);
  const partition = namedPartition(request.partition, keyring);
  await parts.administration.changePartition(keyring, partition, 'enable', actor(call));
  return {};
}

/** Without a key, every key that the caller may flush. */
export function flushKeyring(request: PartitionRequest, call: Call, parts: Parts): object {
  const { administration, keyrings, policy } = parts;
  if (request.key === '') {
    if (Object.keys(request.partition).length > 0) throw invalidField('partition', 'is given without a key');
    const names = policy.visibleKeys(call.principal).filter((key) => policy.may(call.principal, 'FlushKeyring', key));
    if (names.length === 0) throw adminDenied('FlushKeyring', call);
    const flushed = names.flatMap((key) => keyrings.byName(key) ?? []);
    return { purged_deks: String(administration.flush(flushed, undefined, actor(call))), keys: names };
  }
  checkKeyName('key', request.key);
  const keyring = authorize('FlushKeyring', request.key, call, parts);
  const everyPartition = Object.keys(request.partition).length === 0;
  const partition = everyPartition ? undefined : exactPartition(request.partition, keyring);
  return { purged_deks: String(administration.flush([keyring], partition, actor(call))), keys: [request.key] };
}

export async function warmKeyring(request: PartitionRequest, call: Call, parts: Parts): Promise<object> {
  checkKeyName('key', request.key);
  const keyring = authorize('WarmKeyring', request.key, call, parts);
  const partition = exactPartition(request.partition, keyring);
  return { deks: String(await parts.administration.warm(keyring, partition, actor(call))) };
}

/** A key without partitions has none that could be disabled. */
function namedPartition(
  fields: Readonly<Record<string, string>>,
  keyring: Parameters<typeof exactPartition>[1],
): ReturnType<typeof exactPartition> {
  const partition = exactPartition(fields, keyring);
  if (partition.size > 0) return partition;
  throw invalidField('partition', `key ${keyring.options.name} is not partitioned; disable or enable the key itself`);
}
