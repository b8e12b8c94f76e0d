import { LRUCache } from 'lru-cache';
import type { EncryptionContext } from '../crypto/context.ts';
import type { CallDeks } from './call-deks.ts';
import type { Counters } from './counters.ts';
import type { Dek } from './dek.ts';
import { DekLoads } from './dek-loads.ts';
import type { AdmittedBlock, DekUnwrapper, UnknownBlock } from './dek-unwrapper.ts';
import { tooMany } from './failures.ts';
import type { KeyOptions } from './options.ts';
import { drop, type Shared } from './shared.ts';
import { useOnce, type Waiter, waitFor } from './single-flight.ts';
import { spareable } from './spareable.ts';

/** Unwraps under way for one key; a ciphertext is a request to spend money. */
const MAX_LOADS = 1_000;

/** One key's DEKs that only decrypt, and the way into the cache for a DEK that a ciphertext brings. */
export class DecryptingDeks {
  readonly #options: KeyOptions;
  readonly #counters: Counters;
  readonly #shared: Shared;
  readonly #unwrapper: DekUnwrapper;
  readonly #deks: LRUCache<Dek, Dek>;
  readonly #loads: DekLoads;
  /** Unwraps under way for the modes without a cache. */
  #uncached = 0;

  constructor(options: KeyOptions, counters: Counters, shared: Shared, unwrapper: DekUnwrapper) {
    this.#options = options;
    this.#counters = counters;
    this.#shared = shared;
    this.#unwrapper = unwrapper;
    this.#loads = new DekLoads(shared.clock, (dek) => this.add(dek));
    this.#deks = new LRUCache({
      max: options.cache.maxDeks,
      dispose: (dek) => {
        if (dek.place === 'decrypting') drop(shared, dek);
      },
    });
  }

  get size(): number {
    return this.#deks.size;
  }

  all(): IterableIterator<Dek> {
    return this.#deks.values() as IterableIterator<Dek>;
  }

  /** Keeps it from eviction a while longer. */
  touch(dek: Dek): void {
    this.#deks.get(dek);
  }

  /**
   * Takes a DEK into the cache; zeroes it when the process holds the same one already, perhaps with another block, and when all that it could push
   * out are out of reach of their upstreams.
   */
  add(dek: Dek): void {
    const known = this.#shared.index.byId(dek.id);
    if (known !== undefined && known !== dek) {
      if (known.keyName === dek.keyName) known.accepts(dek.block);
      dek.free();
      return;
    }
    if (this.#deks.size >= this.#options.cache.maxDeks && !this.#spare()) {
      this.#counters.evicted++;
      drop(this.#shared, dek);
      return;
    }
    dek.place = 'decrypting';
    if (known === undefined) this.#shared.index.add(dek);
    this.#deks.set(dek, dek);
  }

  remove(dek: Dek): void {
    this.#deks.delete(dek);
  }

  /** Zeroes a DEK that nobody could use yet, else the one used longest ago of those that an upstream could bring back; false when there is none. */
  evict(): boolean {
    return this.#loads.evict() || this.#spare();
  }

  /** The same when no upstream could bring it back. */
  evictForGood(): boolean {
    if (this.#deks.pop() === undefined) return false;
    this.#counters.evicted++;
    return true;
  }

  /** Zeroes what is loaded and not cached yet; the unwraps under way are the Underway's to stop. */
  flush(partition: EncryptionContext | undefined): void {
    this.#loads.flush(partition);
  }

  /** Zeroes what is being loaded; what is cached is the index's to remove. */
  close(): void {
    this.#loads.close();
  }

  /** A miss: admission, one unwrap for all who wait, and the cache only when `open` succeeded. */
  async open<T>(
    unknown: UnknownBlock,
    context: EncryptionContext,
    open: (dek: Dek) => T | Promise<T>,
    waiter: Waiter,
  ): Promise<T> {
    const admitted = this.#unwrapper.admit(unknown, context);
    const { name } = admitted;
    if (this.#loads.has(name)) this.#counters.coalesced++;
    const load = this.#loads.join(name, () => this.#start(admitted, waiter));
    try {
      const result = await open(await waitFor(load.loading, waiter));
      load.proven = true;
      return result;
    } finally {
      this.#loads.leave(load);
    }
  }

  #spare(): boolean {
    const dek = spareable(this.#deks, this.#shared.clock.bootMs());
    if (dek === undefined) return false;
    this.#counters.evicted++;
    return this.#deks.delete(dek);
  }

  /** What it throws at once only the caller hears that would have started the load, and none that would have joined it. */
  #start(admitted: AdmittedBlock, waiter: Waiter): Promise<Dek> {
    if (this.#loads.size >= MAX_LOADS && !this.#loads.evict()) throw tooMany(this.#options.name, 'unwrapped');
    const charge = this.#unwrapper.charge(admitted, waiter.principal);
    return this.#unwrapper.unwrap(admitted, charge).finally(() => charge.end());
  }

  /** For the modes without a cache: an unwrap of its own, or one for all of a `call`. */
  async openOnce<T>(
    unknown: UnknownBlock,
    context: EncryptionContext,
    open: (dek: Dek) => T | Promise<T>,
    waiter: Waiter,
    call: CallDeks | undefined,
  ): Promise<T> {
    const admitted = this.#unwrapper.admit(unknown, context);
    const unwrap = async (): Promise<Dek> => {
      if (this.#uncached >= MAX_LOADS) throw tooMany(this.#options.name, 'unwrapped');
      const charge = this.#unwrapper.charge(admitted, waiter.principal);
      this.#uncached++;
      try {
        return await this.#unwrapper.unwrap(admitted, charge);
      } finally {
        this.#uncached--;
        charge.end();
      }
    };
    if (call === undefined) return useOnce(unwrap(), waiter, open, (dek) => dek.free());
    return call.use(JSON.stringify(['decrypt', admitted.name]), unwrap, waiter, open);
  }
}
