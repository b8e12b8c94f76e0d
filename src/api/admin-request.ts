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
  authorizeSharers(rpc, name, parts.administration.changeableKeks(target), call, parts);
  return target;
}

/** As authorizeChange; a key without a KEK that can be rotated here still gets new DEKs. */
export function authorizeRotation(name: string, call: Call, parts: Parts): Keyring {
  checkKeyName('key', name);
  const keyring = authorize('RotateKey', name, call, parts);
  authorizeSharers('RotateKey', name, parts.administration.rotatableKeks(keyring), call, parts);
  return keyring;
}

/** Throws POLICY_DENIED unless the caller may call `rpc` on every other key that names one of these KEKs. */
function authorizeSharers(rpc: KeyRpc, name: string, changed: readonly Kek[], call: Call, parts: Parts): void {
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
