import type { RefusalScope, UpstreamFailure } from '../upstream/failure.ts';
import type { Clock } from './clock.ts';
import type { Dek, DekRecipient } from './dek.ts';
import type { KeyringEvents } from './events.ts';
import type { Kek } from './kek.ts';
import { CONFIRM_AFTER_MS, CONFIRM_JITTER_MS, PROBE_INTERVAL_MS } from './options.ts';
import type { UnwrapOutcome } from './unwrap.ts';

/** What an upstream refused. */
export interface Refused {
  readonly kek: Kek;
  readonly scope: RefusalScope;
  /** Of the DEK that met it; `version` and `access` reach no further. */
  readonly kekVersion: string;
  readonly keyName: string;
  readonly partitionKey: string;
  /** It was met when a successor of this DEK was made (`refresh: renew`), and reaches no other: to wrap is a right of its own. */
  readonly renewalOf?: Dek;
}

/** One refusal that was seen and is not yet settled. */
export interface Refusal extends Refused {
  readonly firstSeenAtMs: number;
  /** `confirming` until the second call's answer; `pending` when there was none: tried again until there is one. */
  state: 'confirming' | 'pending';
  /** Resolves when the second call has been answered or got no answer. */
  readonly decided: Promise<void>;
}

/** What a refusal is about or is not: a DEK that is held, or one that a ciphertext brings. */
export type RefusalSubject = Pick<Dek, 'keyName' | 'partitionKey' | 'recipients'>;

/** What a second call said; undefined when it could not be made. */
export type Confirmation =
  | { readonly kind: 'opened' | 'invalid' | 'unavailable' }
  | { readonly kind: 'refused'; readonly failure: UpstreamFailure };

type Ask = (refusal: Refusal) => Promise<Confirmation | undefined>;

/** What refusals need of the keyrings. */
export interface HeldDeks {
  all(): Iterable<Dek>;
  /** The DEK that encrypts for a partition. */
  encrypting(keyName: string, partitionKey: string): Dek | undefined;
  /** Zeroes a DEK because of a refusal. */
  purge(dek: Dek): void;
  /** Asks the upstream about a DEK soon, in the background. */
  refreshSoon(dek: Dek): void;
  /** One attempt at these recipients of a DEK, now; undefined when it could not be made. `fresh`: on nothing that an earlier call left. */
  ask(dek: Dek, recipients: readonly DekRecipient[], fresh: boolean): Promise<UnwrapOutcome | undefined>;
}

/**
 * The kill switch. A refusal counts only when a second call, 1–3 s later, says the same: then it purges by its scope. An outage in
 * between leaves it pending.
 */
export class Refusals {
  readonly #open = new Map<string, Refusal>();
  /** When (CLOCK_BOOTTIME) all held DEKs were last looked through after a KEK's refusal of one that is not held. */
  readonly #lookedThroughAtMs = new WeakMap<Kek, number>();
  readonly #clock: Clock;
  readonly #held: HeldDeks;
  readonly #events: KeyringEvents;
  #closed = false;

  constructor(clock: Clock, held: HeldDeks, events: KeyringEvents) {
    this.#clock = clock;
    this.#events = events;
    this.#held = held;
  }

  /** A refusal that `dek` met at `recipient`; joins the one that is being settled already. */
  report(dek: Dek, recipient: DekRecipient, failure: UpstreamFailure): Refusal {
    const { kek, wrapped } = recipient;
    const { keyName, partitionKey } = dek;
    const subject = { kek, scope: failure.scope ?? 'access', kekVersion: wrapped.kekVersion, keyName, partitionKey };
    return this.#begin(dek, subject, (refusal) => this.#askAgain(refusal, dek));
  }

  /** The same for a successor that a KEK refused to wrap; `ask` tries to make it once more. */
  reportRenewal(
    dek: Dek,
    { kek, failure }: { readonly kek: Kek; readonly failure: UpstreamFailure },
    ask: Ask,
  ): Refusal {
    const { keyName, partitionKey } = dek;
    const subject = { kek, scope: failure.scope ?? 'access', kekVersion: '', keyName, partitionKey, renewalOf: dek };
    return this.#begin(dek, subject, ask);
  }

  /**
   * A refusal met with a DEK that is not held proves nothing by itself: a held DEK that it would purge is asked about, else one of that
   * KEK. One that was asked about a moment ago has answered already.
   */
  followUp(refused: Refused): void {
    const witness = this.#witness(refused);
    if (witness === undefined || this.#clock.bootMs() - witness.verifiedAtMs < CONFIRM_AFTER_MS) return;
    this.#held.refreshSoon(witness);
  }

  /** The unsettled refusal that would purge the DEK. */
  covering(dek: Dek): Refusal | undefined {
    if (this.#open.size === 0) return undefined;
    for (const refusal of this.#open.values()) if (covers(refusal, dek)) return refusal;
    return undefined;
  }

  /**
   * Whether a recipient that opened the DEK vouches for it: what another one refused, and is not settled, it does not. A line can be cut, and the word of
   * a recipient that still answers would undo the refusal.
   */
  mayVouch(dek: RefusalSubject, by: DekRecipient): boolean {
    for (const refusal of this.#open.values()) {
      if (covers(refusal, dek) && !(refusal.kek === by.kek && sameVersion(refusal, by))) return false;
    }
    return true;
  }

  /** While a refusal is pending, the KEK gets no new DEKs (of that key and partition, when it is about access). */
  forbidsNew(kek: Kek, keyName: string, partitionKey: string): boolean {
    for (const refusal of this.#open.values()) {
      if (refusal.kek !== kek || refusal.state !== 'pending') continue;
      if (refusal.scope !== 'access') return true;
      if (refusal.keyName === keyName && refusal.partitionKey === partitionKey) return true;
    }
    return false;
  }

  /** The KEK's refusals that were seen since that moment are withdrawn; an older one stands. */
  forget(kek: Kek, sinceMs: number): void {
    for (const [name, refusal] of this.#open) {
      if (refusal.kek !== kek || refusal.firstSeenAtMs < sinceMs) continue;
      this.#open.delete(name);
      this.#events.refusalWithdrawn(refusal);
    }
  }

  close(): void {
    this.#closed = true;
  }

  #begin(dek: Dek, subject: Refused, ask: Ask): Refusal {
    dek.counters.refusals_seen++;
    const name = nameOf(subject);
    const known = this.#open.get(name);
    if (known !== undefined) return known;
    let decide: () => void = () => undefined;
    const refusal: Refusal = {
      ...subject,
      firstSeenAtMs: this.#clock.bootMs(),
      state: 'confirming',
      decided: new Promise((resolve) => {
        decide = resolve;
      }),
    };
    this.#open.set(name, refusal);
    this.#events.refusalSeen(refusal);
    void this.#settle(refusal, ask, decide).finally(() => {
      if (this.#isOpen(refusal)) this.#open.delete(name);
      decide();
    });
    return refusal;
  }

  async #settle(refusal: Refusal, ask: Ask, decide: () => void): Promise<void> {
    let pauseMs = CONFIRM_AFTER_MS + this.#clock.random() * CONFIRM_JITTER_MS;
    for (;;) {
      await new Promise<void>((resolve) => this.#clock.after(pauseMs, resolve));
      if (!this.#isOpen(refusal)) return;
      const outcome = await ask(refusal);
      if (!this.#isOpen(refusal)) return;
      if (outcome?.kind === 'refused') return this.#execute(refusal, outcome.failure.scope);
      // `invalid` is neither yes nor no: nothing is purged, and nothing re-armed.
      if (outcome?.kind === 'opened' || outcome?.kind === 'invalid') return this.#events.refusalWithdrawn(refusal);
      if (refusal.state === 'confirming') this.#events.refusalPending(refusal);
      refusal.state = 'pending';
      decide();
      pauseMs = PROBE_INTERVAL_MS;
    }
  }

  async #askAgain(refusal: Refusal, reporter: Dek): Promise<Confirmation | undefined> {
    // One that is gone will do: to ask takes its block, and what was refused must not come back by a miss.
    const dek = reporter.place === 'gone' ? (this.#anyCovered(refusal) ?? reporter) : reporter;
    const recipients = dek.recipients.filter((one) => one.kek === refusal.kek && sameVersion(refusal, one));
    return this.#held.ask(dek, recipients, true);
  }

  /** False for one that was forgotten meanwhile. */
  #isOpen(refusal: Refusal): boolean {
    return !this.#closed && this.#open.get(nameOf(refusal)) === refusal;
  }

  /** Two answers that differ in scope agree only on the DEKs of that key and partition; the others fall by their own refusals. */
  #execute(seen: Refusal, confirmedScope: RefusalScope | undefined): void {
    const refusal: Refusal = { ...seen, scope: seen.scope === confirmedScope ? seen.scope : 'access' };
    const doomed: Dek[] = [];
    const siblings: Dek[] = [];
    for (const dek of this.#held.all()) {
      if (covers(refusal, dek)) doomed.push(dek);
      else if (refusal.scope === 'access' && dek.keyName === refusal.keyName) siblings.push(dek);
    }
    if (doomed[0] !== undefined) doomed[0].counters.refusals_confirmed++;
    for (const dek of doomed) this.#held.purge(dek);
    for (const dek of siblings) this.#held.refreshSoon(dek);
    this.#events.refusalConfirmed(refusal, doomed.length);
  }

  /** Forged blocks can have any number of misses refused: all DEKs are looked through once a second for a KEK. */
  #witness(refused: Refused): Dek | undefined {
    const { kek, keyName, partitionKey, scope } = refused;
    const encrypting = scope === 'access' ? this.#held.encrypting(keyName, partitionKey) : undefined;
    if (encrypting?.isAuthority(kek) === true) return encrypting;
    const nowMs = this.#clock.bootMs();
    if (nowMs - (this.#lookedThroughAtMs.get(kek) ?? Number.NEGATIVE_INFINITY) < CONFIRM_AFTER_MS) return undefined;
    this.#lookedThroughAtMs.set(kek, nowMs);
    let witness: Dek | undefined;
    for (const dek of this.#held.all()) {
      if (!dek.isAuthority(kek)) continue;
      if (covers(refused, dek)) return dek;
      witness ??= dek;
    }
    return witness;
  }

  #anyCovered(refusal: Refusal): Dek | undefined {
    for (const dek of this.#held.all()) if (covers(refusal, dek)) return dek;
    return undefined;
  }
}

function nameOf({ kek, scope, kekVersion, keyName, partitionKey, renewalOf }: Refused): string {
  if (renewalOf !== undefined) return JSON.stringify([kek.upstreamName, kek.uri, renewalOf.id.toString('hex')]);
  const reach = { kek: [], version: [kekVersion], access: [keyName, partitionKey] }[scope];
  return JSON.stringify([kek.upstreamName, kek.uri, scope, ...reach]);
}

function covers(refusal: Refused, dek: RefusalSubject): boolean {
  if (refusal.renewalOf !== undefined) return refusal.renewalOf === dek;
  if (!counts(dek, refusal.kek)) return false;
  switch (refusal.scope) {
    case 'kek':
      return true;
    case 'version':
      return dek.recipients.some((one) => one.kek === refusal.kek && sameVersion(refusal, one));
    case 'access':
      return dek.keyName === refusal.keyName && dek.partitionKey === refusal.partitionKey;
  }
}

function sameVersion(refusal: Refused, recipient: DekRecipient): boolean {
  return refusal.scope !== 'version' || recipient.wrapped.kekVersion === refusal.kekVersion;
}

/** Whether this KEK's refusal, or its end, kills the DEK: an authority's does, a standby's while no authority answers or there is none. */
export function counts({ recipients }: Pick<Dek, 'recipients'>, kek: Kek): boolean {
  if (recipients.some((one) => one.kek === kek && one.role === 'authority')) return true;
  return (
    recipients.some((one) => one.kek === kek) && recipients.every((one) => one.role !== 'authority' || one.kek.outage)
  );
}
