import type { EncryptionContext } from '../crypto/context.ts';
import { MAX_CONTEXT_ENTRIES } from '../crypto/context.ts';
import { isKeyName } from '../crypto/dek-block.ts';
import { DekdError, invalidField } from '../errors.ts';
import type { Dek } from '../keyring/dek.ts';
import type { Keyring } from '../keyring/keyring.ts';
import type { KeyRpc } from '../policy/roles.ts';
import type { Call } from './call.ts';
import type { Parts } from './parts.ts';
import { shortText } from './short-text.ts';

/** 4 MiB less 128 KiB: the answer, with the largest context and associated data, fits into a Decrypt call of 4 MiB. */
export const MAX_PLAINTEXT_BYTES = 4 * 1024 * 1024 - 128 * 1024;
/** A caller's own text in an error must not make that as long as its request. */
const MAX_QUOTED_BYTES = 64;
const NO_CONTEXT: EncryptionContext = new Map();

/** The map of a request as a Map, so that `__proto__` is a key like any other. Its encoded length is checked where it is encoded. */
export function contextOf(fields: Readonly<Record<string, string>>, field = 'encryption_context'): EncryptionContext {
  const entries = Object.entries(fields);
  if (entries.length === 0) return NO_CONTEXT;
  if (entries.length > MAX_CONTEXT_ENTRIES) {
    throw invalidField(field, `has ${entries.length} entries, at most ${MAX_CONTEXT_ENTRIES} are allowed`);
  }
  for (const [name] of entries) {
    if (name === '') throw invalidField(field, 'has an entry with an empty key');
    if (name.startsWith('dekd:') || name.startsWith('aws:')) {
      throw invalidField(field, `key "${shortText(name, MAX_QUOTED_BYTES)}" has a reserved prefix (dekd:, aws:)`);
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

/** Throws KEY_ARCHIVED for what is archived, unless a rule of the caller says `archived: true`. For every use of a DEK that decrypts. */
export function checkArchived(dek: Dek, call: Call, parts: Parts): void {
  if (dek.archived && !parts.policy.mayUseArchived(call.principal, dek.keyName)) throw archived(dek.keyName, call);
}

export function archived(keyName: string, { principal }: Call): DekdError {
  return new DekdError(
    'KEY_ARCHIVED',
    `key ${keyName}: it, or the KEK version that this ciphertext needs, is archived, and no rule of uid ${principal.uid} says \`archived: true\``,
    { metadata: { key: keyName } },
  );
}
