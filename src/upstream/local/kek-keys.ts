import { LRUCache } from 'lru-cache';
import type { SlotHandle } from '../../../native/binding.d.ts';
import { arenaStatus, native } from '../../crypto/native.ts';
import { encodeFields } from './fields.ts';

const XAES_256_GCM = 1;

/** What the arena keeps back for raw keys is an eighth of its slots, at least 64; the other half of that is for whatever is not a KEK. */
const SHARE_OF_SLOTS = 16;
const LEAST_LOADED = 8;
/** Unwrapping one again takes microseconds. */
const MOST_LOADED = 1024;

/** Loaded keys of every store of this thread, since all of them take from the same slots: KEKs and versions can be more than there are. */
let loaded: LRUCache<string, SlotHandle> | undefined;

let keysMade = 0;

/**
 * The KEKs' own keys: wrapped on their way to the store, in secret memory from their first use until others are used, they are destroyed, or the
 * upstream is closed.
 */
export class KekKeys {
  readonly #storeId: string;
  readonly #wrappingKey: SlotHandle;
  /** Not the store's id: copies of one store may be open at the same time. */
  readonly #prefix = `${keysMade++}/`;

  /** `wrappingKey` stays its owner's. */
  constructor(storeId: string, wrappingKey: SlotHandle) {
    this.#storeId = storeId;
    this.#wrappingKey = wrappingKey;
  }

  /** A new random key, wrapped. It is not kept: its first use unwraps what was stored, so nothing is ever wrapped under a key that is not. */
  create(kek: string, version: number): Uint8Array {
    const key = withRoom(() => native.createKey('raw'));
    try {
      return native.wrapKey(this.#wrappingKey, XAES_256_GCM, key, keyContext(this.#storeId, kek, version));
    } finally {
      native.freeKey(key);
    }
  }

  /** The handle stays ours: the caller does not free it, and it is good until this thread loads or creates another. */
  load(kek: string, version: number, wrappedKey: Uint8Array): SlotHandle {
    const name = this.#name(kek, version);
    const present = loadedKeys().get(name);
    if (present !== undefined) return present;
    const context = keyContext(this.#storeId, kek, version);
    const key = withRoom(() => native.unwrapKey(this.#wrappingKey, XAES_256_GCM, wrappedKey, context, 'raw'));
    loadedKeys().set(name, key);
    return key;
  }

  /** Zeroes what is loaded of these versions of a KEK. */
  free(kek: string, versions: Iterable<number>): void {
    for (const version of versions) loadedKeys().delete(this.#name(kek, version));
  }

  freeAll(): void {
    for (const name of [...loadedKeys().keys()]) {
      if (name.startsWith(this.#prefix)) loadedKeys().delete(name);
    }
  }

  #name(kek: string, version: number): string {
    return `${this.#prefix}${kek}/${version}`;
  }
}

/** Made when the arena is open. */
function loadedKeys(): LRUCache<string, SlotHandle> {
  loaded ??= new LRUCache({ max: mostLoaded(), dispose: (key) => native.freeKey(key) });
  return loaded;
}

/** How many keys stay loaded; the arena must be open. */
export function mostLoaded(): number {
  return Math.min(Math.max(Math.floor(arenaStatus().slots / SHARE_OF_SLOTS), LEAST_LOADED), MOST_LOADED);
}

/** While no slot is left for what `work` makes, the loaded key whose last use is longest ago makes way. */
function withRoom<T>(work: () => T): T {
  for (;;) {
    try {
      return work();
    } catch (error) {
      const isFull = (error as { code?: unknown }).code === 'ERR_NO_MEMORY';
      if (!isFull || loadedKeys().size === 0) throw error;
      loadedKeys().pop();
    }
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
