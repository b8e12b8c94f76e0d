import type { EncryptionContext } from '../crypto/context.ts';
import { parseDekBlock } from '../crypto/dek-block.ts';
import type { Envelope } from '../crypto/envelope.ts';
import { DekdError } from '../errors.ts';
import type { CallPurpose, KekDescription } from '../upstream/provider.ts';
import { NegativeMemory } from './admission.ts';
import type { Clock } from './clock.ts';
import { decide, graceMs } from './decide.ts';
import type { Dek } from './dek.ts';
import { DekIndex } from './dek-index.ts';
import type { KeyringEvents } from './events.ts';
import type { Kek } from './kek.ts';
import { Keyring } from './keyring.ts';
import type { InlineEnvelope, Located } from './located.ts';
import { CLOCK_STEP_MS, type KeyOptions, PROBE_INTERVAL_MS } from './options.ts';
import { type QuotaLimits, UpstreamQuota } from './quota.ts';
import { Refresher } from './refresher.ts';
import { counts, Refusals } from './refusals.ts';
import { type Revocation, Revocations } from './revocations.ts';
import { Room } from './room.ts';
import type { Shared } from './shared.ts';
import { deadVersions, isDead, standingOf } from './standing.ts';

/** All keyrings of the process, and what they share: the index, refusals, refreshes, the look at the clocks. */
export class Keyrings {
  readonly #clock: Clock;
  readonly #rings = new Map<string, Keyring>();
  readonly #index = new DekIndex();
  readonly #shared: Shared;
  #clockOffsetMs: number;
  #stopBeat: () => void;

  constructor(clock: Clock, events: KeyringEvents, limits: QuotaLimits) {
    this.#clock = clock;
    const all = (): Iterable<Dek> => this.#index.values();
    const room = new Room({
      decrypting: () => this.#evictDecrypting(),
      overShare: (share) => this.#evictEncrypting(share) || this.#evictForGood(share),
    });
    const refusals: Refusals = new Refusals(
      clock,
      {
        all,
        encrypting: (keyName, partition) => this.#rings.get(keyName)?.encrypting.peek(partition),
        purge: (dek) => this.#purge(dek),
        refreshSoon: (dek) => refresher.enqueue(dek),
        ask: (dek, recipients, fresh) => refresher.ask(dek, recipients, fresh),
      },
      events,
    );
    const renew = async (dek: Dek, purpose: CallPurpose): Promise<void> =>
      this.#rings.get(dek.keyName)?.encrypting.replace(dek, { purpose });
    const refresher: Refresher = new Refresher(clock, room, { all, renew }, refusals, events);
    const negatives = new NegativeMemory(clock);
    const revocations = new Revocations();
    const quota = new UpstreamQuota(limits, clock);
    this.#shared = { clock, index: this.#index, refusals, revocations, refresher, negatives, quota, events, room };
    this.#clockOffsetMs = clock.wallMs() - clock.bootMs();
    this.#stopBeat = clock.after(PROBE_INTERVAL_MS, () => this.#beat());
  }

  /** Adds a key. Its KEKs' outages are watched from now on. */
  add(options: KeyOptions): Keyring {
    const ring = new Keyring(options, this.#shared);
    this.#rings.set(options.name, ring);
    for (const { kek } of options.recipients) this.#shared.refresher.watch(kek);
    for (const kek of options.decryptWith) this.#shared.refresher.watch(kek);
    return ring;
  }

  byName(name: string): Keyring | undefined {
    return this.#rings.get(name);
  }

  names(): string[] {
    return [...this.#rings.keys()].sort();
  }

  /** Whose envelope it is: from the held DEK when its bytes are the same, else from the block that it carries. */
  locate(envelope: Envelope): Located {
    if (!envelope.isInline) {
      throw new DekdError(
        'INVALID_CIPHERTEXT',
        'ciphertext: its dek-block is detached; it is found only for keys with shared generations, which this agent has none of',
      );
    }
    const inline = envelope as InlineEnvelope;
    const exact = this.#index.find(envelope);
    if (exact !== undefined) return { envelope: inline, keyName: exact.keyName, held: exact, exact: true };
    const { keyName } = parseDekBlock(inline.block);
    const held = this.#index.byId(envelope.dekId);
    return { envelope: inline, keyName, held: held?.keyName === keyName ? held : undefined, exact: false };
  }

  all(): Iterable<Dek> {
    return this.#index.values();
  }

  /** Every KEK that some key names, once. */
  keks(): Kek[] {
    const keks = new Set<Kek>();
    for (const { options } of this.#rings.values()) {
      for (const { kek } of options.recipients) keks.add(kek);
      for (const kek of options.decryptWith) keks.add(kek);
    }
    return [...keks];
  }

  /** A KEK was made or changed here: what an upstream said before is no longer true. */
  forgetAnswers(): void {
    this.#shared.negatives.forget();
  }

  /**
   * A drill at an upstream is over: what it refused since that moment (CLOCK_BOOTTIME) and is not settled, it did not mean; and what looks out is asked
   * whether it is, by a breaker's own probe where one is open.
   */
  forgetRefusals(upstreamName: string, sinceMs: number): void {
    for (const kek of this.keks()) {
      if (kek.upstreamName !== upstreamName) continue;
      this.#shared.refusals.forget(kek, sinceMs);
      kek.forgetRefusal(sinceMs);
      if (kek.outage && kek.broken === undefined) void this.#shared.refresher.probe(kek);
    }
  }

  /**
   * What a KEK, whose life is led here, is from now on: each key's state follows at once. The DEKs of a KEK that ended, or of versions that did, are
   * zeroed; what is under way is done again.
   */
  kekChanged(upstreamName: string, description: KekDescription): void {
    const kek = this.keks().find((one) => one.upstreamName === upstreamName && one.uri === description.uri);
    if (kek === undefined) return;
    kek.stands(standingOf(description));
    this.forgetAnswers();
    for (const ring of this.#rings.values()) if (ring.names(kek)) ring.kekChanged();
    const kekIsDead = isDead(description.state);
    const dead = deadVersions(description);
    const doomed = [...this.#index.values()].filter(
      (dek) =>
        counts(dek, kek) &&
        (kekIsDead || dek.recipients.some((one) => one.kek === kek && dead.has(one.wrapped.kekVersion))),
    );
    for (const dek of doomed) this.#purge(dek);
  }

  /**
   * From now on exactly these keys and partitions are revoked, as the file `source` says. What is held of them is zeroed, also what is under way.
   * Returns how many DEKs were cached.
   */
  revoke(revocations: readonly Revocation[], source: string): number {
    let purged = 0;
    for (const key of this.#shared.revocations.replace(revocations, source)) {
      purged += this.#rings.get(key)?.revocationsChanged() ?? 0;
    }
    return purged;
  }

  /** Zeroes a key's DEKs, of one partition or of all, also those under way. Returns how many were cached; 0 for an unknown key. */
  flush(keyName: string, partition?: EncryptionContext): number {
    return this.#rings.get(keyName)?.flush(partition) ?? 0;
  }

  /** It serves now only because its upstream gives no answer, for status: an idle DEK past its ttl is none of them. */
  inGrace(dek: Dek, nowMs: number): boolean {
    return decide(dek, nowMs, this.#shared.refusals.covering(dek)) === 'grace';
  }

  /** Refusals that are not settled, for status. */
  refusalPending(dek: Dek): boolean {
    return this.#shared.refusals.covering(dek) !== undefined;
  }

  /** Zeroes every DEK and stops all timers. */
  close(): void {
    this.#stopBeat();
    this.#shared.refresher.close();
    this.#shared.refusals.close();
    for (const ring of this.#rings.values()) ring.close();
    for (const dek of [...this.#index.values()]) this.#rings.get(dek.keyName)?.remove(dek);
  }

  #purge(dek: Dek): void {
    const ring = this.#rings.get(dek.keyName);
    if (ring === undefined || dek.place === 'gone') return;
    ring.counters.purged++;
    ring.remove(dek);
  }

  /** The key with the most decrypting DEKs gives one up that could be had again. */
  #evictDecrypting(): boolean {
    return this.#byDecrypting().some((ring) => ring.decrypting.evict());
  }

  #evictForGood(share: number): boolean {
    const [richest] = this.#byDecrypting();
    return richest !== undefined && richest.decrypting.size > share && richest.decrypting.evictForGood();
  }

  /** Who has most comes first. */
  #byDecrypting(): Keyring[] {
    return [...this.#rings.values()].sort((a, b) => b.decrypting.size - a.decrypting.size);
  }

  #evictEncrypting(share: number): boolean {
    const rings = [...this.#rings.values()];
    const most = Math.max(...rings.map((ring) => ring.encrypting.size));
    if (most <= share) return false;
    const richest = rings.find((ring) => ring.encrypting.size === most);
    if (richest === undefined || !richest.encrypting.evictOldest()) return false;
    richest.counters.evicted++;
    return true;
  }

  #beat(): void {
    this.#stopBeat = this.#clock.after(PROBE_INTERVAL_MS, () => this.#beat());
    const nowMs = this.#clock.bootMs();
    for (const dek of this.#index.values()) {
      if (nowMs - dek.verifiedAtMs <= dek.options.cache.ttlMs + graceMs(dek)) continue;
      dek.counters.expired++;
      this.#rings.get(dek.keyName)?.remove(dek);
    }
    this.#noticeClockStep(nowMs);
  }

  /** NTP, or a machine that was paused: what was allowed then may be revoked now. Due at once, never expired. */
  #noticeClockStep(nowMs: number): void {
    const offsetMs = this.#clock.wallMs() - nowMs;
    const stepMs = offsetMs - this.#clockOffsetMs;
    this.#clockOffsetMs = offsetMs;
    if (stepMs <= CLOCK_STEP_MS) return;
    this.#shared.events.clockStepped(stepMs);
    for (const ring of this.#rings.values()) ring.counters.clock_steps++;
    const urgentFirst = [...this.#index.values()].sort((a, b) => rank(a) - rank(b));
    for (const dek of urgentFirst) this.#shared.refresher.enqueue(dek);
  }
}

function rank(dek: Dek): number {
  return dek.place === 'encrypting' ? 0 : 1;
}
