// The control channel between agent and child, in both directions: u32 length (big-endian) | UTF-8 JSON.

/** Longest JSON of a frame. The largest request, a wrapped DEK and a context of a dek-block that is full, has less. */
export const MAX_FRAME_BYTES = 65_536;

const HEADER_BYTES = 4;

/** Something that is no frame. Whoever sent it is not to be listened to any more. */
export class FrameError extends Error {
  override readonly name = 'FrameError';
}

/** Throws FrameError for a message that no frame holds. */
export function encodeFrame(message: object): Buffer {
  const text = JSON.stringify(message);
  const length = Buffer.byteLength(text);
  if (length > MAX_FRAME_BYTES) throw new FrameError(`a message of ${length} bytes; at most ${MAX_FRAME_BYTES} fit`);
  const frame = Buffer.allocUnsafe(HEADER_BYTES + length);
  frame.writeUInt32BE(length);
  frame.write(text, HEADER_BYTES);
  return frame;
}

/** Cuts a stream into frames. It holds at most one that is not yet whole. */
export class FrameReader {
  readonly #utf8 = new TextDecoder('utf-8', { fatal: true });
  #pending: Buffer = Buffer.alloc(0);

  /** What each whole frame says, as it is asked for. Throws FrameError. */
  *read(chunk: Buffer): Generator<unknown, void> {
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    for (let end = this.#end(); end <= this.#pending.length; end = this.#end()) {
      const body = this.#pending.subarray(HEADER_BYTES, end);
      this.#pending = this.#pending.subarray(end);
      yield this.#parse(body);
    }
  }

  /** Where the first frame ends; Infinity when that is not known yet. */
  #end(): number {
    if (this.#pending.length < HEADER_BYTES) return Number.POSITIVE_INFINITY;
    const length = this.#pending.readUInt32BE();
    if (length > MAX_FRAME_BYTES)
      throw new FrameError(`a frame of ${length} bytes; at most ${MAX_FRAME_BYTES} are allowed`);
    return HEADER_BYTES + length;
  }

  #parse(body: Buffer): unknown {
    try {
      return JSON.parse(this.#utf8.decode(body));
    } catch {
      // The parser's own message quotes what it read.
      throw new FrameError(`a frame of ${body.length} bytes that is not JSON in UTF-8`);
    }
  }
}
