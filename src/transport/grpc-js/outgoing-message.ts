/**
 * A serialised response in the shape that grpc-js 1.14 asks of a serialiser's result: it reads `byteLength` and has the bytes copied
 * behind the five bytes of a gRPC frame (server-interceptors.js, serializeMessage). Standing in for the Buffer, this sees the frame
 * and can zero it when it is written; grpc-js itself drops it as it is, for its memory to be reused with the bytes still in it.
 */
export class OutgoingMessage {
  readonly #bytes: Uint8Array;
  #frame: Uint8Array | undefined;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get byteLength(): number {
    return this.#bytes.byteLength;
  }

  copy(frame: Uint8Array, offset: number): number {
    frame.set(this.#bytes, offset);
    this.#frame = frame;
    return this.#bytes.byteLength;
  }

  /** Once the frame has been made, or never will be. */
  wipeBytes(): void {
    this.#bytes.fill(0);
  }

  /** Once the kernel has the frame, or never will: before that, zeroes would be sent. */
  wipeFrame(): void {
    this.#frame?.fill(0);
  }
}
