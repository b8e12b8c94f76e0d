import type { ServerHttp2Stream } from 'node:http2';
import type { ServerInterceptingCallInterface } from '@grpc/grpc-js';
import type { ConnectionMemory } from '../request-memory.ts';

/** Why a message is not read, as the text of the RESOURCE_EXHAUSTED that grpc-js makes of it. */
export const NO_REQUEST_MEMORY = 'no memory is left for requests';

/** Why a message is not read: its first byte says that it is compressed. */
export const COMPRESSED = 'compressed';

/** Why a call ends: behind the messages that one of its RPC may have come more bytes. */
export const TOO_MANY_MESSAGES = 'too many messages';

/** Of the connection. */
type Memory = Pick<ConnectionMemory, 'take' | 'release'>;

/** A gRPC frame: compressed or not, length, message (gRPC over HTTP/2, "Length-Prefixed-Message"). */
const HEADER_BYTES = 5;

/** Longer messages get memory as they come, four times as much each time: who announces much and sends nothing makes us touch nothing. */
const FIRST_BYTES = 64 * 1024;
const GROWTH = 4;

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
 * budget once its length is known, and copies what comes into one piece. What is compressed it refuses: a small message can become a
 * large one, zlib keeps plaintexts that nobody can zero, and between processes of one machine nothing is gained.
 */
export class MessageDecoder {
  readonly #memory: Memory;
  readonly #maxMessageBytes: number;
  /** Messages that may still begin. */
  #messagesLeft: number;
  readonly #header = Buffer.alloc(HEADER_BYTES);
  #headerBytes = 0;
  /** Header and message, as far as there is memory for them. */
  #frame: Buffer | undefined;
  #wholeBytes = 0;
  #frameBytes = 0;
  #takenBytes = 0;
  #closed = false;

  constructor(memory: Memory, maxMessageBytes: number, maxMessages = Number.POSITIVE_INFINITY) {
    this.#memory = memory;
    this.#maxMessageBytes = maxMessageBytes;
    this.#messagesLeft = maxMessages;
  }

  /** Before the call is started. All that comes is zeroed when it has been looked at, also what grpc-js drops without a look, after the call's end. */
  static install(
    call: ServerInterceptingCallInterface,
    memory: Memory,
    maxMessageBytes: number,
    maxMessages: number,
  ): MessageDecoder {
    const internals = call as unknown as Internals;
    const decoder = new MessageDecoder(memory, maxMessageBytes, maxMessages);
    internals.decoder = decoder;
    // Behind grpc-js's own listener.
    internals.stream.on('data', wipe);
    return decoder;
  }

  /**
   * The frames that `data` completes. Throws when a message is compressed, is too long, is one too many, or the budget has no room for it;
   * then the call ends.
   */
  write(data: Buffer): Buffer[] {
    const frames: Buffer[] = [];
    try {
      for (let at = 0; at < data.length && !this.#closed; ) at += this.#read(data, at, frames);
    } catch (refusal) {
      for (const frame of frames) frame.fill(0);
      throw refusal;
    }
    return frames;
  }

  /** At the end of the call: gives the memory back; what still comes is dropped. */
  close(): void {
    this.#closed = true;
    this.#frame?.fill(0, 0, this.#frameBytes);
    this.#frame = undefined;
    this.#memory.release(this.#takenBytes);
    this.#takenBytes = 0;
  }

  #read(data: Buffer, at: number, frames: Buffer[]): number {
    const read = this.#frame === undefined ? this.#readHeader(data, at) : this.#readMessage(data, at);
    if (this.#frame !== undefined && this.#frameBytes === this.#wholeBytes) {
      frames.push(this.#frame);
      this.#frame = undefined;
      this.#headerBytes = 0;
    }
    return read;
  }

  #readHeader(data: Buffer, at: number): number {
    if (this.#messagesLeft === 0) throw this.#refusal(TOO_MANY_MESSAGES);
    const read = data.copy(this.#header, this.#headerBytes, at);
    this.#headerBytes += read;
    if (this.#headerBytes === HEADER_BYTES) this.#begin(this.#header.readUInt32BE(1));
    return read;
  }

  #begin(messageBytes: number): void {
    if (this.#header[0] !== 0) throw this.#refusal(COMPRESSED);
    if (messageBytes > this.#maxMessageBytes) throw this.#refusal(`more than ${this.#maxMessageBytes} bytes`);
    this.#messagesLeft--;
    const bytes = messageBytes + HEADER_BYTES;
    if (!this.#memory.take(bytes)) throw this.#refusal(NO_REQUEST_MEMORY);
    this.#takenBytes += bytes;
    this.#wholeBytes = bytes;
    this.#frame = Buffer.allocUnsafe(Math.min(bytes, FIRST_BYTES));
    this.#header.copy(this.#frame);
    this.#frameBytes = HEADER_BYTES;
  }

  #readMessage(data: Buffer, at: number): number {
    let frame = this.#frame!;
    if (this.#frameBytes === frame.length && frame.length < this.#wholeBytes) {
      this.#frame = Buffer.allocUnsafe(Math.min(this.#wholeBytes, frame.length * GROWTH));
      frame.copy(this.#frame);
      frame.fill(0);
      frame = this.#frame;
    }
    const read = data.copy(frame, this.#frameBytes, at);
    this.#frameBytes += read;
    return read;
  }

  #refusal(text: string): Error {
    this.#closed = true;
    return new Error(text);
  }
}

function wipe(data: Buffer): void {
  data.fill(0);
}
