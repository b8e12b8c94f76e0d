import type { ServerHttp2Stream } from 'node:http2';
import type { ServerInterceptingCallInterface } from '@grpc/grpc-js';
import type { ConnectionMemory } from '../request-memory.ts';

/** Why a message is not read, as the text of the RESOURCE_EXHAUSTED that grpc-js makes of it. */
export const NO_REQUEST_MEMORY = 'no memory is left for requests';

/** A gRPC frame: compressed or not, length, message (gRPC over HTTP/2, "Length-Prefixed-Message"). */
const HEADER_BYTES = 5;

/** What grpc-js 1.14's BaseServerInterceptingCall keeps to itself, and we need. */
interface Internals {
  decoder: Pick<MessageDecoder, 'write'>;
  readonly stream: ServerHttp2Stream;
}

/** The HTTP/2 stream of a call. */
export function streamOf(call: ServerInterceptingCallInterface): ServerHttp2Stream {
  return (call as unknown as Internals).stream;
}

/**
 * Takes the place of grpc-js's StreamDecoder, which gathers whatever comes and tells nobody: this one takes a message's memory from the
 * budget once its length is known, copies what comes into one piece, and zeroes what it copied.
 */
export class MessageDecoder {
  readonly #memory: ConnectionMemory;
  readonly #maxMessageBytes: number;
  readonly #header = Buffer.alloc(HEADER_BYTES);
  #headerBytes = 0;
  /** Header and message. */
  #frame: Buffer | undefined;
  #frameBytes = 0;
  #takenBytes = 0;
  #closed = false;

  constructor(memory: ConnectionMemory, maxMessageBytes: number) {
    this.#memory = memory;
    this.#maxMessageBytes = maxMessageBytes;
  }

  /** Before the call is started. */
  static install(
    call: ServerInterceptingCallInterface,
    memory: ConnectionMemory,
    maxMessageBytes: number,
  ): MessageDecoder {
    const decoder = new MessageDecoder(memory, maxMessageBytes);
    (call as unknown as Internals).decoder = decoder;
    return decoder;
  }

  /** The frames that `data` completes. Throws when a message is too long or the budget has no room for it; then the call ends. */
  write(data: Buffer): Buffer[] {
    const frames: Buffer[] = [];
    for (let at = 0; at < data.length && !this.#closed; ) {
      if (this.#frame === undefined) at += this.#readHeader(data, at);
      if (this.#frame !== undefined) at += this.#readMessage(this.#frame, data, at);
      if (this.#frame !== undefined && this.#frameBytes === this.#frame.length) {
        frames.push(this.#frame);
        this.#frame = undefined;
        this.#headerBytes = 0;
      }
    }
    data.fill(0);
    return frames;
  }

  /** At the end of the call: gives the memory back; what still comes is dropped. */
  close(): void {
    this.#closed = true;
    this.#frame?.fill(0);
    this.#frame = undefined;
    this.#memory.release(this.#takenBytes);
    this.#takenBytes = 0;
  }

  #readHeader(data: Buffer, at: number): number {
    const read = data.copy(this.#header, this.#headerBytes, at);
    this.#headerBytes += read;
    if (this.#headerBytes === HEADER_BYTES) this.#begin(this.#header.readUInt32BE(1));
    return read;
  }

  #begin(messageBytes: number): void {
    if (messageBytes > this.#maxMessageBytes) throw this.#refusal(`more than ${this.#maxMessageBytes} bytes`);
    const bytes = messageBytes + HEADER_BYTES;
    // What is compressed may become as long as any.
    const takenBytes = this.#header[0] === 0 ? bytes : this.#maxMessageBytes;
    if (!this.#memory.take(takenBytes)) throw this.#refusal(NO_REQUEST_MEMORY);
    this.#takenBytes += takenBytes;
    this.#frame = Buffer.allocUnsafe(bytes);
    this.#header.copy(this.#frame);
    this.#frameBytes = HEADER_BYTES;
  }

  #readMessage(frame: Buffer, data: Buffer, at: number): number {
    const read = data.copy(frame, this.#frameBytes, at);
    this.#frameBytes += read;
    return read;
  }

  #refusal(text: string): Error {
    this.#closed = true;
    return new Error(text);
  }
}
