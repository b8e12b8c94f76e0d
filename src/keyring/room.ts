import { arenaStatus } from '../crypto/native.ts';
import { DekdError } from '../errors.ts';

/** Slots that new DEKs leave free: what is held must go on being refreshed, and an upstream's own keys need room too. */
const SPARE_SLOTS = 8;

/** Who can make way when secret memory is full. */
export interface Evictions {
  /** Zeroes the DEK that can best be spared, one that only decrypts; false when there is none. */
  decrypting(): boolean;
  /** Zeroes an encrypting DEK of the key that has most of them, if that is more than `share`; false when no key has. */
  encrypting(share: number): boolean;
}

/**
 * Secret memory for DEKs on their way: slots are promised before an upstream is asked, so that concurrent misses do not count on the same
 * ones. A second tier comes later: here decrypting DEKs make way, then encrypting ones of whoever has more than its share.
 */
export class Room {
  readonly #evict: Evictions;
  #promised = 0;

  constructor(evict: Evictions) {
    this.#evict = evict;
  }

  /** Runs `work`, which makes at most `slots` keys. Throws SECRET_MEMORY_EXHAUSTED when nothing can make way for them. */
  hold<T>(slots: number, work: () => Promise<T>): Promise<T> {
    while (this.#free() < slots + SPARE_SLOTS && this.#evict.decrypting());
    return this.#run(slots, slots, work);
  }

  /** The same for a DEK that encrypts, of a key that has `share` of them: one key's partitions must not stop another key. */
  holdForNew<T>(slots: number, share: number, work: () => Promise<T>): Promise<T> {
    const needed = slots + SPARE_SLOTS;
    while (this.#free() < needed && (this.#evict.decrypting() || this.#evict.encrypting(share + 1)));
    return this.#run(slots, needed, work);
  }

  async #run<T>(slots: number, needed: number, work: () => Promise<T>): Promise<T> {
    if (this.#free() < needed) {
      throw new DekdError('SECRET_MEMORY_EXHAUSTED', 'no secret memory is left for another key; raise memory.size');
    }
    this.#promised += slots;
    try {
      return await work();
    } finally {
      this.#promised -= slots;
    }
  }

  #free(): number {
    const { slots, slotsUsed } = arenaStatus();
    return slots - slotsUsed - this.#promised;
  }
}
