import type { Cancel, Clock } from './clock.ts';
import type { Dek } from './dek.ts';

/** A DEK that everybody stopped waiting for stays so long for a retry, unproven and uncached. */
const LINGER_MS = 5_000;

/** One unwrap on behalf of any number of requests. */
export interface Load {
  readonly name: string;
  readonly loading: Promise<Dek>;
  /** Set when it is loaded. Nobody zeroes it while a request waits. */
  dek: Dek | undefined;
  waiting: number;
  /** A request has opened its payload with it. */
  proven: boolean;
  stopLingering: Cancel | undefined;
}

/**
 * Unwrapped DEKs on their way into the cache. A DEK enters it only when a request has opened its payload with it; until then it belongs
 * to the requests that wait for it, and is zeroed when none of them could use it.
 */
export class DekLoads {
  readonly #loads = new Map<string, Load>();
  readonly #clock: Clock;
  readonly #cache: (dek: Dek) => void;
  #closed = false;

  /** `cache` takes a proven DEK that nobody waits for any more. */
  constructor(clock: Clock, cache: (dek: Dek) => void) {
    this.#clock = clock;
    this.#cache = cache;
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
      known.stopLingering?.();
      return known;
    }
    const load: Load = { name, loading: start(), dek: undefined, waiting: 1, proven: false, stopLingering: undefined };
    this.#loads.set(name, load);
    load.loading.then(
      (dek) => {
        load.dek = dek;
        this.#settle(load);
      },
      () => this.#loads.delete(name),
    );
    return load;
  }

  leave(load: Load): void {
    load.waiting--;
    this.#settle(load);
  }

  /** Zeroes a DEK that only lingers; false when there is none. */
  evict(): boolean {
    for (const load of this.#loads.values()) {
      if (load.waiting > 0 || load.dek === undefined) continue;
      this.#discard(load, load.dek);
      return true;
    }
    return false;
  }

  /** Zeroes what lingers now, and whatever is loaded later when its requests are done. */
  close(): void {
    this.#closed = true;
    while (this.evict());
  }

  #settle(load: Load): void {
    const { dek } = load;
    if (dek === undefined || load.waiting > 0) return;
    if (this.#closed) {
      this.#discard(load, dek);
    } else if (load.proven) {
      this.#loads.delete(load.name);
      this.#cache(dek);
    } else {
      load.stopLingering = this.#clock.after(LINGER_MS, () => this.#discard(load, dek));
    }
  }

  #discard(load: Load, dek: Dek): void {
    load.stopLingering?.();
    this.#loads.delete(load.name);
    dek.free();
  }
}
