import { DEK_ID_OFFSET, type Envelope } from '../crypto/envelope.ts';
import { native } from '../crypto/native.ts';
import type { Dek } from './dek.ts';

/**
 * Every cached DEK, by dek_id and by all the bytes that an envelope carries of it. A hit looks here first, and over thousands of DEKs that is a
 * walk through cold memory: the table is in the addon (native/index.c), where a look-up touches one place of it and asks for the key's slot.
 */
export class DekIndex {
  #table = native.createIndex(null);
  /** By the numbers that the table has of them. */
  readonly #deks: (Dek | undefined)[] = [];
  readonly #freeNumbers: number[] = [];

  get size(): number {
    return this.#deks.length - this.#freeNumbers.length;
  }

  /** The DEK whose dek_id and verified block an envelope carries: by their keyed hash, under which other bytes pass with a chance of 2^-64. */
  find({ bytes, sealedOffset }: Envelope): Dek | undefined {
    const number = native.findInIndex(this.#table, bytes, DEK_ID_OFFSET, sealedOffset);
    return number < 0 ? undefined : this.#deks[number];
  }

  byId(id: Buffer): Dek | undefined {
    const number = native.findIdInIndex(this.#table, id);
    return number < 0 ? undefined : this.#deks[number];
  }

  /** `dek` must not be in, nor another of its dek_id. */
  add(dek: Dek): void {
    const number = this.#freeNumbers.pop() ?? this.#deks.length;
    this.#deks[number] = dek;
    const { handle, inline } = dek;
    while (!native.addToIndex(this.#table, number, handle, inline)) this.#table = native.createIndex(this.#table);
  }

  /** Does nothing when it is not in. */
  delete(dek: Dek): void {
    const { id } = dek;
    if (this.byId(id) !== dek) return;
    const number = native.removeFromIndex(this.#table, id);
    this.#deks[number] = undefined;
    this.#freeNumbers.push(number);
  }

  *values(): Iterable<Dek> {
    for (const dek of this.#deks) if (dek !== undefined) yield dek;
  }
}
