import type { Clock } from './clock.ts';
import type { Dek } from './dek.ts';

/** A DEK that everybody stopped waiting for stays so long for a retry, unproven and uncached. */
const LINGER_MS = 5_000;

/** One unwrap on behalf of any number of requests. */
export interface Load {
  readonly name: string;
  readonly dek: Promise<Dek>;
  waiting: number;
}

/**
 * Unwrapped DEKs on their way into the cache. A DEK enters it only when a request has opened its payload with it; until then it belongs
 * to the requests that wait for it, and is zeroed when none of them could use it.
 */
export class DekLoads {
  readonly #loads = new Map<string, Load>();
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get size(): number {
    return this.#loads.size;
  }

  has(name: string): boolean {
    return this.#loads.has(name);
  }

  /** Joins the load of that name or starts it; `leave` must be called once for each call. */
  join(name: string, start: () => Promise<Dek>): Load {
    const known = this.#loads.get(name);
    if (known !== undefined) {
      known.waiting++;
      return known;
    }
    const load: Load = { name, dek: start(), waiting: 1 };
    this.#loads.set(name, load);
    load.dek.then(
      (dek) => this.#settle(load, dek),
      () => this.#loads.delete(name),
    );
    return load;
  }

  leave(load: Load): void {
    load.waiting--;
    if (load.waiting > 0) return;
    load.dek.then(
      (dek) => this.#settle(load, dek),
      () => undefined,
    );
  }

  #settle(load: Load, dek: Dek): void {
    if (load.waiting > 0) return;
    if (dek.place !== 'loose') {
      this.#forget(load);
      return;
    }
    this.#clock.after(LINGER_MS, () => {
      if (load.waiting > 0) return;
      this.#forget(load);
      if (dek.place === 'loose') dek.free();
    });
  }

  #forget(load: Load): void {
    if (this.#loads.get(load.name) === load) this.#loads.delete(load.name);
  }
}
