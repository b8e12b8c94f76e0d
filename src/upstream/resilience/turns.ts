import type { UpstreamClock } from '../clock.ts';
import { GivenUp } from './attempt.ts';

export interface TurnLimits {
  /** Places, and how many of them one payer may hold: somebody else's call then begins at once. */
  readonly atOnce: number;
  readonly atOnceOfOne: number;
  /** Calls that wait for one, and how many of them may be one payer's. */
  readonly waiting: number;
  readonly waitingOfOne: number;
  /** Who has waited for longer when its turn comes gets none. */
  readonly maxWaitMs: number;
}

/** Whoever asked gets no place: its payer's `line` is full, as many as may wait in `all` lines, or its turn came too `late`. */
export class NoPlace extends Error {
  override readonly name = 'NoPlace';
  readonly why: 'line' | 'all' | 'late';

  constructor(why: NoPlace['why']) {
    super(`no place: ${why}`);
    this.why = why;
  }
}

interface Waiting {
  readonly sinceMs: number;
  readonly enter: () => void;
  readonly refuse: (why: NoPlace) => void;
}

/**
 * Places that are given in turn, one to each payer that waits: whoever brings a thousand calls keeps nobody else's waiting for more than a place each time
 * round. A payer is a uid, or undefined for what no caller causes. Within one payer's line who came first is first.
 */
export class Turns {
  readonly #limits: TurnLimits;
  readonly #clock: UpstreamClock;
  /** Places that each payer holds; none that holds none. */
  readonly #held = new Map<number | undefined, number>();
  /** No empty ones; the first has the next place. */
  readonly #lines = new Map<number | undefined, Set<Waiting>>();
  #taken = 0;
  #waiting = 0;

  constructor(limits: TurnLimits, clock: UpstreamClock) {
    this.#limits = limits;
    this.#clock = clock;
  }

  /** For tests: places taken, calls that wait, and payers that are remembered. */
  get load(): { readonly taken: number; readonly waiting: number; readonly payers: number } {
    return {
      taken: this.#taken,
      waiting: this.#waiting,
      payers: new Set([...this.#held.keys(), ...this.#lines.keys()]).size,
    };
  }

  /** Runs `call` in a place of its own. Throws NoPlace, and GivenUp when whoever asked stops waiting first. */
  async run<T>(payer: number | undefined, signal: AbortSignal, call: () => Promise<T>): Promise<T> {
    if (signal.aborted) throw new GivenUp();
    if (this.#taken < this.#limits.atOnce && this.#mayHoldMore(payer)) this.#take(payer);
    else await this.#wait(payer, signal);
    try {
      return await call();
    } finally {
      this.#free(payer);
    }
  }

  #mayHoldMore(payer: number | undefined): boolean {
    return (this.#held.get(payer) ?? 0) < this.#limits.atOnceOfOne;
  }

  /** Resolves when it has a place. */
  #wait(payer: number | undefined, signal: AbortSignal): Promise<void> {
    const line = this.#lines.get(payer) ?? new Set();
    if (line.size >= this.#limits.waitingOfOne) throw new NoPlace('line');
    if (this.#waiting >= this.#limits.waiting) throw new NoPlace('all');
    const turn = Promise.withResolvers<void>();
    const giveUp = (): void => {
      this.#leave(payer, line, one);
      turn.reject(new GivenUp());
    };
    const one = { sinceMs: this.#clock.bootMs(), enter: turn.resolve, refuse: turn.reject };
    line.add(one);
    this.#waiting++;
    this.#lines.set(payer, line);
    signal.addEventListener('abort', giveUp, { once: true });
    return turn.promise.finally(() => signal.removeEventListener('abort', giveUp));
  }

  #leave(payer: number | undefined, line: Set<Waiting>, one: Waiting): void {
    if (!line.delete(one)) return;
    this.#waiting--;
    if (line.size === 0) this.#lines.delete(payer);
  }

  #take(payer: number | undefined): void {
    this.#taken++;
    this.#held.set(payer, (this.#held.get(payer) ?? 0) + 1);
  }

  #free(payer: number | undefined): void {
    this.#taken--;
    const left = this.#held.get(payer)! - 1;
    if (left > 0) this.#held.set(payer, left);
    else this.#held.delete(payer);
    this.#admit();
  }

  /** Gives what is free to those who wait. */
  #admit(): void {
    while (this.#taken < this.#limits.atOnce) {
      const next = this.#next();
      if (next === undefined) return;
      const [payer, line] = next;
      const one = line.values().next().value!;
      this.#leave(payer, line, one);
      if (this.#clock.bootMs() - one.sinceMs > this.#limits.maxWaitMs) {
        one.refuse(new NoPlace('late'));
        continue;
      }
      this.#toTheEnd(payer, line);
      this.#take(payer);
      one.enter();
    }
  }

  /** The payer whose turn it is; those that hold as much as one may keep their turn for later. */
  #next(): readonly [number | undefined, Set<Waiting>] | undefined {
    for (const line of this.#lines) if (this.#mayHoldMore(line[0])) return line;
    return undefined;
  }

  #toTheEnd(payer: number | undefined, line: Set<Waiting>): void {
    if (!this.#lines.delete(payer)) return;
    this.#lines.set(payer, line);
  }
}
