import type { Clock } from '../../src/keyring/clock.ts';

interface Timer {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
}

/** Time that a test moves. Timers follow CLOCK_MONOTONIC, as Node's do: they stand still while the machine is suspended. */
export class MovableClock implements Clock {
  #monotonicMs = 0;
  #suspendedMs = 1_000_000;
  #wallOffsetMs = 1_790_000_000_000;
  #made = 0;
  readonly #timers = new Set<Timer>();
  /** What `random` gives next; then the last one again. */
  readonly randoms: number[] = [0.5];

  bootMs(): number {
    return this.#monotonicMs + this.#suspendedMs;
  }

  wallMs(): number {
    return this.bootMs() + this.#wallOffsetMs;
  }

  random(): number {
    const [next = 0.5] = this.randoms;
    if (this.randoms.length > 1) this.randoms.shift();
    return next;
  }

  after(ms: number, run: () => void): () => void {
    const timer = { atMs: this.#monotonicMs + Math.max(ms, 0), order: this.#made++, run };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** Timers that have neither run nor been cancelled. */
  get timers(): number {
    return this.#timers.size;
  }

  /** Runs what falls due, in order, and lets promises settle after each. */
  async advance(ms: number): Promise<void> {
    const untilMs = this.#monotonicMs + ms;
    await settled();
    for (let timer = this.#next(untilMs); timer !== undefined; timer = this.#next(untilMs)) {
      this.#monotonicMs = Math.max(this.#monotonicMs, timer.atMs);
      this.#timers.delete(timer);
      timer.run();
      await settled();
    }
    this.#monotonicMs = untilMs;
  }

  /** Somebody sets the wall clock. */
  stepWall(ms: number): void {
    this.#wallOffsetMs += ms;
  }

  /** The machine sleeps: both clocks go on, timers do not. */
  suspend(ms: number): void {
    this.#suspendedMs += ms;
  }

  #next(untilMs: number): Timer | undefined {
    let next: Timer | undefined;
    for (const timer of this.#timers) {
      if (timer.atMs > untilMs) continue;
      if (next === undefined || timer.atMs < next.atMs || (timer.atMs === next.atMs && timer.order < next.order)) {
        next = timer;
      }
    }
    return next;
  }
}

/** Everything that promises can do without a timer is done. */
export function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
