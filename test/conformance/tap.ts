/** Counts checks and prints one line for each. */
export class Tap {
  readonly #strict: boolean;
  #passed = 0;
  #failed = 0;
  #skipped = 0;

  /** `strict`: what can't run has failed. */
  constructor(strict: boolean) {
    this.#strict = strict;
  }

  pass(name: string): void {
    this.#passed++;
    console.log(`ok ${name}`);
  }

  fail(name: string, problem: string): void {
    this.#failed++;
    console.log(`not ok ${name}: ${problem}`);
  }

  /** For what this machine lacks; `remedy` brings it. */
  missing(name: string, remedy: string): void {
    if (this.#strict) {
      this.fail(name, `not run; ${remedy}`);
      return;
    }
    this.#skipped++;
    console.log(`ok ${name} # SKIP ${remedy}`);
  }

  async check(name: string, run: () => Promise<void> | void): Promise<void> {
    try {
      await run();
      this.pass(name);
    } catch (error) {
      this.fail(name, (error as Error).message.replaceAll(/\s+/g, ' ').slice(0, 500));
    }
  }

  /** Lines of another program in the same form; whatever else it prints is not counted. */
  take(lines: string): void {
    for (const line of lines.split('\n')) {
      const [, failed, name] = /^(not )?ok (.*)$/.exec(line) ?? [];
      if (name === undefined) continue;
      if (failed === undefined) this.#passed++;
      else this.#failed++;
      console.log(line);
    }
  }

  /** Prints the last line; the exit code. No check at all is a failure. */
  finish(suite: string): number {
    console.log(`${suite}: ${this.#passed} passed, ${this.#failed} failed, ${this.#skipped} skipped`);
    return this.#failed > 0 || this.#passed + this.#skipped === 0 ? 1 : 0;
  }
}
