import type { EncryptionContext } from '../crypto/context.ts';
import { DekdError, invalidField } from '../errors.ts';
import type { Kek } from '../keyring/kek.ts';
import type { Keyring } from '../keyring/keyring.ts';
import { partitionOf } from '../keyring/partition.ts';
import type { KeyRpc } from '../policy/roles.ts';
import type { ChangeTarget } from './administration.ts';
import type { Call } from './call.ts';
import type { Parts } from './parts.ts';
import { authorize, checkKeyName } from './request.ts';

/** Who asks, as log and keystore have it. */
export function actor(call: Call): string {
  return `uid ${call.principal.uid}`;
}

export function adminDenied(rpc: string, call: Call): DekdError {
  const { uid, gid } = call.principal;
  return new DekdError('POLICY_DENIED', `uid ${uid} (gid ${gid}) may not call ${rpc}`);
}

/** The part of a request that says what is changed. */
export interface ChangeRequest {
  key: string;
  /** Default: every KEK that the key has for its DEKs. */
  kek?: string;
}

/**
 * What is changed, for a caller who may change the KEKs of that key. A change reaches every key that names one of these KEKs, so the caller
 * needs the same right on each of them.
 */
export function authorizeChange(rpc: KeyRpc, request: ChangeRequest, call: Call, parts: Parts): ChangeTarget {
  const { key: name, kek = '' } = request;
  checkKeyName('key', name);
  const target = { keyring: authorize(rpc, name, call, parts), kek };
  const changed = parts.administration.changeableKeks(target);
  for (const other of parts.keyrings.names()) {
    if (other === name || parts.policy.may(call.principal, rpc, other)) continue;
    const shared = keksOf(parts.keyrings.byName(other)).find((kek) => changed.includes(kek));
    if (shared === undefined) continue;
    const { uid, gid } = call.principal;
    throw new DekdError(
      'POLICY_DENIED',
      `uid ${uid} (gid ${gid}) may not call ${rpc} on every key that names KEK ${shared.uri}`,
      { metadata: { key: name } },
    );
  }
  return target;
}

function keksOf(keyring: Keyring | undefined): Kek[] {
  if (keyring === undefined) return [];
  return [...keyring.options.recipients.map(({ kek }) => kek), ...keyring.options.decryptWith];
}

/** A request's partition: exactly the entries that the key partitions by. Throws INVALID_REQUEST. */
export function exactPartition(fields: Readonly<Record<string, string>>, keyring: Keyring): EncryptionContext {
  const { name: key, partitionBy } = keyring.options;
  const given = new Map(Object.entries(fields));
  const extra = [...given.keys()].find((name) => !partitionBy.includes(name));
  if (extra !== undefined) {
    const wanted = partitionBy.length === 0 ? 'is not partitioned' : `is partitioned by ${partitionBy.join(', ')}`;
    throw invalidField('partition', `has the entry "${extra}", but key ${key} ${wanted}`);
  }
  return partitionOf(given, partitionBy, key, 'partition');
}
