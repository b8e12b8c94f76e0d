import { closeSync, openSync, readSync } from 'node:fs';
import { isatty } from 'node:tty';
import { EXIT } from './exit-codes.ts';
import { CliError, note, systemProblem } from './messages.ts';

/** Most bytes that Encrypt takes: 4 MiB - 128 KiB, so that its answer fits into a Decrypt call. */
export const MAX_PLAINTEXT_BYTES = 4 * 2 ** 20 - 128 * 2 ** 10;
/** Longest gRPC message, and so longest envelope, in bytes. */
export const MAX_ENVELOPE_BYTES = 4 * 2 ** 20;
/** Most bytes of associated data. */
export const MAX_ASSOCIATED_DATA_BYTES = 65_536;

export interface Input {
  /** What it is for, in an error: `plaintext`. */
  readonly what: string;
  readonly maxBytes: number;
  /** Standard input when undefined or `-`. */
  readonly file: string | undefined;
}

/** Reads a file or standard input to its end. The caller zeroes the bytes when they are secret. Usage error over `maxBytes`. */
export function readInput(input: Input): Buffer {
  const standard = input.file === undefined || input.file === '-';
  if (standard && isatty(0)) note('dekctl', `reading the ${input.what} from this terminal; end it with Ctrl-D`);
  const name = standard ? 'standard input' : (input.file as string);
  try {
    if (standard) return readBounded(0, input);
    const descriptor = openSync(input.file as string, 'r');
    try {
      return readBounded(descriptor, input);
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    if (error instanceof CliError) throw error;
    throw new CliError(EXIT.inputOutput, `${name}: ${systemProblem(error)}`);
  }
}

const FIRST_BYTES = 65_536;

function readBounded(descriptor: number, { what, maxBytes }: Input): Buffer {
  // Outside V8's heap: what is read may be a plaintext, and is copied and zeroed as it grows.
  let bytes = Buffer.from(new ArrayBuffer(Math.min(FIRST_BYTES, maxBytes + 1)));
  let length = 0;
  for (;;) {
    if (length > maxBytes) {
      bytes.fill(0);
      throw new CliError(EXIT.usage, `the ${what} has more than ${maxBytes} bytes; ${WAY_OUT[what] ?? 'shorten it'}`);
    }
    if (length === bytes.length) bytes = grown(bytes, maxBytes + 1);
    const read = readOnce(descriptor, bytes, length);
    if (read === 0) return bytes.subarray(0, length);
    length += read;
  }
}

const WAY_OUT: Readonly<Record<string, string>> = {
  plaintext: 'encrypt large data yourself with a key from `dekctl generate-data-key`',
  ciphertext: 'no envelope of dekd is that long',
};

function grown(bytes: Buffer, maxBytes: number): Buffer<ArrayBuffer> {
  const larger = Buffer.from(new ArrayBuffer(Math.min(bytes.length * 4, maxBytes)));
  bytes.copy(larger);
  bytes.fill(0);
  return larger;
}

/** A pipe that another process made non-blocking answers EAGAIN: wait a moment and ask again. */
function readOnce(descriptor: number, bytes: Buffer, offset: number): number {
  for (;;) {
    try {
      return readSync(descriptor, bytes, offset, bytes.length - offset, null);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    }
  }
}
