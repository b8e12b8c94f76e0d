import type { Envelope } from '../crypto/envelope.ts';
import { DEK_ID_OFFSET, type Dek } from './dek.ts';

const FIRST_PLACES = 1_024;

/**
 * Every cached DEK by its dek_id. A hit looks here first, and over thousands of DEKs that is a walk through cold memory: so a plain array,
 * indexed by bits of dek_id, at most a quarter full; DEKs that share a place form a chain. Nothing depends on those bits: the bytes decide.
 */
export class DekIndex {
  #places: (Dek | undefined)[] = emptyPlaces(FIRST_PLACES);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** The DEK whose dek_id and verified block an envelope carries, byte for byte. */
  find({ bytes, sealedOffset }: Envelope): Dek | undefined {
    let dek = this.#places[this.#place(bytes, DEK_ID_OFFSET)];
    while (dek !== undefined && !dek.standsIn(bytes, sealedOffset)) dek = dek.next;
    return dek;
  }

  byId(id: Buffer): Dek | undefined {
    let dek = this.#places[this.#place(id, 0)];
    while (dek !== undefined && !dek.id.equals(id)) dek = dek.next;
    return dek;
  }

  /** `dek` must not be in, nor another of its dek_id. */
  add(dek: Dek): void {
    if (4 * this.#size >= this.#places.length) this.#grow();
    this.#insert(dek);
    this.#size++;
  }

  /** Does nothing when it is not in. */
  delete(dek: Dek): void {
    const place = this.#place(dek.id, 0);
    const first = this.#places[place];
    if (first === dek) {
      this.#places[place] = dek.next;
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
    for (const first of this.#places) {
      for (let dek = first; dek !== undefined; dek = dek.next) yield dek;
    }
  }

  #place(bytes: Buffer, offset: number): number {
    const bits = (bytes[offset]! << 16) | (bytes[offset + 1]! << 8) | bytes[offset + 2]!;
    return bits & (this.#places.length - 1);
  }

  #insert(dek: Dek): void {
    const place = this.#place(dek.id, 0);
    dek.next = this.#places[place];
    this.#places[place] = dek;
  }

  #grow(): void {
    const deks = [...this.values()];
    this.#places = emptyPlaces(2 * this.#places.length);
    for (const dek of deks) this.#insert(dek);
  }
}

function emptyPlaces(count: number): (Dek | undefined)[] {
  return new Array<Dek | undefined>(count).fill(undefined);
}
