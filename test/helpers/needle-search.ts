import type { Needle } from './scan-memory.ts';

/** Finds thousands of needles in one walk: by their first three bytes in a bitmap, then by four, then whole. */
export class NeedleSearch {
  readonly longestBytes: number;
  readonly #firstThree = new Uint8Array(2 ** 21);
  readonly #byFirstFour = new Map<number, Needle[]>();

  /** Each needle has 4 bytes at least. */
  constructor(needles: readonly Needle[]) {
    this.longestBytes = needles.reduce((longest, { bytes }) => Math.max(longest, bytes.length), 0);
    for (const needle of needles) {
      const first = needle.bytes.readUInt32BE(0);
      const known = this.#byFirstFour.get(first) ?? [];
      known.push(needle);
      this.#byFirstFour.set(first, known);
      const three = first >>> 8;
      this.#firstThree[three >>> 3]! |= 1 << (three & 7);
    }
  }

  in(chunk: Buffer, found: (name: string, at: number) => void): void {
    const filter = this.#firstThree;
    let three = 0;
    // `at`: the third byte of a window.
    for (let at = 0; at < chunk.length; at++) {
      three = ((three << 8) | chunk[at]!) & 0xff_ffff;
      if (at >= 2 && (filter[three >>> 3]! & (1 << (three & 7))) !== 0) this.#compare(chunk, at - 2, found);
    }
  }

  #compare(chunk: Buffer, at: number, found: (name: string, at: number) => void): void {
    if (at + 4 > chunk.length) return;
    for (const { name, bytes } of this.#byFirstFour.get(chunk.readUInt32BE(at)) ?? []) {
      // What begins at a mapping's end and is longer than what is left is not there.
      if (at + bytes.length > chunk.length) continue;
      if (chunk.compare(bytes, 0, bytes.length, at, at + bytes.length) === 0) found(name, at);
    }
  }
}
