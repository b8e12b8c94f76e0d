import { createHash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { EncryptionContext } from '../crypto/context.ts';
import { type DekBlock, parseDekBlock, wrapContext } from '../crypto/dek-block.ts';
import { unauthentic } from '../crypto/invalid-ciphertext.ts';
import type { DekdError } from '../errors.ts';
import { checkPartition } from './admission.ts';
import type { Counters } from './counters.ts';
import { Dek, type DekRecipient, knownRecipients } from './dek.ts';
import { DekLoads } from './dek-loads.ts';
import { fromUpstream, tooMany } from './failures.ts';
import { type KeyOptions, MISS_MS } from './options.ts';
import { partitionKey } from './partition.ts';
import { drop, type Shared } from './shared.ts';
import { useOnce, type Waiter, waitFor } from './single-flight.ts';
import { withDeadline } from './timing.ts';
import { type UnwrapOutcome, unwrap } from './unwrap.ts';

/** Unwraps under way for one key; a ciphertext is a request to spend money. */
const MAX_LOADS = 1_000;

/** A dek-block that a request brought and that no held DEK has verified. */
export interface UnknownBlock {
  readonly dekId: Buffer;
  readonly block: Buffer;
}

/** One key's DEKs that only decrypt, and the way into the cache for a DEK that a ciphertext brings. */
export class DecryptingDeks {
  readonly #options: KeyOptions;
  readonly #counters: Counters;
  readonly #shared: Shared;
  readonly #deks: LRUCache<Dek, Dek>;
  readonly #loads: DekLoads;
  /** Unwraps under way for the modes without a cache. */
  #uncached = 0;

  constructor(options: KeyOptions, counters: Counters, shared: Shared) {
    this.#options = options;
    this.#counters = counters;
    this.#shared = shared;
    this.#loads = new DekLoads(shared.clock, (dek) => this.add(dek));
    this.#deks = new LRUCache({
      max: options.cache.maxDeks,
      dispose: (dek, _key, reason) => {
        if (dek.place !== 'decrypting') return;
        if (reason === 'evict') counters.evicted++;
        drop(shared, dek);
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

  /** Takes a DEK into the cache; zeroes it when the process holds the same one already, perhaps with another block. */
  add(dek: Dek): void {
    const known = this.#shared.index.byId(dek.id);
    if (known !== undefined && known !== dek) {
      if (known.keyName === dek.keyName) known.accepts(dek.block);
      dek.free();
      return;
    }
    dek.place = 'decrypting';
    if (known === undefined) this.#shared.index.add(dek);
    this.#deks.set(dek, dek);
  }

  remove(dek: Dek): void {
    this.#deks.delete(dek);
  }

  /** Zeroes a DEK that nobody could use yet, else the one that was used longest ago; false when there is none. */
  evict(): boolean {
    return this.#loads.evict() || this.#deks.pop() !== undefined;
  }

  /** Zeroes what is being loaded; what is cached is the index's to remove. */
  close(): void {
    this.#loads.close();
  }

  /**
   * A miss: admission, one unwrap for all who wait, and the cache only when `open` succeeded. `caches` false = used once and zeroed.
   */
  async open<T>(
    unknown: UnknownBlock,
    context: EncryptionContext,
    open: (dek: Dek) => T,
    waiter: Waiter,
    caches: boolean,
  ): Promise<T> {
    // Copies: the load may outlive the request, whose bytes are zeroed.
    const block = Buffer.from(unknown.block);
    const dekId = Buffer.from(unknown.dekId);
    const recipients = this.#admit(block, context);
    const name = createHash('sha256').update(dekId).update(block).digest('latin1');
    this.#shared.negatives.check(name, this.#counters);
    const start = (): Promise<Dek> => this.#unwrap(name, dekId, block, recipients);
    if (!caches) {
      if (this.#uncached >= MAX_LOADS) throw tooMany(this.#options.name, 'unwrapped');
      this.#uncached++;
      const loading = start().finally(() => this.#uncached--);
      return useOnce(loading, waiter, open, (dek) => dek.free());
    }
    if (this.#loads.has(name)) this.#counters.coalesced++;
    else if (this.#loads.size >= MAX_LOADS && !this.#loads.evict()) throw tooMany(this.#options.name, 'unwrapped');
    const load = this.#loads.join(name, start);
    try {
      const result = open(await waitFor(load.loading, waiter));
      load.proven = true;
      return result;
    } finally {
      this.#loads.leave(load);
    }
  }

  /** Everything that can be said without spending a call. */
  #admit(block: Buffer, context: EncryptionContext): DekRecipient[] {
    const parsed = parseDekBlock(block);
    const recipients = knownRecipients(parsed, this.#options);
    if (recipients.length === 0) throw unauthentic(new Error('no recipient is a KEK of this key'));
    checkPartition(parsed.partition, context);
    return recipients;
  }

  async #unwrap(name: string, dekId: Buffer, block: Buffer, recipients: readonly DekRecipient[]): Promise<Dek> {
    const { clock, room } = this.#shared;
    const parsed = parseDekBlock(block);
    const context = wrapContext(parsed.keyName, dekId, parsed.partition);
    const counters = this.#counters;
    const startedAtMs = clock.bootMs();
    const mayEvict = !recipients.every(({ kek }) => kek.failedRecently(startedAtMs));
    const outcome = await room.holdForLoad(mayEvict, () =>
      withDeadline(clock, MISS_MS, (signal) => unwrap({ recipients, dekId, block, context, counters, signal })),
    );
    if (outcome.kind !== 'opened') throw this.#explain(name, outcome, parsed, recipients);
    const dek = new Dek(outcome.handle, dekId, block, this.#options, this.#counters, startedAtMs);
    dek.verified(startedAtMs, outcome.by.role, clock);
    return dek;
  }

  #explain(
    name: string,
    outcome: Exclude<UnwrapOutcome, { kind: 'opened' }>,
    block: DekBlock,
    recipients: readonly DekRecipient[],
  ): DekdError {
    const keyName = this.#options.name;
    switch (outcome.kind) {
      case 'invalid': {
        const error = unauthentic(new Error('no upstream could unwrap the DEK'));
        this.#shared.negatives.invalid(name, error);
        return error;
      }
      case 'refused': {
        const { kek, wrapped } = outcome.by;
        const scope = outcome.failure.scope ?? 'access';
        const error = fromUpstream(keyName, kek.upstreamName, outcome.failure);
        this.#shared.negatives.refused(name, error);
        this.#shared.refusals.followUp({
          kek,
          scope,
          kekVersion: wrapped.kekVersion,
          keyName,
          partitionKey: partitionKey(block.partition),
        });
        return error;
      }
      case 'unavailable':
        return fromUpstream(keyName, recipients[0]?.kek.upstreamName ?? 'none', outcome.failure);
    }
  }
}
