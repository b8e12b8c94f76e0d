import type { Needle } from './scan-memory.ts';

const WORD_BYTES = 4;
const MAX_STRIDE = 8;
/** Of a word's hash: in the filter, and in the table behind it. */
const FILTER_BITS = 24;
const TABLE_BITS = 20;

/**
 * Finds many needles in one walk that looks at one word in `stride` bytes: of each needle the words at its first `stride` offsets are known, and
 * wherever it stands, one of them is where the walk looks.
 */
export class NeedleSearch {
  readonly longestBytes: number;
  readonly #needles: readonly Needle[];
  readonly #stride: number;
  /** One bit for each hash. */
  readonly #filter = new Uint8Array(2 ** (FILTER_BITS - 3));
  /** The last entry of each hash; -1: none. Entry `n * stride + offset` is the word at that offset of the nth needle. */
  readonly #last = new Int32Array(2 ** TABLE_BITS).fill(-1);
  /** Of each entry, the one before it in the table's same place. */
  readonly #before: Int32Array;
  readonly #words: Uint32Array;

  /** Each needle has 4 bytes at least. */
  constructor(needles: readonly Needle[]) {
    const lengths = needles.map(({ bytes }) => bytes.length);
    const shortest = lengths.reduce((one, other) => Math.min(one, other), MAX_STRIDE + WORD_BYTES);
    this.longestBytes = lengths.reduce((one, other) => Math.max(one, other), 0);
    this.#needles = needles;
    this.#stride = Math.min(MAX_STRIDE, shortest - WORD_BYTES + 1);
    this.#before = new Int32Array(needles.length * this.#stride);
    this.#words = new Uint32Array(needles.length * this.#stride);
    let entry = 0;
    for (const { bytes } of needles) {
      for (let offset = 0; offset < this.#stride; offset++) this.#add(entry++, bytes.readUInt32LE(offset));
    }
  }

  #add(entry: number, word: number): void {
    const hash = hashOf(word);
    this.#filter[hash >>> 3]! |= 1 << (hash & 7);
    this.#words[entry] = word;
    this.#before[entry] = this.#last[tableIndex(hash)]!;
    this.#last[tableIndex(hash)] = entry;
  }

  in(chunk: Buffer, found: (name: string, at: number) => void): void {
    const filter = this.#filter;
    const stride = this.#stride;
    const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.length);
    for (let at = 0; at + WORD_BYTES <= chunk.length; at += stride) {
      const word = view.getUint32(at, true);
      const hash = hashOf(word);
      if ((filter[hash >>> 3]! & (1 << (hash & 7))) !== 0) this.#compare(chunk, at, word, found);
    }
  }

  #compare(chunk: Buffer, at: number, word: number, found: (name: string, at: number) => void): void {
    for (let entry = this.#last[tableIndex(hashOf(word))]!; entry >= 0; entry = this.#before[entry]!) {
      if (this.#words[entry] !== word) continue;
      const { name, bytes } = this.#needles[Math.floor(entry / this.#stride)]!;
      const from = at - (entry % this.#stride);
      const to = from + bytes.length;
      // What lies in this chunk in part is not there, or whole in the next one.
      if (from < 0 || to > chunk.length) continue;
      if (chunk.compare(bytes, 0, bytes.length, from, to) === 0) found(name, from);
    }
  }
}

/** By the golden ratio (Knuth, volume 3, section 6.4), so that text spreads too. */
function hashOf(word: number): number {
  return Math.imul(word, 0x9e3779b1) >>> (32 - FILTER_BITS);
}

function tableIndex(hash: number): number {
  return hash >>> (FILTER_BITS - TABLE_BITS);
}
