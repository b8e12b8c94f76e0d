import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { EXIT } from './exit-codes.ts';
import { CliError, systemProblem } from './messages.ts';

/**
 * A file of mode 0600 that is under its name whole and on disk, or not at all. The name is taken when this is made, so that a long piece of
 * work is not done in vain, and given back by discard(). Throws CliError.
 */
export class NewFile {
  /** Where the bytes lie until finish(). */
  readonly path: string;
  readonly #what: string;
  readonly #out: string;
  readonly #claimed: boolean;
  #finished = false;

  /** With `force` a file that is there is replaced. */
  constructor(what: string, out: string, force: boolean) {
    this.#what = what;
    this.#out = out;
    this.#claimed = !force;
    this.path = `${out}.${process.pid}.partial`;
    if (this.#claimed) this.#claim();
  }

  write(bytes: Uint8Array): void {
    this.#attempt(() => writeFileSync(this.path, bytes, { mode: 0o600, flag: 'wx', flush: true }));
  }

  finish(): void {
    this.#attempt(() => {
      renameSync(this.path, this.#out);
      this.#finished = true;
      const directory = openSync(dirname(this.#out), 'r');
      try {
        fsyncSync(directory);
      } finally {
        closeSync(directory);
      }
    });
  }

  /** Leaves nothing behind, unless finish() was called. */
  discard(): void {
    if (this.#finished) return;
    rmSync(this.path, { force: true });
    if (this.#claimed) rmSync(this.#out, { force: true });
  }

  #claim(): void {
    try {
      closeSync(openSync(this.#out, 'wx', 0o600));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw this.#problem(error);
      const text = `${this.#out} exists; the ${this.#what} goes to a new file only, or insist with --force`;
      throw new CliError(EXIT.usage, text);
    }
  }

  #attempt(work: () => void): void {
    try {
      work();
    } catch (error) {
      throw this.#problem(error);
    }
  }

  #problem(error: unknown): CliError {
    return new CliError(EXIT.inputOutput, `${this.#out}: ${systemProblem(error)}`);
  }
}
