import { arenaStatus } from '../crypto/native.ts';
import { DekdError } from '../errors.ts';

/** Places that new DEKs leave free, of both tiers: what is held must go on being refreshed. */
const SPARE_SLOTS = 8;
/** Slots that even a DEK which a ciphertext brings leaves free, or a flood of ciphertexts would stop the refreshes. */
const REFRESH_SLOTS = 4;

/** Who can make way when secret memory is full. */
export interface Evictions {
  /** Zeroes the DEK that can best be spared, one that only decrypts and that an upstream could bring back; false when there is none. */
  decrypting(): boolean;
  /**
   * Zeroes an encrypting DEK of the key that has most of them, if that is more than `share`, else a decrypting one likewise, though no upstream could bring it
   * back; false when no key has.
   */
  overShare(share: number): boolean;
}

/**
 * Secret memory for DEKs on their way: slots are promised before an upstream is asked, so that concurrent misses do not count on the same
 * ones. When both tiers are full, decrypting DEKs make way, then those of whoever has more than its share. `mayEvict` false
 * = the upstream is out, so that what made way could be neither replaced nor loaded again.
 */
export class Room {
  readonly #evict: Evictions;
  #promised = 0;
  #release = Promise.withResolvers<void>();

  constructor(evict: Evictions) {
    this.#evict = evict;
  }

  /** For the refresh of a DEK that is held: takes the last slot, and waits for it. SECRET_MEMORY_EXHAUSTED when there is none to wait for. */
  async holdForRefresh<T>(work: () => Promise<T>): Promise<T> {
    return this.#holdLast(1, work);
  }

  /** For a successor, whose predecessor makes way: as for a refresh, and decrypting DEKs make room ahead of it. */
  async holdForSuccessor<T>(slots: number, mayEvict: boolean, work: () => Promise<T>): Promise<T> {
    while (mayEvict && this.#free() < slots + SPARE_SLOTS && this.#evict.decrypting());
    return this.#holdLast(slots, work);
  }

  /** For a DEK that a ciphertext brings. Throws SECRET_MEMORY_EXHAUSTED when no decrypting DEK can make way for it. */
  async holdForLoad<T>(mayEvict: boolean, work: () => Promise<T>): Promise<T> {
    while (mayEvict && this.#free() < 1 + SPARE_SLOTS && this.#evict.decrypting());
    return this.#hold(1, REFRESH_SLOTS, work);
  }

  /** For the first DEK of a partition, of a key that has `share` of them: one key's partitions must not stop another key. */
  async holdForNew<T>(slots: number, share: number, mayEvict: boolean, work: () => Promise<T>): Promise<T> {
    const makeWay = (): boolean => this.#evict.decrypting() || this.#evict.overShare(share + 1);
    while (mayEvict && this.#free() < slots + SPARE_SLOTS && makeWay());
    return this.#hold(slots, SPARE_SLOTS, work);
  }

  async #holdLast<T>(slots: number, work: () => Promise<T>): Promise<T> {
    while (this.#free() < slots) {
      if (this.#promised > 0) await this.#release.promise;
      else if (!this.#evict.decrypting()) break;
    }
    return this.#hold(slots, 0, work);
  }

  async #hold<T>(slots: number, spare: number, work: () => Promise<T>): Promise<T> {
    if (this.#free() < slots + spare) {
      throw new DekdError('SECRET_MEMORY_EXHAUSTED', 'no secret memory is left for another key; raise memory.size');
    }
    this.#promised += slots;
    try {
      return await work();
    } finally {
      this.#promised -= slots;
      this.#release.resolve();
      this.#release = Promise.withResolvers();
    }
  }

  #free(): number {
    return arenaStatus().free - this.#promised;
  }
}
