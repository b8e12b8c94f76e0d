import { closeSync, existsSync, openSync, unlinkSync, writeSync } from 'node:fs';
import { isatty } from 'node:tty';
import { EXIT } from './exit-codes.ts';
import { CliError, systemProblem } from './messages.ts';

/** What is written decides where it may go. */
export type OutputKind =
  /** Key material and plaintexts: never to a terminal, files 0600 and new. */
  | 'secret'
  /** Ciphertext: bytes that a terminal cannot show. */
  | 'binary'
  | 'text';

export interface Output {
  /** What it is, in an error: `plaintext`. */
  readonly what: string;
  readonly kind: OutputKind;
  /** Standard output when undefined or `-`. */
  readonly file: string | undefined;
  /** Overrides the refusals of a terminal and of an existing file. */
  readonly force: boolean;
}

/** Refuses a place where the output may not go, before anything is asked of the agent. */
export function checkOutput({ what, kind, file, force }: Output): void {
  if (force || kind === 'text') return;
  if (toStandardOutput(file)) {
    if (isatty(1)) throw new CliError(EXIT.usage, `${terminalProblem(what, kind)}, or insist with --force`);
  } else if (kind === 'secret' && existsSync(file as string)) {
    throw new CliError(EXIT.usage, `${file} exists; the ${what} goes to a new file only, or insist with --force`);
  }
}

/** Writes all of `bytes`, and zeroes them when they are secret, whatever happens. */
export function writeOutput(output: Output, bytes: Uint8Array): void {
  try {
    checkOutput(output);
    if (toStandardOutput(output.file)) writeStandardOutput(bytes);
    else writeFile(output, bytes);
  } finally {
    if (output.kind === 'secret') bytes.fill(0);
  }
}

export function writeText(text: string): void {
  writeOutput({ what: 'text', kind: 'text', file: undefined, force: false }, Buffer.from(text));
}

export function toStandardOutput(file: string | undefined): boolean {
  return file === undefined || file === '-';
}

function terminalProblem(what: string, kind: OutputKind): string {
  return kind === 'secret'
    ? `the ${what} does not go to a terminal: send it to a pipe, or to a file with --out FILE`
    : `the ${what} is bytes that a terminal cannot show: send it to a pipe or file, use --json`;
}

function writeFile({ what, kind, file, force }: Output, bytes: Uint8Array): void {
  const path = file as string;
  const exclusive = kind === 'secret' && !force;
  let descriptor: number;
  try {
    descriptor = openSync(path, exclusive ? 'wx' : 'w', kind === 'secret' ? 0o600 : 0o666);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') {
      throw new CliError(EXIT.usage, `${path} exists; the ${what} goes to a new file only, or insist with --force`);
    }
    throw new CliError(EXIT.inputOutput, `${path}: ${systemProblem(error)}`);
  }
  try {
    writeAll(descriptor, bytes);
  } catch (error) {
    // Half a key or ciphertext is worse than none. Only a file that was made here is taken away again.
    if (exclusive) unlinkSync(path);
    throw new CliError(EXIT.inputOutput, `${path}: ${systemProblem(error)}`);
  } finally {
    closeSync(descriptor);
  }
}

function writeStandardOutput(bytes: Uint8Array): void {
  try {
    writeAll(1, bytes);
  } catch (error) {
    // The reader went away and wants no more: not worth a message, but the caller must not read success.
    if ((error as NodeJS.ErrnoException).code === 'EPIPE') process.exit(EXIT.inputOutput);
    throw new CliError(EXIT.inputOutput, `standard output: ${systemProblem(error)}`);
  }
}

/** Synchronous, so that bytes are with the kernel when they are zeroed. A full non-blocking pipe answers EAGAIN. */
function writeAll(descriptor: number, bytes: Uint8Array): void {
  let offset = 0;
  while (offset < bytes.length) {
    try {
      offset += writeSync(descriptor, bytes, offset);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    }
  }
}
