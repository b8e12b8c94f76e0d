import { arenaStatus } from '../crypto/native.ts';
import { DekdError } from '../errors.ts';

/** Slots kept free, while there is something to evict, for what else works in the arena: an upstream's own keys. */
const SPARE_SLOTS = 8;

/**
 * Secret memory for DEKs on their way: slots are promised before an upstream is asked, so that concurrent misses do not count on the same
 * ones. Second tier and finer choices come later: here decrypting DEKs make way.
 */
export class Room {
  readonly #evict: () => boolean;
  #promised = 0;

  /** `evict` zeroes the DEK that can best be spared; false when there is none. */
  constructor(evict: () => boolean) {
    this.#evict = evict;
  }

  /** Runs `work`, which makes at most `slots` keys. Throws SECRET_MEMORY_EXHAUSTED when nothing can make way for them. */
  async hold<T>(slots: number, work: () => Promise<T>): Promise<T> {
    while (this.#free() < slots + SPARE_SLOTS && this.#evict());
    if (this.#free() < slots) {
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
