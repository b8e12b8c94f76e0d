import { freeKey } from '../crypto/native.ts';
import { type RefusalScope, UpstreamFailure } from '../upstream/failure.ts';
import type { Clock } from './clock.ts';
import type { Dek, DekRecipient } from './dek.ts';
import type { KeyringEvents } from './events.ts';
import type { Kek } from './kek.ts';
import { CONFIRM_AFTER_MS, CONFIRM_JITTER_MS, PROBE_INTERVAL_MS } from './options.ts';

/** One refusal that was seen and is not yet settled. */
export interface Refusal {
  readonly kek: Kek;
  readonly scope: RefusalScope;
  /** Of the DEK that met it; `version` and `access` reach no further. */
  readonly kekVersion: string;
  readonly keyName: string;
  readonly partitionKey: string;
  readonly firstSeenAtMs: number;
  /** `confirming` until the second call's answer; `pending` when there was none: tried again until there is one. */
  state: 'confirming' | 'pending';
  /** Resolves when the second call has been answered or got no answer. */
  readonly decided: Promise<void>;
}

/** What refusals need of the keyrings. */
export interface HeldDeks {
  all(): Iterable<Dek>;
  /** Zeroes a DEK because of a refusal. */
  purge(dek: Dek): void;
  /** Asks the upstream about a DEK soon, in the background. */
  refreshSoon(dek: Dek): void;
}

/**
 * The kill switch. A refusal counts only when a second call, 1–3 s later, says the same: then it purges by its scope. An outage in
 * between leaves it pending.
 */
export class Refusals {
  readonly #open = new Map<string, Refusal>();
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
    dek.counters.refusals_seen++;
    const scope = failure.scope ?? 'access';
    const subject = {
      kek: recipient.kek,
      scope,
      kekVersion: recipient.wrapped.kekVersion,
      keyName: dek.keyName,
      partitionKey: dek.partitionKey,
    };
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
    void this.#settle(refusal, dek, decide).finally(() => {
      this.#open.delete(name);
      decide();
    });
    return refusal;
  }

  /** A refusal met with a DEK that is not held proves nothing by itself: it has a held DEK of that KEK asked about. */
  followUp(kek: Kek): void {
    for (const dek of this.#held.all()) {
      if (dek.isAuthority(kek)) {
        this.#held.refreshSoon(dek);
        return;
      }
    }
  }

  covering(dek: Dek): Refusal | undefined {
    if (this.#open.size === 0) return undefined;
    for (const refusal of this.#open.values()) if (covers(refusal, dek)) return refusal;
    return undefined;
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

  close(): void {
    this.#closed = true;
  }

  async #settle(refusal: Refusal, reporter: Dek, decide: () => void): Promise<void> {
    let pauseMs = CONFIRM_AFTER_MS + this.#clock.random() * CONFIRM_JITTER_MS;
    for (;;) {
      await new Promise<void>((resolve) => this.#clock.after(pauseMs, resolve));
      const dek = reporter.place === 'gone' ? this.#anyCovered(refusal) : reporter;
      if (dek === undefined || this.#closed) return;
      const answer = await this.#ask(refusal, dek);
      if (answer === 'refused') return this.#execute(refusal);
      if (answer === 'allowed') return this.#events.refusalWithdrawn(refusal);
      if (refusal.state === 'confirming') this.#events.refusalPending(refusal);
      refusal.state = 'pending';
      decide();
      pauseMs = PROBE_INTERVAL_MS;
    }
  }

  /** The second call. A failure to authenticate or to answer decides nothing. */
  async #ask(refusal: Refusal, dek: Dek): Promise<'refused' | 'allowed' | 'unanswered'> {
    const recipient = dek.recipients.find((one) => one.kek === refusal.kek && sameVersion(refusal, one));
    if (recipient === undefined) return 'allowed';
    const startedAtMs = this.#clock.bootMs();
    dek.counters.unwraps++;
    try {
      freeKey(await refusal.kek.unwrap(recipient.wrapped, dek.wrapContext, new AbortController().signal));
      dek.verified(startedAtMs, recipient.role, this.#clock);
      return 'allowed';
    } catch (thrown) {
      const failure = UpstreamFailure.from(thrown);
      if (failure.class === 'refused') return 'refused';
      return failure.class === 'invalid' ? 'allowed' : 'unanswered';
    }
  }

  #execute(refusal: Refusal): void {
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

  #anyCovered(refusal: Refusal): Dek | undefined {
    for (const dek of this.#held.all()) if (covers(refusal, dek)) return dek;
    return undefined;
  }
}

function nameOf(refusal: Pick<Refusal, 'kek' | 'scope' | 'kekVersion' | 'keyName' | 'partitionKey'>): string {
  switch (refusal.scope) {
    case 'kek':
      return JSON.stringify([refusal.kek.uri]);
    case 'version':
      return JSON.stringify([refusal.kek.uri, refusal.kekVersion]);
    case 'access':
      return JSON.stringify([refusal.kek.uri, refusal.keyName, refusal.partitionKey, 'access']);
  }
}

function covers(refusal: Refusal, dek: Dek): boolean {
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

function sameVersion(refusal: Refusal, recipient: DekRecipient): boolean {
  return refusal.scope !== 'version' || recipient.wrapped.kekVersion === refusal.kekVersion;
}

/** Whether this KEK's refusal kills the DEK: an authority's does, a standby's while no authority answers or there is none. */
function counts(dek: Dek, kek: Kek): boolean {
  if (dek.isAuthority(kek)) return true;
  return dek.uses(kek) && dek.recipients.every((one) => one.role !== 'authority' || one.kek.outage);
}
