import type { Envelope } from '../crypto/envelope.ts';
import { DEK_ID_OFFSET, type Dek } from './dek.ts';

/**
 * Every cached DEK by its dek_id. A hit looks here first, and over thousands of DEKs that is a walk through cold memory: the map's keys are
 * 30 bits of dek_id, small integers that need no string and no pointer to follow, and DEKs that share them form a chain. Nothing depends on
 * those bits: the bytes decide.
 */
export class DekIndex {
  readonly #chains = new Map<number, Dek>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** The DEK whose dek_id and verified block an envelope carries, byte for byte. */
  find({ bytes, sealedOffset }: Envelope): Dek | undefined {
    let dek = this.#chains.get(bits(bytes, DEK_ID_OFFSET));
    while (dek !== undefined && !dek.standsIn(bytes, sealedOffset)) dek = dek.next;
    return dek;
  }

  byId(id: Buffer): Dek | undefined {
    let dek = this.#chains.get(bits(id, 0));
    while (dek !== undefined && !dek.id.equals(id)) dek = dek.next;
    return dek;
  }

  /** `dek` must not be in, nor another of its dek_id. */
  add(dek: Dek): void {
    const key = bits(dek.id, 0);
    dek.next = this.#chains.get(key);
    this.#chains.set(key, dek);
    this.#size++;
  }

  /** Does nothing when it is not in. */
  delete(dek: Dek): void {
    const key = bits(dek.id, 0);
    const first = this.#chains.get(key);
    if (first === dek) {
      if (dek.next === undefined) this.#chains.delete(key);
      else this.#chains.set(key, dek.next);
      this.#size--;
      return;
    }
    for (let before = first; before !== undefined; before = before.next) {
      if (before.next !== dek) continue;
      before.next = dek.next;
      this.#size--;
      return;
    }
  }

  *values(): Iterable<Dek> {
    for (const first of this.#chains.values()) {
      for (let dek: Dek | undefined = first; dek !== undefined; dek = dek.next) yield dek;
    }
  }
}

/** The first 30 bits: a positive small integer to V8. */
function bits(bytes: Buffer, offset: number): number {
  return (bytes[offset]! << 22) | (bytes[offset + 1]! << 14) | (bytes[offset + 2]! << 6) | (bytes[offset + 3]! >> 2);
}
