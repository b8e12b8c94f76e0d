import { Buffer } from 'node:buffer';
import type { SlotHandle } from '../../../native/binding.d.ts';
import { native } from '../../crypto/native.ts';
import type { RootKeySource } from './options.ts';
import { openRootKey, type RootKeyUse } from './root-key.ts';

/** What a root key is turned into; the root key itself is not kept. */
export interface StoreKeys {
  /** Wraps the KEKs. */
  readonly kekWrap: SlotHandle;
  /** Keys the MACs of the records. */
  readonly recordMac: SlotHandle;
  /** 32 bytes, public: names the root key without giving anything of it away. */
  readonly rootKeyId: Buffer;
}

const SALT = Buffer.from('dekd keystore v1');
const KEY_BYTES = 32;

/** The root key is in memory only while the store's keys are derived from it. The caller frees them. Throws DekdError. */
export function openStoreKeys(source: RootKeySource, use: RootKeyUse): StoreKeys {
  const rootKey = openRootKey(source, use);
  try {
    return deriveStoreKeys(rootKey);
  } finally {
    native.freeKey(rootKey);
  }
}

/** HKDF-SHA-256 (RFC 5869) under one salt and a label per purpose; the root key's id = HMAC-SHA-256(third key, salt). */
export function deriveStoreKeys(rootKey: SlotHandle): StoreKeys {
  const derived: SlotHandle[] = [];
  const derive = (label: string): SlotHandle => {
    const key = native.deriveKey(rootKey, SALT, Buffer.from(label), KEY_BYTES);
    derived.push(key);
    return key;
  };
  try {
    const kekWrap = derive('kek-wrap');
    const recordMac = derive('record-mac');
    const rootKeyId = native.hmac(derive('root-key-id'), SALT);
    native.freeKey(derived.pop()!);
    return { kekWrap, recordMac, rootKeyId };
  } catch (error) {
    for (const key of derived) native.freeKey(key);
    throw error;
  }
}

export function freeStoreKeys(keys: StoreKeys): void {
  native.freeKey(keys.kekWrap);
  native.freeKey(keys.recordMac);
}

/** As messages show it: the first 16 of 64 hex digits. */
export function shortRootKeyId(id: Uint8Array): string {
  return Buffer.from(id).toString('hex', 0, 8);
}
