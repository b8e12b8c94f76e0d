import { LRUCache } from 'lru-cache';
import type { EncryptionContext } from '../crypto/context.ts';
import { DekdError } from '../errors.ts';
import type { Counters } from './counters.ts';
import type { CreatedDek } from './create-dek.ts';
import type { Dek } from './dek.ts';
import { type AdmittedPartition, DekMaker, type Making, type WrapRefusal } from './dek-maker.ts';
import { tooMany } from './failures.ts';
import { IncompleteDeks } from './incomplete-deks.ts';
import type { Kek } from './kek.ts';
import { type KeyOptions, PROBE_INTERVAL_MS } from './options.ts';
import { partitionKey } from './partition.ts';
import type { Confirmation } from './refusals.ts';
import { drop, type Shared } from './shared.ts';
import { type Payer, SingleFlight } from './single-flight.ts';
import type { Underway } from './underway.ts';

/** A successor is made between these shares of `rotate_after`, so that a fleet does not rotate at once. */
const ROTATE_FROM = 0.8;
const ROTATE_SPAN = 0.15;
/** A successor is made from this share of a count limit on. */
const ROTATE_AT_COUNT = 0.9;
/** DEKs under way for one key; a partition's name comes from the caller, and each costs calls. */
const MAX_CREATIONS = 1_000;
/** A new DEK, and the copy that proves its wraps. */
const SLOTS = 2;
/** A refusal to wrap counts when a second try says the same: from then on the old DEK only decrypts. */
const CONFIRMED_WRAP_REFUSALS = 2;

/** One key's DEKs that encrypt, one a partition: making them ahead of need, and replacing them. */
export class EncryptingDeks {
  readonly #options: KeyOptions;
  readonly #counters: Counters;
  readonly #shared: Shared;
  readonly #maker: DekMaker;
  readonly #deks: LRUCache<string, Dek>;
  readonly #creations = new SingleFlight<Dek>();
  readonly #incomplete: IncompleteDeks;
  /** Takes a DEK that no longer encrypts. */
  readonly #retired: (dek: Dek) => void;
  /** DEKs under way for the modes without a cache. */
  #uncached = 0;
  #closed = false;

  constructor(
    options: KeyOptions,
    counters: Counters,
    shared: Shared,
    underway: Underway,
    retired: (dek: Dek) => void,
  ) {
    this.#options = options;
    this.#counters = counters;
    this.#shared = shared;
    this.#maker = new DekMaker(options, counters, shared, underway);
    this.#retired = retired;
    this.#incomplete = new IncompleteDeks(shared.clock, (dek) => this.replace(dek));
    this.#deks = new LRUCache({
      max: options.cache.maxPartitions,
      dispose: (dek, _key, reason) => {
        this.#incomplete.remove(dek);
        if (dek.place !== 'encrypting') return;
        if (reason === 'evict') counters.evicted++;
        drop(shared, dek);
      },
    });
  }

  get size(): number {
    return this.#deks.size;
  }

  current(partition: string): Dek | undefined {
    return this.#deks.get(partition);
  }

  /** As `current`, but no use of it. */
  peek(partition: string): Dek | undefined {
    return this.#deks.peek(partition);
  }

  all(): IterableIterator<Dek> {
    return this.#deks.values() as IterableIterator<Dek>;
  }

  /** KEKs that DEKs of this key lack (`wrap: any`), and how many lack each. */
  missingRecipients(): ReadonlyMap<Kek, number> {
    return this.#incomplete.counts();
  }

  /** Throws what a caller hears when there is no DEK for the partition and none can be made. */
  async create(partition: EncryptionContext, making: Making = {}): Promise<Dek> {
    const name = partitionKey(partition);
    if (this.#creations.has(name)) this.#counters.coalesced++;
    return this.#creations.run(name, () => {
      if (this.#creations.size >= MAX_CREATIONS) throw tooMany(this.#options.name, 'made');
      return this.#create(this.#maker.admit(partition, making), name);
    });
  }

  async #create(admitted: AdmittedPartition, name: string): Promise<Dek> {
    const { dek, missing } = await this.#maker.make(admitted, (work) => this.#hold(name, work));
    this.#take(dek);
    this.#incomplete.add(dek, missing);
    return dek;
  }

  /** As `create`, but never one that is under way already: it may be wrapped under the KEK version before a rotation. */
  async createAnew(partition: EncryptionContext): Promise<Dek> {
    await this.#creations.settled(partitionKey(partition));
    return this.create(partition);
  }

  /** A DEK for one use, for the modes without a cache: the caller's to free. */
  async makeOne(partition: EncryptionContext, payer: Payer): Promise<Dek> {
    if (this.#uncached >= MAX_CREATIONS) throw tooMany(this.#options.name, 'made');
    const admitted = this.#maker.admit(partition, { payer });
    this.#uncached++;
    try {
      const { dek } = await this.#maker.make(admitted, (work) => this.#hold(partitionKey(partition), work));
      return dek;
    } finally {
      this.#uncached--;
    }
  }

  #hold(partition: string, work: () => Promise<CreatedDek>): Promise<CreatedDek> {
    const { clock, room } = this.#shared;
    const nowMs = clock.bootMs();
    const mayEvict = !this.#options.recipients.some(({ kek }) => kek.failedRecently(nowMs));
    if (this.#deks.has(partition)) return room.holdForSuccessor(SLOTS, mayEvict, work);
    // Those under way count, or many at once would push out every other key's before the first of them is held.
    const share = this.size + this.#creations.size + this.#uncached;
    return room.holdForNew(SLOTS, share, mayEvict, work);
  }

  /** Puts a successor in the DEK's place. Never rejects: when none can be made the old one stays, and the time is noted. */
  replace(dek: Dek, making: Making = {}): Promise<void> {
    dek.replacing ??= this.#replace(dek, making).finally(() => {
      dek.replacing = undefined;
    });
    return dek.replacing;
  }

  async #replace(dek: Dek, making: Making): Promise<void> {
    try {
      await this.create(dek.partition, making);
    } catch (thrown) {
      this.#counters.rotation_failures++;
      // Told once, not every few seconds of an outage.
      if (dek.rotationFailedAtMs < 0) this.#shared.events.rotationFailed(this.#options.name, DekdError.from(thrown));
      dek.rotationFailedAtMs = this.#shared.clock.bootMs();
      this.#refused(dek, thrown);
    }
  }

  /** One that is refreshed by renewal has no other word of its upstream than this; any other only encrypts no more when the next try says the same. */
  #refused(dek: Dek, thrown: unknown): void {
    const refusal = this.#maker.refusal(thrown);
    if (refusal !== undefined && this.#options.cache.refresh === 'renew' && dek.place === 'encrypting') {
      this.#renewalRefused(dek, refusal);
      return;
    }
    if (refusal === undefined) dek.wrapRefusals = 0;
    else if (refusal.isNew) dek.wrapRefusals++;
    if (dek.wrapRefusals >= CONFIRMED_WRAP_REFUSALS) this.retire(dek);
  }

  #renewalRefused(dek: Dek, refusal: WrapRefusal): void {
    this.#shared.refusals.reportRenewal(dek, refusal, ({ kek }) => this.#renewAgain(dek, kek));
  }

  /** The call that confirms that `kek` refuses a successor, or makes it. */
  async #renewAgain(dek: Dek, kek: Kek): Promise<Confirmation | undefined> {
    await this.#creations.settled(dek.partitionKey);
    if (dek.place !== 'encrypting') return { kind: 'opened' };
    try {
      await this.create(dek.partition, { purpose: 'background', confirms: true });
      return { kind: 'opened' };
    } catch (thrown) {
      const refusal = this.#maker.refusal(thrown);
      if (refusal === undefined) return undefined;
      if (refusal.kek === kek) return { kind: 'refused', failure: refusal.failure };
      // It is another one's first; whether the one that was asked about means it is still open.
      this.#renewalRefused(dek, refusal);
      return undefined;
    }
  }

  /** A try to replace it failed so lately that the next one can wait. */
  replacedInVain(dek: Dek, nowMs: number): boolean {
    return nowMs - dek.rotationFailedAtMs <= PROBE_INTERVAL_MS;
  }

  /** From now on it only decrypts. */
  retire(dek: Dek): void {
    if (dek.place !== 'encrypting') return;
    dek.place = 'loose';
    this.#deks.delete(dek.partitionKey);
    this.#retired(dek);
  }

  remove(dek: Dek): void {
    this.#deks.delete(dek.partitionKey);
  }

  /** Zeroes the DEK whose partition was used longest ago; false when there is none. */
  evictOldest(): boolean {
    const [oldest] = this.#deks.rkeys();
    return oldest !== undefined && this.#deks.delete(oldest);
  }

  /** Stops it from taking DEKs that are still being made. */
  close(): void {
    this.#closed = true;
  }

  #take(dek: Dek): void {
    if (this.#closed) {
      dek.free();
      throw new DekdError('CANCELLED', 'the agent is stopping');
    }
    const { cache } = this.#options;
    const { clock } = this.#shared;
    const old = this.#deks.peek(dek.partitionKey);
    if (old !== undefined) {
      this.#counters.rotations++;
      this.retire(old);
    }
    dek.place = 'encrypting';
    const [first] = dek.recipients;
    dek.verified(dek.verifiedAtMs, first?.role ?? 'authority', clock);
    dek.rotateDueAtMs = dek.loadedAtMs + cache.rotateAfterMs * (ROTATE_FROM + ROTATE_SPAN * clock.random());
    dek.softMessages = Math.floor(cache.maxMessages * ROTATE_AT_COUNT);
    dek.softBytes = Math.floor(cache.maxBytes * ROTATE_AT_COUNT);
    this.#shared.index.add(dek);
    this.#deks.set(dek.partitionKey, dek);
  }
}
