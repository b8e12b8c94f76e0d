/**
 * Up to here a call is made in the child's own thread. Handing it to another thread and its answer back costs about 50 µs, two and a half times
 * what SoftHSM takes for a decryption (20 µs); from some hundred microseconds on it is the other calls, which would wait for this one, that count.
 */
const QUICK_MS = 0.25;
/** All of these must have been quick: what one slow answer costs the others is then paid once. */
const REMEMBERED = 8;

/** How quickly a token answers, and with that the thread in which it is asked. */
export class Pace {
  readonly #now: () => number;
  /** The last ones, oldest first. */
  readonly #tookMs: number[] = [];

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /**
   * The same call of the library, made `here` where the token is quick and may block this thread, else `elsewhere`. `memory` is what the library
   * reads and writes meanwhile: pkcs11js passes its address on to the other thread and does not keep it alive.
   */
  async call<Result>(memory: readonly Buffer[], here: () => Result, elsewhere: () => Promise<Result>): Promise<Result> {
    const beganMs = this.#now();
    IN_USE.add(memory);
    try {
      return this.#isQuick() ? here() : await elsewhere();
    } finally {
      IN_USE.delete(memory);
      if (this.#tookMs.push(this.#now() - beganMs) > REMEMBERED) this.#tookMs.shift();
    }
  }

  #isQuick(): boolean {
    return this.#tookMs.length === REMEMBERED && this.#tookMs.every((ms) => ms < QUICK_MS);
  }
}

/** So that it is not collected while a thread is at it. */
const IN_USE = new Set<readonly Buffer[]>();
