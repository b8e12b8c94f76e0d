import { freeKey } from '../crypto/native.ts';
import type { Clock } from './clock.ts';
import type { Dek, DekRecipient } from './dek.ts';
import type { KeyringEvents } from './events.ts';
import type { Kek } from './kek.ts';
import { MISS_MS, PROBE_PAUSE_MS } from './options.ts';
import type { HeldDeks, Refusals } from './refusals.ts';
import { withDeadline } from './timing.ts';
import { unwrap } from './unwrap.ts';

/** Background refreshes at once: enough for thousands of DEKs per ttl, few enough to spare an upstream that just came back. */
const CONCURRENT_REFRESHES = 4;

export interface RefreshTargets extends HeldDeks {
  /** `refresh: renew`: puts a new DEK in the place of an encrypting one, drops one that only decrypts. */
  renew(dek: Dek): Promise<void>;
}

/** Asks upstreams about held DEKs: before ttl ends, while they are out, and when they are back. */
export class Refresher {
  readonly #clock: Clock;
  readonly #held: RefreshTargets;
  readonly #refusals: Refusals;
  readonly #events: KeyringEvents;
  readonly #urgent = new Set<Dek>();
  readonly #waiting = new Set<Dek>();
  readonly #probed = new Set<Kek>();
  #running = 0;
  #closed = false;

  constructor(clock: Clock, held: RefreshTargets, refusals: Refusals, events: KeyringEvents) {
    this.#clock = clock;
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
    kek.onRecovery = () => {
      this.#events.recovery(kek);
      this.#recover(kek);
    };
  }

  /** Refreshes a used DEK when it is due, whether or not it is used again. */
  arm(dek: Dek, nowMs: number): void {
    dek.cancelTimer?.();
    dek.cancelTimer = this.#clock.after(dek.refreshDueAtMs - nowMs, () => this.enqueue(dek));
  }

  /** In the background, few at a time, encrypting DEKs first. */
  enqueue(dek: Dek): void {
    if (this.#closed || dek.place === 'gone' || dek.refreshing !== undefined) return;
    (dek.place === 'encrypting' ? this.#urgent : this.#waiting).add(dek);
    this.#pump();
  }

  /** One attempt for any number of callers; never rejects: what it found is in the DEK's age, its KEKs' health and the refusals. */
  refresh(dek: Dek): Promise<void> {
    dek.refreshing ??= this.#refresh(dek).finally(() => {
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
      if (dek.place === 'gone') continue;
      this.#running++;
      void this.refresh(dek).finally(() => {
        this.#running--;
        this.#pump();
      });
    }
  }

  async #refresh(dek: Dek): Promise<void> {
    dek.counters.refreshes++;
    if (dek.options.cache.refresh === 'renew') return this.#held.renew(dek);
    const refusal = this.#refusals.covering(dek);
    // A DEK whose refusal is not settled is not re-armed by another recipient.
    const asked = refusal === undefined ? dek.recipients : dek.recipients.filter((one) => one.kek === refusal.kek);
    if (!(await this.#ask(dek, asked))) dek.counters.refresh_failures++;
  }

  /** True when the upstream vouched for the DEK. A refusal is reported. */
  async #ask(dek: Dek, recipients: readonly DekRecipient[]): Promise<boolean> {
    const startedAtMs = this.#clock.bootMs();
    const outcome = await withDeadline(this.#clock, MISS_MS, (signal) =>
      unwrap({
        recipients,
        dekId: dek.id,
        block: dek.block,
        context: dek.wrapContext,
        counters: dek.counters,
        signal,
      }),
    ).catch(() => undefined);
    if (outcome?.kind === 'opened') {
      freeKey(outcome.handle);
      if (dek.place === 'gone') return false;
      dek.verified(startedAtMs, outcome.by.role, this.#clock);
      return true;
    }
    if (outcome?.kind === 'refused' && dek.place !== 'gone') this.#refusals.report(dek, outcome.by, outcome.failure);
    return false;
  }

  /** Keeps the knowledge of an outage fresh, with a DEK that is held anyway; ends when no DEK needs this KEK. */
  #probeLater(kek: Kek): void {
    if (this.#closed || this.#probed.has(kek)) return;
    this.#probed.add(kek);
    this.#clock.after(PROBE_PAUSE_MS, () => {
      this.#probed.delete(kek);
      if (kek.outage && !this.#closed) void this.#probe(kek);
    });
  }

  async #probe(kek: Kek): Promise<void> {
    const dek = this.#oldestUser(kek);
    if (dek === undefined) return;
    if (dek.options.cache.refresh === 'renew') return this.#held.renew(dek);
    await this.#ask(
      dek,
      dek.recipients.filter((one) => one.kek === kek),
    );
  }

  /** Spread over half a ttl, so that the upstream that just came back is not met by everybody at once. */
  #recover(kek: Kek): void {
    const nowMs = this.#clock.bootMs();
    for (const dek of this.#held.all()) {
      if (!dek.uses(kek) || nowMs < dek.refreshDueAtMs) continue;
      if (dek.place === 'encrypting') {
        this.enqueue(dek);
      } else {
        dek.cancelTimer?.();
        const delayMs = this.#clock.random() * (dek.options.cache.ttlMs / 2);
        dek.cancelTimer = this.#clock.after(delayMs, () => this.enqueue(dek));
      }
    }
  }

  #oldestUser(kek: Kek): Dek | undefined {
    let oldest: Dek | undefined;
    for (const dek of this.#held.all()) {
      if (!dek.uses(kek)) continue;
      if (oldest === undefined || dek.verifiedAtMs < oldest.verifiedAtMs) oldest = dek;
    }
    return oldest;
  }
}
