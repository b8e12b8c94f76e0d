import type { EncryptionContext } from '../crypto/context.ts';
import { isKeyName, MAX_PARTITION_VALUE_BYTES } from '../crypto/dek-block.ts';
import type { Envelope } from '../crypto/envelope.ts';
import { unauthentic } from '../crypto/invalid-ciphertext.ts';
import { type DekdError, invalidField } from '../errors.ts';
import { UpstreamFailure } from '../upstream/failure.ts';
import { checkPartition } from './admission.ts';
import { Counters } from './counters.ts';
import { decide, graceMs, rotationOverdue, type Verdict } from './decide.ts';
import { DecryptingDeks } from './decrypting-deks.ts';
import { type Dek, partitionKey } from './dek.ts';
import { EncryptingDeks } from './encrypting-deks.ts';
import { fromUpstream } from './failures.ts';
import { CONFIRM_WAIT_MS, GRACE_WAIT_MS, type KeyOptions } from './options.ts';
import type { Refusal } from './refusals.ts';
import type { Shared } from './shared.ts';
import { type Waiter, waitFor } from './single-flight.ts';
import { settlesWithin } from './timing.ts';

/** Works with a DEK while it is certain to be held; synchronous. */
export type UseDek<T> = (dek: Dek, servedInGrace: boolean) => T;

/** A DEK can be purged while a request waits for it; more often than this in a row is not a coincidence. */
const MAX_ROUNDS = 4;
/** LRU order is kept to the second: a hit must not pay for more. */
const TOUCH_MS = 1_000;

/** The DEKs of one key. A hit is synchronous; only a miss or an unsettled DEK returns a promise. */
export class Keyring {
  readonly options: KeyOptions;
  readonly counters = new Counters();
  readonly encrypting: EncryptingDeks;
  readonly decrypting: DecryptingDeks;
  readonly #shared: Shared;
  readonly #caches: boolean;
  readonly #partitionBy: readonly string[];

  constructor(options: KeyOptions, shared: Shared) {
    if (!isKeyName(options.name)) throw invalidField('keys', `"${options.name}" is not a key name`);
    this.options = options;
    this.#shared = shared;
    this.#caches = options.cache.mode === 'session' || options.cache.mode === 'startup';
    this.#partitionBy = [...options.partitionBy].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    this.decrypting = new DecryptingDeks(options, this.counters, shared);
    this.encrypting = new EncryptingDeks(options, this.counters, shared, (dek) => this.#retired(dek));
  }

  /** Runs `use` with the DEK that encrypts for this context's partition. `bytes` counts against the DEK's limit. */
  encrypt<T>(context: EncryptionContext, bytes: number, use: UseDek<T>, waiter: Waiter): T | Promise<T> {
    const partition = this.#partition(context);
    if (!this.#caches) return this.#encryptOnce(partition, use);
    const dek = this.encrypting.current(partition.size === 0 ? '' : partitionKey(partition));
    if (dek === undefined) {
      this.counters.encrypt_misses++;
      return this.#encryptSlow(partition, bytes, use, waiter);
    }
    const nowMs = this.#shared.clock.bootMs();
    if (nowMs < dek.attentionAtMs && dek.messages < dek.softMessages && dek.bytes < dek.softBytes) {
      return this.#encryptWith(dek, bytes, use, false);
    }
    const verdict = this.#attend(dek, nowMs);
    if (verdict === 'serve' || verdict === 'grace') return this.#encryptWith(dek, bytes, use, verdict === 'grace');
    return this.#encryptSlow(partition, bytes, use, waiter);
  }

  /** Runs `open` with the envelope's DEK. `held` is what the index has under its dek_id. */
  decrypt<T>(
    envelope: Envelope & { readonly block: Buffer },
    held: Dek | undefined,
    context: EncryptionContext,
    open: UseDek<T>,
    waiter: Waiter,
  ): T | Promise<T> {
    if (held === undefined || !this.#caches) return this.#decryptMiss(envelope, context, open, waiter);
    if (!held.accepts(envelope.block)) throw unauthentic(new Error('the block is not the DEK’s'));
    checkPartition(held.partition, context);
    const nowMs = this.#shared.clock.bootMs();
    if (nowMs - held.touchedAtMs > TOUCH_MS) this.#touch(held, nowMs);
    if (nowMs < held.attentionAtMs) return this.#decryptWith(held, open, false);
    const verdict = this.#attend(held, nowMs);
    if (verdict === 'serve' || verdict === 'grace') return this.#decryptWith(held, open, verdict === 'grace');
    return this.#decryptSlow(envelope, held, context, open, waiter);
  }

  /**
   * For a dry run: that the context has what the key partitions by and that the authorities' KEKs may be used. Throws INVALID_REQUEST,
   * KEY_DISABLED and the like, UPSTREAM_*.
   */
  async checkState(context: EncryptionContext, signal: AbortSignal): Promise<void> {
    this.#partition(context);
    for (const { kek, role } of this.options.recipients) {
      if (role !== 'authority') continue;
      try {
        const { state } = await kek.upstream.describe(kek.uri, { signal });
        if (state !== 'active') throw new UpstreamFailure('refused', `KEK is ${state}`, { condition: state });
      } catch (thrown) {
        throw fromUpstream(this.options.name, kek.upstreamName, UpstreamFailure.from(thrown));
      }
    }
  }

  /** Makes the DEK that encrypts for a partition, unless there is one. */
  async warm(partition: EncryptionContext): Promise<void> {
    if (this.#caches && this.encrypting.current(partitionKey(partition)) === undefined) {
      await this.encrypting.create(partition);
    }
  }

  /**
   * Gives every partition that has an encrypting DEK a new one; the old ones only decrypt from now on. Returns how many there were.
   * Throws UPSTREAM_* when one can't be made: that one goes on encrypting.
   */
  async rotate(): Promise<number> {
    const deks = [...this.encrypting.all()];
    for (const dek of deks) await this.encrypting.create(dek.partition);
    return deks.length;
  }

  /** Removes a cached DEK and zeroes it. */
  remove(dek: Dek): void {
    (dek.place === 'encrypting' ? this.encrypting : this.decrypting).remove(dek);
  }

  /** `refresh: renew`: the next DEK is the proof that we still may encrypt; one that only decrypts can't be asked about. */
  async renew(dek: Dek): Promise<void> {
    if (dek.place === 'encrypting') await this.encrypting.replace(dek);
    else if (dek.place === 'decrypting') this.remove(dek);
  }

  *all(): Iterable<Dek> {
    yield* this.encrypting.all();
    yield* this.decrypting.all();
  }

  #encryptWith<T>(dek: Dek, bytes: number, use: UseDek<T>, grace: boolean): T {
    const result = use(dek, grace);
    dek.messages++;
    dek.bytes += bytes;
    this.counters.encrypt_hits++;
    if (grace) this.counters.grace_served++;
    return result;
  }

  #decryptWith<T>(dek: Dek, open: UseDek<T>, grace: boolean): T {
    const result = open(dek, grace);
    this.counters.decrypt_hits++;
    if (grace) this.counters.grace_served++;
    return result;
  }

  async #encryptOnce<T>(partition: EncryptionContext, use: UseDek<T>): Promise<T> {
    this.counters.encrypt_misses++;
    const dek = await this.encrypting.make(partition);
    try {
      return use(dek, false);
    } finally {
      dek.free();
    }
  }

  async #encryptSlow<T>(partition: EncryptionContext, bytes: number, use: UseDek<T>, waiter: Waiter): Promise<T> {
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const dek = this.encrypting.current(partitionKey(partition));
      if (dek === undefined) {
        await waitFor(this.encrypting.create(partition), waiter);
        continue;
      }
      if (this.#mustReplace(dek)) {
        await waitFor(settlesWithin(this.#shared.clock, this.encrypting.replace(dek), GRACE_WAIT_MS), waiter);
        continue;
      }
      const verdict = await this.#settle(dek, waiter);
      if (verdict !== undefined) return this.#encryptWith(dek, bytes, use, verdict === 'grace');
    }
    throw this.#unavailable(undefined);
  }

  #decryptMiss<T>(
    envelope: Envelope & { readonly block: Buffer },
    context: EncryptionContext,
    open: UseDek<T>,
    waiter: Waiter,
  ): Promise<T> {
    this.counters.decrypt_misses++;
    return this.decrypting.open(envelope, context, (dek) => open(dek, false), waiter, this.#caches);
  }

  async #decryptSlow<T>(
    envelope: Envelope & { readonly block: Buffer },
    dek: Dek,
    context: EncryptionContext,
    open: UseDek<T>,
    waiter: Waiter,
  ): Promise<T> {
    const verdict = await this.#settle(dek, waiter);
    if (verdict !== undefined) return this.#decryptWith(dek, open, verdict === 'grace');
    return this.#decryptMiss(envelope, context, open, waiter);
  }

  /** Waits until the DEK may serve; undefined when it was purged meanwhile. Throws UPSTREAM_* when it may not. */
  async #settle(dek: Dek, waiter: Waiter): Promise<'serve' | 'grace' | undefined> {
    for (let round = 0; round < MAX_ROUNDS; round++) {
      if (isGone(dek)) return undefined;
      const refusal = this.#shared.refusals.covering(dek);
      const verdict = decide(dek, this.#shared.clock.bootMs(), refusal);
      if (verdict === 'serve' || verdict === 'grace') return verdict;
      if (verdict === 'unavailable') break;
      if (refusal === undefined) {
        if (await this.#refreshOrGrace(dek, waiter)) return 'grace';
      } else if (!(await this.#decided(refusal, waiter))) {
        break;
      }
    }
    // Also when the upstream answers and says neither yes nor no (e.g. `invalid` for a block that it once opened).
    throw this.#unavailable(dek);
  }

  /** Nothing is served while its refusal is being confirmed; false when that takes too long. */
  #decided(refusal: Refusal, waiter: Waiter): Promise<boolean> {
    return waitFor(settlesWithin(this.#shared.clock, refusal.decided, CONFIRM_WAIT_MS), waiter);
  }

  /** Waits for an attempt; true when it took so long that the DEK is to be served in grace. */
  async #refreshOrGrace(dek: Dek, waiter: Waiter): Promise<boolean> {
    const { clock, refusals, refresher } = this.#shared;
    const attempt = refresher.refresh(dek);
    if (clock.bootMs() - dek.verifiedAtMs > this.options.cache.ttlMs + graceMs(dek)) {
      await waitFor(attempt, waiter);
      return false;
    }
    const settled = await waitFor(settlesWithin(clock, attempt, GRACE_WAIT_MS), waiter);
    return !settled && !isGone(dek) && refusals.covering(dek) === undefined;
  }

  /** Looks after a DEK at its use: refresh, successor, and when to look again. */
  #attend(dek: Dek, nowMs: number): Verdict {
    const { refresher, refusals } = this.#shared;
    if (!dek.used) {
      dek.used = true;
      refresher.arm(dek, nowMs);
    }
    if (dek.place === 'encrypting' && this.#replacementDue(dek, nowMs)) {
      if (this.#mustReplace(dek)) return 'refresh';
      if (!this.encrypting.replacedInVain(dek, nowMs)) void this.encrypting.replace(dek);
      dek.softMessages = dek.messages + Math.ceil(this.options.cache.maxMessages / 100);
      dek.softBytes = dek.bytes + Math.ceil(this.options.cache.maxBytes / 100);
    }
    const verdict = decide(dek, nowMs, refusals.covering(dek));
    if (verdict === 'serve') dek.attentionAtMs = nextAttentionMs(dek, nowMs);
    return verdict;
  }

  #replacementDue(dek: Dek, nowMs: number): boolean {
    return nowMs >= dek.rotateDueAtMs || dek.messages >= dek.softMessages || dek.bytes >= dek.softBytes;
  }

  /** Its time to encrypt is over and nothing says that a successor can't be had. */
  #mustReplace(dek: Dek): boolean {
    const nowMs = this.#shared.clock.bootMs();
    if (!rotationOverdue(dek, nowMs)) return false;
    return !this.encrypting.replacedInVain(dek, nowMs) && !dek.unanswered(nowMs);
  }

  #retired(dek: Dek): void {
    if (this.#caches && this.options.cache.refresh === 'verify') this.decrypting.add(dek);
    else {
      this.#shared.index.delete(dek.idKey);
      dek.free();
    }
  }

  #touch(dek: Dek, nowMs: number): void {
    dek.touchedAtMs = nowMs;
    if (dek.place === 'decrypting') this.decrypting.touch(dek);
  }

  #partition(context: EncryptionContext): EncryptionContext {
    if (this.#partitionBy.length === 0) return NO_PARTITION;
    const partition = new Map<string, string>();
    for (const name of this.#partitionBy) {
      const value = context.get(name);
      const length = value === undefined ? 0 : Buffer.byteLength(value);
      if (value === undefined || length === 0 || length > MAX_PARTITION_VALUE_BYTES) {
        const found = value === undefined ? 'is missing' : `has ${length} bytes`;
        throw invalidField(
          'encryption_context',
          `entry "${name}" ${found}; key ${this.options.name} is partitioned by it (1 to ${MAX_PARTITION_VALUE_BYTES} bytes)`,
        );
      }
      partition.set(name, value);
    }
    return partition;
  }

  #unavailable(dek: Dek | undefined): DekdError {
    const kek = dek?.recipients.find((one) => one.kek.outage)?.kek ?? this.options.recipients[0]?.kek;
    const { state } = kek?.health ?? { state: 'unknown' };
    const failureClass = state === 'throttled' || state === 'unauthenticated' ? state : 'unreachable';
    return fromUpstream(
      this.options.name,
      kek?.upstreamName ?? 'none',
      new UpstreamFailure(failureClass, 'grace is over'),
    );
  }
}

/** A look of its own, since the place changes while a request waits. */
function isGone(dek: Dek): boolean {
  return dek.place === 'gone';
}

const NO_PARTITION: EncryptionContext = new Map();

/** The next moment at which something is due; until then a hit only compares two numbers. */
function nextAttentionMs(dek: Dek, nowMs: number): number {
  let next = dek.verifiedAtMs + dek.options.cache.ttlMs;
  if (dek.place !== 'encrypting') return next;
  for (const due of [dek.rotateDueAtMs, dek.loadedAtMs + dek.options.cache.rotateAfterMs]) {
    // Due and not done: look again soon.
    next = Math.min(next, due > nowMs ? due : nowMs + 1_000);
  }
  return next;
}
