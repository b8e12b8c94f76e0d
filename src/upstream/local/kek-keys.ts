import type { SlotHandle } from '../../../native/binding.d.ts';
import { native } from '../../crypto/native.ts';
import { encodeFields } from './fields.ts';

const XAES_256_GCM = 1;

/** The KEKs' own keys: wrapped on their way to the store, in secret memory from their first use until they are destroyed or the upstream is closed. */
export class KekKeys {
  readonly #storeId: string;
  readonly #wrappingKey: SlotHandle;
  /** By KEK and version. */
  readonly #loaded = new Map<string, Map<number, SlotHandle>>();

  /** `wrappingKey` stays its owner's. */
  constructor(storeId: string, wrappingKey: SlotHandle) {
    this.#storeId = storeId;
    this.#wrappingKey = wrappingKey;
  }

  /** A new random key, wrapped. It is not kept: its first use unwraps what was stored, so nothing is ever wrapped under a key that is not. */
  create(kek: string, version: number): Uint8Array {
    const key = native.createKey('raw');
    try {
      return native.wrapKey(this.#wrappingKey, XAES_256_GCM, key, keyContext(this.#storeId, kek, version));
    } finally {
      native.freeKey(key);
    }
  }

  /** The handle stays ours: the caller does not free it. */
  load(kek: string, version: number, wrappedKey: Uint8Array): SlotHandle {
    const versions = this.#loaded.get(kek) ?? new Map<number, SlotHandle>();
    const loaded = versions.get(version);
    if (loaded !== undefined) return loaded;
    const context = keyContext(this.#storeId, kek, version);
    const key = native.unwrapKey(this.#wrappingKey, XAES_256_GCM, wrappedKey, context, 'raw');
    this.#loaded.set(kek, versions.set(version, key));
    return key;
  }

  /** Zeroes what is loaded of a KEK. */
  free(kek: string): void {
    for (const key of this.#loaded.get(kek)?.values() ?? []) native.freeKey(key);
    this.#loaded.delete(kek);
  }

  freeAll(): void {
    for (const kek of [...this.#loaded.keys()]) this.free(kek);
  }
}

/** A KEK's key that is wrapped under `from`, wrapped under `to`, from slot to slot. */
export function rewrapKek(
  storeId: string,
  version: { readonly kek: string; readonly version: number; readonly wrappedKey: Uint8Array },
  from: SlotHandle,
  to: SlotHandle,
): Uint8Array {
  const context = keyContext(storeId, version.kek, version.version);
  const key = native.unwrapKey(from, XAES_256_GCM, version.wrappedKey, context, 'raw');
  try {
    return native.wrapKey(to, XAES_256_GCM, key, context);
  } finally {
    native.freeKey(key);
  }
}

/** A wrapped key opens as this version of this KEK in this store and as nothing else. */
function keyContext(storeId: string, kek: string, version: number): Buffer {
  return encodeFields(['kek-key', storeId, kek, BigInt(version)]);
}
