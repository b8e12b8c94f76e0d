import type { EncryptionContext } from '../crypto/context.ts';
import type { Cancel, Clock } from './clock.ts';
import type { Dek } from './dek.ts';
import { partitionKey } from './partition.ts';

/** A DEK that nobody could use yet stays so long for a retry; no retry prolongs it, so that it can't outlive a revocation. */
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
  /** A flush came: it does not enter the cache. */
  flushed: boolean;
  /** Nobody joins it any more. */
  over: boolean;
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
      return known;
    }
    const loading = start();
    const load: Load = {
      name,
      loading,
      dek: undefined,
      waiting: 1,
      proven: false,
      flushed: false,
      over: false,
      stopLingering: undefined,
    };
    this.#loads.set(name, load);
    load.loading.then(
      (dek) => {
        load.dek = dek;
        load.stopLingering = this.#clock.after(LINGER_MS, () => this.#end(load, dek));
        this.#settle(load, dek);
      },
      () => this.#loads.delete(name),
    );
    return load;
  }

  leave(load: Load): void {
    load.waiting--;
    if (load.dek !== undefined) this.#settle(load, load.dek);
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

  /** Zeroes what is loaded, of one partition or of all, once nobody is using it. What is not loaded yet is not touched. */
  flush(partition: EncryptionContext | undefined): void {
    const name = partition === undefined ? undefined : partitionKey(partition);
    for (const load of [...this.#loads.values()]) {
      const { dek } = load;
      if (dek === undefined || (name !== undefined && dek.partitionKey !== name)) continue;
      load.flushed = true;
      this.#forget(load);
      this.#settle(load, dek);
    }
  }

  /** Zeroes what lingers now, and whatever is loaded later when its requests are done. */
  close(): void {
    this.#closed = true;
    while (this.evict());
  }

  #settle(load: Load, dek: Dek): void {
    if (load.waiting > 0) return;
    if (load.proven && !load.flushed && !this.#closed) {
      this.#forget(load);
      this.#cache(dek);
    } else if (this.#closed || load.over || load.flushed) {
      this.#discard(load, dek);
    }
  }

  /** Its time is over: the next request asks the upstream again. Those who wait now have it for a moment still. */
  #end(load: Load, dek: Dek): void {
    load.over = true;
    this.#forget(load);
    this.#settle(load, dek);
  }

  #discard(load: Load, dek: Dek): void {
    this.#forget(load);
    dek.free();
  }

  #forget(load: Load): void {
    load.stopLingering?.();
    if (this.#loads.get(load.name) === load) this.#loads.delete(load.name);
  }
}
