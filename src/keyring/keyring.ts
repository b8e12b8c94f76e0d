import { compareUtf8, type EncryptionContext } from '../crypto/context.ts';
import { isKeyName } from '../crypto/dek-block.ts';
import { unauthentic } from '../crypto/invalid-ciphertext.ts';
import { type DekdError, invalidField } from '../errors.ts';
import type { KekState } from '../upstream/provider.ts';
import { Attention } from './attention.ts';
import type { CallDeks } from './call-deks.ts';
import { checkKeks, payForDescriptions } from './check-keks.ts';
import { Counters } from './counters.ts';
import type { Verdict } from './decide.ts';
import { DecryptingDeks } from './decrypting-deks.ts';
import type { Dek } from './dek.ts';
import { DekCounter, type DekCounts } from './dek-counts.ts';
import { DekUnwrapper } from './dek-unwrapper.ts';
import { EncryptingDeks } from './encrypting-deks.ts';
import { keyRefused } from './failures.ts';
import type { Kek } from './kek.ts';
import type { InlineEnvelope, Located } from './located.ts';
import { GRACE_WAIT_MS, type KeyOptions } from './options.ts';
import { partitionKey, partitionOf } from './partition.ts';
import { Rewrapper } from './rewrapper.ts';
import { settle, unavailable } from './settle.ts';
import { drop, type Shared } from './shared.ts';
import { type Payer, useOnce, type Waiter, waitFor } from './single-flight.ts';
import { isDead, keyState } from './standing.ts';
import { settlesWithin } from './timing.ts';
import { Underway } from './underway.ts';

/** Works with a DEK while it is certain to be held: its handle is pinned before this returns, also when it returns a promise. */
export type UseDek<T> = (dek: Dek, servedInGrace: boolean) => T | Promise<T>;

/** A DEK can be purged while a request waits for it; more often than this in a row is not a coincidence. */
const MAX_ROUNDS = 4;
/** LRU order is kept to some seconds: among thousands of DEKs a look into it costs as much as the rest of finding one. */
const TOUCH_MS = 5_000;

/** The DEKs of one key. A hit is synchronous; only a miss or an unsettled DEK returns a promise. */
export class Keyring {
  readonly options: KeyOptions;
  readonly counters = new Counters();
  readonly encrypting: EncryptingDeks;
  readonly decrypting: DecryptingDeks;
  readonly rewrapper: Rewrapper;
  /** Of the key, as far as its KEKs' life is led here and no file revokes it: active encrypts and decrypts, archived decrypts, the rest refuse at once. */
  state: KekState;
  readonly #shared: Shared;
  readonly #caches: boolean;
  readonly #underway = new Underway();
  readonly #counter: DekCounter;
  readonly #attention: Attention;

  constructor(options: KeyOptions, shared: Shared) {
    if (!isKeyName(options.name)) throw invalidField('keys', `"${options.name}" is not a key name`);
    // In the order of the context encoding, so that a partition has one form.
    this.options = { ...options, partitionBy: options.partitionBy.toSorted(compareUtf8) };
    this.#shared = shared;
    this.#caches = options.cache.mode === 'session' || options.cache.mode === 'startup';
    this.state = this.#presentState();
    this.#counter = new DekCounter(() => this.all(), shared);
    const unwrapper = new DekUnwrapper(this.options, this.counters, shared, this.#underway);
    this.decrypting = new DecryptingDeks(this.options, this.counters, shared, unwrapper);
    this.rewrapper = new Rewrapper(this.options, this.counters, shared, unwrapper);
    this.encrypting = new EncryptingDeks(this.options, this.counters, shared, this.#underway, (dek) =>
      this.#retired(dek),
    );
    this.#attention = new Attention(this.encrypting, shared);
  }

  /**
   * Runs `use` with the DEK that encrypts for this context's partition. `bytes` counts against the DEK's limit. `call`: keys in mode `request`
   * take one DEK for all that is done with the same.
   */
  encrypt<T>(
    context: EncryptionContext,
    bytes: number,
    use: UseDek<T>,
    waiter: Waiter,
    call?: CallDeks,
  ): T | Promise<T> {
    if (this.state !== 'active') throw this.#refusal();
    const partition = partitionOf(context, this.options.partitionBy, this.options.name);
    if (!this.#caches) {
      this.#shared.revocations.check(this.options.name, partition);
      this.counters.encrypt_misses++;
      const make = (): Promise<Dek> => this.encrypting.makeOne(partition, waiter.principal);
      const once = (dek: Dek): T | Promise<T> => use(dek, false);
      if (call === undefined || this.options.cache.mode === 'none') {
        return useOnce(make(), waiter, once, (dek) => dek.free());
      }
      return call.use(JSON.stringify(['encrypt', this.options.name, partitionKey(partition)]), make, waiter, once);
    }
    const dek = this.encrypting.current(partitionKey(partition));
    if (dek === undefined) {
      this.counters.encrypt_misses++;
      return this.#encryptSlow(partition, bytes, use, waiter);
    }
    const nowMs = this.#shared.clock.bootMs();
    let verdict: Verdict = 'serve';
    if (nowMs >= dek.attentionAtMs || dek.messages >= dek.softMessages || dek.bytes >= dek.softBytes) {
      verdict = this.#attention.attendEncrypting(dek, nowMs);
    }
    this.counters.encrypt_hits++;
    if (verdict === 'serve' || verdict === 'grace') return this.#encryptWith(dek, bytes, use, verdict === 'grace');
    return this.#encryptSlow(partition, bytes, use, waiter);
  }

  /** Runs `open` with the envelope's DEK; `call` as for encrypt. */
  decrypt<T>(
    located: Located,
    context: EncryptionContext,
    open: UseDek<T>,
    waiter: Waiter,
    call?: CallDeks,
  ): T | Promise<T> {
    if (this.state !== 'active' && isDead(this.state)) throw this.#refusal();
    const { envelope, held, exact } = located;
    if (held === undefined) return this.#decryptMiss(envelope, context, open, waiter, call);
    if (!exact && !held.accepts(envelope.block)) throw unauthentic(new Error('the block is not the DEK’s'));
    if (!held.belongsTo(context, envelope))
      throw unauthentic(new Error('the context does not have the DEK’s partition'));
    this.counters.decrypt_hits++;
    const nowMs = this.#shared.clock.bootMs();
    if (nowMs - held.touchedAtMs > TOUCH_MS) this.#touch(held, nowMs);
    const verdict = nowMs < held.attentionAtMs ? 'serve' : this.#attention.attend(held, nowMs);
    if (verdict === 'serve' || verdict === 'grace') return this.#decryptWith(held, open, verdict === 'grace');
    return this.#decryptSlow(envelope, held, context, open, waiter);
  }

  /** For a dry run of Encrypt: also that the context has what the key partitions by (INVALID_REQUEST). */
  async checkState(context: EncryptionContext, waiter: Waiter): Promise<void> {
    const partition = partitionOf(context, this.options.partitionBy, this.options.name);
    const state = await this.checkKeks(partition, waiter);
    if (state !== 'active') throw keyRefused(this.options.name, state);
  }

  /**
   * For a dry run: that the partition is not revoked, and the authorities' upstreams let what is there be decrypted. Throws KEY_DISABLED and the
   * like, UPSTREAM_*, QUOTA_EXCEEDED.
   */
  async checkKeks(partition: EncryptionContext, waiter: Waiter): Promise<'active' | 'archived'> {
    const { revocations, quota } = this.#shared;
    revocations.check(this.options.name, partition);
    return checkKeks(this.options, this.counters, quota, waiter);
  }

  /** Runs what has this key's KEKs described for an administrator, on the account of `payer`. Throws QUOTA_EXCEEDED. */
  payForDescriptions<T>(payer: Payer, describe: () => Promise<T>): Promise<T> {
    return payForDescriptions(this, this.#shared.quota, payer, describe);
  }

  /** Makes the DEK that encrypts for a partition, unless there is one or none is kept. Returns how many it made. */
  async warm(partition: EncryptionContext): Promise<number> {
    if (this.state !== 'active') throw this.#refusal();
    const present = this.encrypting.current(partitionKey(partition));
    if (!this.#caches || present?.sealsArchived === false) return 0;
    await this.encrypting.create(partition);
    return 1;
  }

  /**
   * Zeroes the DEKs of one partition, or of all; those that are being made or unwrapped meanwhile are not used either, and their callers get fresh
   * ones. Rewrapped blocks are made anew, too. Returns how many were cached.
   */
  flush(partition?: EncryptionContext): number {
    this.#underway.flush(partition);
    this.decrypting.flush(partition);
    this.rewrapper.forget();
    const name = partition === undefined ? undefined : partitionKey(partition);
    const doomed = [...this.all()].filter((dek) => name === undefined || dek.partitionKey === name);
    for (const dek of doomed) this.remove(dek);
    this.counters.purged += doomed.length;
    return doomed.length;
  }

  /** For a partition that its upstream refuses from now on. Returns how many DEKs were zeroed. */
  purgePartition(partition: EncryptionContext): number {
    return this.flush(partition);
  }

  names(kek: Kek): boolean {
    return this.options.recipients.some((one) => one.kek === kek) || this.options.decryptWith.includes(kek);
  }

  /** A KEK of this key changed: what is under way is done again with what is true now, and each DEK knows whether it is archived. */
  kekChanged(): void {
    this.state = this.#presentState();
    this.#doAgain();
    for (const dek of this.all()) dek.noteStanding();
  }

  /** Zeroes the DEKs that are revoked now, also those under way. Returns how many were cached. */
  revocationsChanged(): number {
    this.state = this.#presentState();
    this.#doAgain();
    const { revocations } = this.#shared;
    const doomed = [...this.all()].filter((dek) => revocations.covers(dek.keyName, dek.partition));
    for (const dek of doomed) this.remove(dek);
    this.counters.purged += doomed.length;
    return doomed.length;
  }

  /**
   * Gives every partition that has an encrypting DEK a new one; the old ones only decrypt from now on. Returns how many there were.
   * Throws UPSTREAM_* when one can't be made: that one goes on encrypting.
   */
  async rotate(): Promise<number> {
    const deks = [...this.encrypting.all()];
    for (const dek of deks) await this.encrypting.createAnew(dek.partition);
    return deks.length;
  }

  /** Removes a cached DEK and zeroes it. */
  remove(dek: Dek): void {
    (dek.place === 'encrypting' ? this.encrypting : this.decrypting).remove(dek);
  }

  /** Stops taking DEKs. */
  close(): void {
    this.encrypting.close();
    this.decrypting.close();
  }

  /** Of many DEKs the counts may be some seconds old; they say. */
  counts(): DekCounts {
    return this.#counter.counts(this.encrypting.size + this.decrypting.size);
  }

  *all(): Iterable<Dek> {
    yield* this.encrypting.all();
    yield* this.decrypting.all();
  }

  #presentState(): KekState {
    return this.#shared.revocations.revokesKey(this.options.name) ? 'disabled' : keyState(this.options);
  }

  /** Why a key in this state is not used. */
  #refusal(): DekdError {
    const { name } = this.options;
    const { revocations } = this.#shared;
    return revocations.revokesKey(name) ? revocations.refusal(name) : keyRefused(name, this.state);
  }

  /** What is under way, with what is true now. */
  #doAgain(): void {
    this.#underway.flush(undefined);
    this.decrypting.flush(undefined);
    this.rewrapper.forget();
  }

  #encryptWith<T>(dek: Dek, bytes: number, use: UseDek<T>, grace: boolean): T | Promise<T> {
    const result = use(dek, grace);
    dek.messages++;
    dek.bytes += bytes;
    if (grace) this.counters.grace_served++;
    return result;
  }

  #decryptWith<T>(dek: Dek, open: UseDek<T>, grace: boolean): T | Promise<T> {
    const result = open(dek, grace);
    if (grace) this.counters.grace_served++;
    return result;
  }

  async #encryptSlow<T>(partition: EncryptionContext, bytes: number, use: UseDek<T>, waiter: Waiter): Promise<T> {
    let mayWaitForSuccessor = true;
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const dek = this.encrypting.current(partitionKey(partition));
      // What is archived would be closed to its own writer: its DEK is replaced, or nothing is encrypted.
      if (dek === undefined || dek.sealsArchived) {
        await waitFor(this.encrypting.create(partition, { payer: waiter.principal }), waiter);
        continue;
      }
      if (mayWaitForSuccessor && this.#attention.mustReplace(dek)) {
        mayWaitForSuccessor = false;
        await waitFor(settlesWithin(this.#shared.clock, this.encrypting.replace(dek), GRACE_WAIT_MS), waiter);
        continue;
      }
      const verdict = await settle(dek, this.#shared, waiter, 'encrypting');
      // A look after the wait: it may have been purged or replaced since.
      if (verdict !== undefined && dek.place === 'encrypting') {
        return this.#encryptWith(dek, bytes, use, verdict === 'grace');
      }
    }
    throw unavailable(this.options, undefined);
  }

  #decryptMiss<T>(
    envelope: InlineEnvelope,
    context: EncryptionContext,
    open: UseDek<T>,
    waiter: Waiter,
    call?: CallDeks,
  ): Promise<T> {
    this.counters.decrypt_misses++;
    const once = (dek: Dek): T | Promise<T> => open(dek, false);
    if (this.#caches) return this.decrypting.open(envelope, context, once, waiter);
    return this.decrypting.openOnce(
      envelope,
      context,
      once,
      waiter,
      this.options.cache.mode === 'none' ? undefined : call,
    );
  }

  async #decryptSlow<T>(
    envelope: InlineEnvelope,
    dek: Dek,
    context: EncryptionContext,
    open: UseDek<T>,
    waiter: Waiter,
  ): Promise<T> {
    const verdict = await settle(dek, this.#shared, waiter);
    if (verdict !== undefined && dek.place !== 'gone') return this.#decryptWith(dek, open, verdict === 'grace');
    return this.#decryptMiss(envelope, context, open, waiter);
  }

  #retired(dek: Dek): void {
    if (this.#caches && this.options.cache.refresh === 'verify') this.decrypting.add(dek);
    else {
      drop(this.#shared, dek);
    }
  }

  #touch(dek: Dek, nowMs: number): void {
    dek.touchedAtMs = Math.floor(nowMs);
    if (dek.place === 'decrypting') this.decrypting.touch(dek);
  }
}
