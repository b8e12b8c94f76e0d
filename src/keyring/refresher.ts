import { freeKey } from '../crypto/native.ts';
import { DekdError } from '../errors.ts';
import type { CallPurpose } from '../upstream/provider.ts';
import type { ProbingUnwrap } from '../upstream/resilience/breakers.ts';
import type { Clock } from './clock.ts';
import type { Dek, DekRecipient, RefreshProblem } from './dek.ts';
import type { KeyringEvents } from './events.ts';
import type { Kek } from './kek.ts';
import { INVALID_MEMORY_MS, MISS_MS, PROBE_INTERVAL_MS } from './options.ts';
import { counts, type Refusals } from './refusals.ts';
import type { Room } from './room.ts';
import { withDeadline } from './timing.ts';
import { type UnwrapOutcome, type Unwrapping, unwrap } from './unwrap.ts';

/** Background refreshes at once: enough for thousands of DEKs per ttl, few enough to spare an upstream that just came back. */
const CONCURRENT_REFRESHES = 4;

/** What refreshes need of the keyrings. */
export interface RefreshTargets {
  all(): Iterable<Dek>;
  /** Puts a new DEK in the place of an encrypting one; never rejects. */
  renew(dek: Dek, purpose: CallPurpose): Promise<void>;
}

/** Asks upstreams about held DEKs: before ttl ends, while they are out, and when they are back. */
export class Refresher {
  readonly #clock: Clock;
  readonly #room: Room;
  readonly #held: RefreshTargets;
  readonly #refusals: Refusals;
  readonly #events: KeyringEvents;
  readonly #urgent = new Set<Dek>();
  readonly #waiting = new Set<Dek>();
  readonly #probed = new Set<Kek>();
  /** When (CLOCK_BOOTTIME) each recipient of a DEK last said that what it wrapped is none. */
  readonly #disownedAtMs = new WeakMap<Dek, number>();
  /** By key: when that was last told. */
  readonly #toldAtMs = new Map<string, number>();
  #running = 0;
  #closed = false;

  constructor(clock: Clock, room: Room, held: RefreshTargets, refusals: Refusals, events: KeyringEvents) {
    this.#clock = clock;
    this.#room = room;
    this.#held = held;
    this.#refusals = refusals;
    this.#events = events;
  }

  /** From now on an outage of this KEK's upstream is probed, and its end is followed by refreshes. */
  watch(kek: Kek): void {
    kek.onOutage = (isFirst) => {
      if (isFirst) this.#events.outage(kek);
      this.#probeLater(kek);
    };
    kek.onBreakerClosed = () => void this.#breakerClosed(kek);
    kek.unwrapHeld = (unwrap) => this.#unwrapHeld(kek, unwrap);
    kek.onRecovery = () => {
      this.#events.recovery(kek);
      this.#recover(kek);
    };
  }

  /** Refreshes a used DEK when it is due, whether or not it is used again. */
  arm(dek: Dek, nowMs: number): void {
    this.#enqueueAfter(dek, dek.refreshDueAtMs - nowMs);
  }

  /** Due now, in the background, few at a time, encrypting DEKs first. */
  enqueue(dek: Dek): void {
    if (this.#closed || dek.place === 'gone') return;
    dek.refreshDueAtMs = Math.min(dek.refreshDueAtMs, this.#clock.bootMs());
    (dek.place === 'encrypting' ? this.#urgent : this.#waiting).add(dek);
    this.#pump();
  }

  /**
   * One attempt for any number of callers; never rejects: what it found is in the DEK's age, its KEKs' health and the refusals. Resolves
   * with what stood in the way when that was not a refusal. That no recipient knows the DEK any more is remembered for some seconds: each of its uses comes here.
   */
  refresh(dek: Dek, purpose: 'refresh' | 'background'): Promise<RefreshProblem | undefined> {
    const disownedAtMs = this.#disownedAtMs.get(dek) ?? Number.NEGATIVE_INFINITY;
    if (dek.refreshing === undefined && this.#clock.bootMs() - disownedAtMs < PROBE_INTERVAL_MS) {
      return Promise.resolve(unwrappedOnce(dek));
    }
    dek.refreshing ??= this.#refresh(dek, purpose).finally(() => {
      dek.refreshing = undefined;
    });
    return dek.refreshing;
  }

  close(): void {
    this.#closed = true;
    this.#urgent.clear();
    this.#waiting.clear();
  }

  #pump(): void {
    while (this.#running < CONCURRENT_REFRESHES) {
      const queue = this.#urgent.size > 0 ? this.#urgent : this.#waiting;
      const [dek] = queue;
      if (dek === undefined) return;
      queue.delete(dek);
      // Zeroed, or refreshed for a request while it waited here.
      if (dek.place === 'gone' || this.#clock.bootMs() < dek.refreshDueAtMs) continue;
      this.#running++;
      void this.refresh(dek, 'background').finally(() => {
        this.#running--;
        this.#pump();
      });
    }
  }

  async #refresh(dek: Dek, purpose: CallPurpose): Promise<RefreshProblem | undefined> {
    dek.counters.refreshes++;
    if (renews(dek)) {
      await this.#held.renew(dek, purpose);
      return undefined;
    }
    const refusal = this.#refusals.covering(dek);
    // A DEK whose refusal is not settled is not re-armed by another recipient.
    const asked = refusal === undefined ? dek.recipients : dek.recipients.filter((one) => one.kek === refusal.kek);
    const result = await this.#ask(dek, asked, { purpose });
    if (result instanceof DekdError) {
      dek.counters.refresh_failures++;
      return result;
    }
    if (result.kind === 'refused' && dek.place !== 'gone') this.#refusals.report(dek, result.by, result.failure);
    if (result.kind !== 'opened') dek.counters.refresh_failures++;
    if (result.kind === 'unavailable') return 'unanswered';
    if (result.kind === 'invalid') return this.#disowned(dek, refusal === undefined);
    return undefined;
  }

  /** No recipient opens it any more, as when a KEK was deleted and made anew under its name. Nobody could read what it would encrypt, so another one does. */
  async #disowned(dek: Dek, byAll: boolean): Promise<DekdError> {
    const error = unwrappedOnce(dek);
    const nowMs = this.#clock.bootMs();
    this.#disownedAtMs.set(dek, nowMs);
    if (nowMs - (this.#toldAtMs.get(dek.keyName) ?? Number.NEGATIVE_INFINITY) >= INVALID_MEMORY_MS) {
      this.#toldAtMs.set(dek.keyName, nowMs);
      this.#events.dekDisowned(dek.keyName, error);
    }
    if (byAll && dek.place === 'encrypting') await this.#held.renew(dek, 'background');
    return error;
  }

  /**
   * One attempt at these recipients; re-arms the DEK when one of them opens it whose word counts: a standby's does not while an authority answers,
   * or what it says would hide what the authority would; nor does another's word while a refusal is not settled. Reports nothing.
   */
  async ask(dek: Dek, recipients: readonly DekRecipient[], fresh: boolean): Promise<UnwrapOutcome | undefined> {
    const result = await this.#ask(dek, recipients, { purpose: 'background', fresh });
    return result instanceof DekdError ? undefined : result;
  }

  async #ask(
    dek: Dek,
    recipients: readonly DekRecipient[],
    how: Pick<Unwrapping, 'purpose' | 'fresh'>,
  ): Promise<UnwrapOutcome | DekdError> {
    const startedAtMs = this.#clock.bootMs();
    const { id: dekId, block, wrapContext: context, counters } = dek;
    try {
      const outcome = await this.#room.holdForRefresh(async () => {
        const task = { ...how, recipients, dekId, block, context, counters };
        const result = await withDeadline(this.#clock, MISS_MS, (signal) => unwrap({ ...task, signal }));
        if (result.kind === 'opened') freeKey(result.handle);
        return result;
      });
      if (outcome.kind === 'opened' && this.#vouches(dek, recipients, outcome.by)) {
        dek.verified(startedAtMs, outcome.by.role, this.#clock);
      }
      return outcome;
    } catch (thrown) {
      return DekdError.from(thrown);
    }
  }

  #vouches(dek: Dek, asked: readonly DekRecipient[], by: DekRecipient): boolean {
    return (asked === dek.recipients || counts(dek, by.kek)) && this.#refusals.mayVouch(dek, by);
  }

  #enqueueAfter(dek: Dek, ms: number): void {
    dek.cancelTimer?.();
    dek.cancelTimer = this.#clock.after(ms, () => {
      dek.cancelTimer = undefined;
      this.enqueue(dek);
    });
  }

  /** Keeps the knowledge of an outage fresh. While a breaker is open it has probes of its own, and tells when they are answered. */
  #probeLater(kek: Kek): void {
    if (this.#closed || this.#probed.has(kek)) return;
    this.#probed.add(kek);
    this.#clock.after(kek.probePauseMs, () => {
      this.#probed.delete(kek);
      void this.#probeAgain(kek);
    });
  }

  /** Until one of them was told something, or a breaker asks: a probe makes no call where our own memory is full. */
  async #probeAgain(kek: Kek): Promise<void> {
    if (!kek.outage || kek.broken !== undefined) return;
    await this.probe(kek);
    if (kek.outage) this.#probeLater(kek);
  }

  /** Where no DEK is held the breaker's own probe was answer enough: another may be of a kind that is never answered. */
  async #breakerClosed(kek: Kek): Promise<void> {
    if (this.#oldestUser(kek) === undefined) kek.answers();
    else await this.#probeAgain(kek);
  }

  /** Asks now whether an outage is over; never rejects. About a DEK that is held anyway: that its KEK can be described does not say that it unwraps. */
  async probe(kek: Kek): Promise<void> {
    if (this.#closed) return;
    const dek = this.#oldestUser(kek);
    if (dek === undefined) return kek.probe();
    if (renews(dek)) return this.#probeByRenewal(kek, dek);
    const recipients = dek.recipients.filter((one) => one.kek === kek);
    const outcome = await this.ask(dek, recipients, false);
    if (outcome?.kind === 'refused' && dek.place !== 'gone') this.#refusals.report(dek, outcome.by, outcome.failure);
  }

  /** A renewal ends where another KEK of the DEK is out; then it said nothing of this one. */
  async #probeByRenewal(kek: Kek, dek: Dek): Promise<void> {
    const before = kek.health;
    await this.#held.renew(dek, 'background');
    if (kek.outage && kek.health === before) await kek.probe();
  }

  /** For a breaker's probe: nothing is concluded for the DEK, which is asked about again when the breaker closes. */
  #unwrapHeld(kek: Kek, unwrap: ProbingUnwrap): Promise<void> | undefined {
    const dek = this.#closed ? undefined : this.#oldestUser(kek, (one) => !renews(one));
    const wrapped = dek?.recipients.find((one) => one.kek === kek)?.wrapped;
    if (dek === undefined || wrapped === undefined) return undefined;
    return this.#room.holdForRefresh(async () => freeKey(await unwrap(wrapped, dek.wrapContext)));
  }

  /**
   * Spread over half a ttl, so that the upstream that just came back is not met by everybody at once. When it goes and comes again, a DEK keeps its
   * turn; if that fell into the outage, the next one comes the sooner, so that each has been asked about in a ttl.
   */
  #recover(kek: Kek): void {
    const nowMs = this.#clock.bootMs();
    for (const dek of this.#held.all()) {
      if (!dek.used || !dek.uses(kek) || nowMs < dek.refreshDueAtMs) continue;
      const isFirst = nowMs >= dek.recoversByMs;
      if (isFirst) dek.recoversByMs = nowMs + dek.options.cache.ttlMs;
      if (dek.place === 'encrypting') this.enqueue(dek);
      else if (isFirst || dek.cancelTimer === undefined) {
        this.#enqueueAfter(dek, (this.#clock.random() * (dek.recoversByMs - nowMs)) / 2);
      }
    }
  }

  #oldestUser(kek: Kek, suits: (dek: Dek) => boolean = () => true): Dek | undefined {
    let oldest: Dek | undefined;
    for (const dek of this.#held.all()) {
      if (!dek.uses(kek) || !suits(dek)) continue;
      if (oldest === undefined || dek.verifiedAtMs < oldest.verifiedAtMs) oldest = dek;
    }
    return oldest;
  }
}

/** `refresh: renew` is for an encrypting DEK that may not be unwrapped; one that only decrypts came by being unwrapped. */
function renews(dek: Dek): boolean {
  return dek.options.cache.refresh === 'renew' && dek.place === 'encrypting';
}

function unwrappedOnce(dek: Dek): DekdError {
  const { keyName } = dek;
  const why = 'no upstream unwraps any more what it unwrapped before, as after its KEK was deleted and made anew';
  const way = `bring the KEK back, or zero such DEKs with \`dekctl flush ${keyName}\``;
  return new DekdError('UPSTREAM_FAULT', `key ${keyName}: ${why}; ${way}`, {
    metadata: { key: keyName },
    retryAfterMs: PROBE_INTERVAL_MS,
  });
}
