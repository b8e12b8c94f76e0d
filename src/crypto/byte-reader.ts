import { malformed } from './invalid-ciphertext.ts';

// `ignoreBOM` keeps a leading U+FEFF: without it two different strings would decode alike.
const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Reads hostile bytes front to back; every read that would pass the end, or text that is not UTF-8, is INVALID_CIPHERTEXT. */
export class ByteReader {
  readonly bytes: Buffer;
  readonly where: string;
  offset = 0;

  /** `where` names the bytes in messages, e.g. `dek-block`. */
  constructor(bytes: Uint8Array, where: string) {
    this.bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.where = where;
  }

  u8(what: string): number {
    return this.bytes.readUInt8(this.#advance(1, what));
  }

  u16(what: string): number {
    return this.bytes.readUInt16BE(this.#advance(2, what));
  }

  u32(what: string): number {
    return this.bytes.readUInt32BE(this.#advance(4, what));
  }

  /** Eight bytes; a value over 2^53 - 1 is refused, since no number holds it exactly. */
  u64(what: string): number {
    const start = this.#advance(8, what);
    const value = this.bytes.readUInt32BE(start) * 2 ** 32 + this.bytes.readUInt32BE(start + 4);
    if (!Number.isSafeInteger(value)) throw malformed(`${what} is over 2^53 - 1`, start, this.where);
    return value;
  }

  /** A view, not a copy. */
  take(length: number, what: string): Buffer {
    const start = this.#advance(length, what);
    return this.bytes.subarray(start, start + length);
  }

  text(length: number, what: string): string {
    const start = this.offset;
    const bytes = this.take(length, what);
    try {
      return strictUtf8.decode(bytes);
    } catch {
      throw malformed(`${what} is not valid UTF-8`, start, this.where);
    }
  }

  /** Throws when bytes are left over. */
  end(): void {
    const left = this.bytes.length - this.offset;
    if (left !== 0) throw malformed(`${left} bytes too many`, this.offset, this.where);
  }

  #advance(length: number, what: string): number {
    const start = this.offset;
    if (length > this.bytes.length - start) {
      throw malformed(`ends inside ${what}`, this.bytes.length, this.where);
    }
    this.offset = start + length;
    return start;
  }
}
