import type { EncryptionContext } from '../crypto/context.ts';
import { MAX_CONTEXT_ENTRIES } from '../crypto/context.ts';
import { isKeyName } from '../crypto/dek-block.ts';
import { DekdError, invalidField } from '../errors.ts';
import type { Keyring } from '../keyring/keyring.ts';
import type { KeyRpc } from '../policy/roles.ts';
import type { Call } from './call.ts';
import type { Parts } from './parts.ts';

/** 4 MiB less 128 KiB: the answer, with the largest context and associated data, fits into a Decrypt call of 4 MiB. */
export const MAX_PLAINTEXT_BYTES = 4 * 1024 * 1024 - 128 * 1024;
const NO_CONTEXT: EncryptionContext = new Map();

/** The map of a request as a Map, so that `__proto__` is a key like any other. Its encoded length is checked where it is encoded. */
export function contextOf(fields: Readonly<Record<string, string>>): EncryptionContext {
  const entries = Object.entries(fields);
  if (entries.length === 0) return NO_CONTEXT;
  if (entries.length > MAX_CONTEXT_ENTRIES) {
    throw invalidField(
      'encryption_context',
      `has ${entries.length} entries, at most ${MAX_CONTEXT_ENTRIES} are allowed`,
    );
  }
  for (const [name] of entries) {
    if (name === '') throw invalidField('encryption_context', 'has an entry with an empty key');
    if (name.startsWith('dekd:') || name.startsWith('aws:')) {
      throw invalidField('encryption_context', `key "${name}" has a reserved prefix (dekd:, aws:)`);
    }
  }
  return new Map(entries);
}

export function checkLength(field: string, bytes: Uint8Array, max: number): void {
  if (bytes.length > max) throw invalidField(field, `has ${bytes.length} bytes, at most ${max} are allowed`);
}

export function checkKeyName(field: string, name: string): void {
  if (isKeyName(name)) return;
  throw invalidField(
    field,
    name === '' ? 'is empty; name a key' : 'is not a key name ([A-Za-z0-9][A-Za-z0-9._-]{0,127})',
  );
}

/** The keyring, for a caller who may call `rpc` on that key. Whether a key exists is told only to who may see every key. */
export function authorize(rpc: KeyRpc, name: string, call: Call, parts: Parts): Keyring {
  const keyring = parts.keyrings.byName(name);
  if (keyring !== undefined && parts.policy.may(call.principal, rpc, name)) return keyring;
  if (keyring === undefined && parts.policy.seesEveryKey(call.principal)) {
    throw new DekdError('KEY_NOT_FOUND', `there is no key "${name}"; list the keys with: dekctl keys list`, {
      metadata: { key: name },
    });
  }
  const { uid, gid } = call.principal;
  throw new DekdError('POLICY_DENIED', `uid ${uid} (gid ${gid}) may not call ${rpc} on key "${name}"`, {
    metadata: { key: name },
  });
}
