import type { SlotHandle } from '../../../native/binding.d.ts';
import { native } from '../../crypto/native.ts';
import { encodeFields } from './fields.ts';

const XAES_256_GCM = 1;

/** The KEKs' own keys: wrapped on their way to the store, in secret memory from their first use until the upstream is closed. */
export class KekKeys {
  readonly #storeId: string;
  readonly #wrappingKey: SlotHandle;
  readonly #loaded = new Map<string, SlotHandle>();

  /** `wrappingKey` stays its owner's. */
  constructor(storeId: string, wrappingKey: SlotHandle) {
    this.#storeId = storeId;
    this.#wrappingKey = wrappingKey;
  }

  /** A new random key, wrapped. It is not kept: its first use unwraps what was stored, so nothing is ever wrapped under a key that is not. */
  create(kek: string, version: number): Uint8Array {
    const key = native.createKey('raw');
    try {
      return native.wrapKey(this.#wrappingKey, XAES_256_GCM, key, this.#context(kek, version));
    } finally {
      native.freeKey(key);
    }
  }

  /** The handle stays ours: the caller does not free it. */
  load(kek: string, version: number, wrappedKey: Uint8Array): SlotHandle {
    const id = `${kek}/${version}`;
    const loaded = this.#loaded.get(id);
    if (loaded !== undefined) return loaded;
    const key = native.unwrapKey(this.#wrappingKey, XAES_256_GCM, wrappedKey, this.#context(kek, version), 'raw');
    this.#loaded.set(id, key);
    return key;
  }

  freeAll(): void {
    for (const key of this.#loaded.values()) native.freeKey(key);
    this.#loaded.clear();
  }

  /** A wrapped key opens as this version of this KEK in this store and as nothing else. */
  #context(kek: string, version: number): Buffer {
    return encodeFields(['kek-key', this.#storeId, kek, BigInt(version)]);
  }
}
