import type { SlotHandle } from '../../native/binding.d.ts';
import { DekdError } from '../errors.ts';
import { type FailureClass, type KekCondition, UpstreamFailure } from '../upstream/failure.ts';
import type { KekDescription, Upstream, UpstreamCallOptions, WrapContext, WrappedDek } from '../upstream/provider.ts';
import { type Breakers, hasBreakers, type ProbingUnwrap } from '../upstream/resilience/breakers.ts';
import type { Clock } from './clock.ts';
import { MAX_THROTTLE_MS, PROBE_INTERVAL_MS, PROBE_PAUSE_MS } from './options.ts';
import type { Payer } from './single-flight.ts';
import { ACTIVE_STANDING, type KekStanding } from './standing.ts';

/** Why a call is made, and on whose account. */
export type CallFacts = Omit<UpstreamCallOptions, 'signal'>;

/**
 * What is known of a KEK's upstream from the last attempts at it; what it said of bytes that a caller brought is not in it, nor, where a breaker asks whether
 * it is out, that it gave them no answer.
 */
export interface KekHealth {
  readonly state: 'unknown' | 'ok' | Exclude<FailureClass, 'invalid'>;
  /** CLOCK_BOOTTIME of the last attempt's end, and of the first failure in a row. */
  readonly atMs: number;
  readonly sinceMs: number;
  /** Why it refuses as a whole, where the upstream says it; a refusal of one version or caller says nothing about the KEK. */
  readonly condition: KekCondition | undefined;
  /** The last failure's class and when (CLOCK_BOOTTIME): it stays when later attempts succeed. Undefined until something failed. */
  readonly failureClass: FailureClass | undefined;
  readonly failedAtMs: number | undefined;
  /** What it said, of at most MAX_FAILURE_TEXT printable characters and without secrets, for logs and status. */
  readonly failureText: string | undefined;
}

const MAX_FAILURE_TEXT = 300;
/** As many as those after which a breaker asks, and a pause later: where that finds the upstream out, it is told already. */
const UNANSWERED_TO_LOOK = 5;

const UNKNOWN: KekHealth = {
  state: 'unknown',
  atMs: 0,
  sinceMs: 0,
  condition: undefined,
  failureClass: undefined,
  failedAtMs: undefined,
  failureText: undefined,
};

/**
 * One KEK of the configuration, shared by every key that names it: all calls at it pass here, so that what is known of its upstream is in
 * one place. The upstream bounds each call in time (src/upstream/resilience/).
 */
export class Kek {
  readonly uri: string;
  readonly upstreamName: string;
  readonly upstream: Upstream;
  readonly #clock: Clock;
  readonly #breakers: Breakers | undefined;
  #health = UNKNOWN;
  #standing = ACTIVE_STANDING;
  /** How much longer than usual a throttling upstream asked to be left alone. */
  #patienceMs = 0;
  #lookedAtMs = Number.NEGATIVE_INFINITY;
  /** Callers' calls in a row that got no answer. */
  #unanswered = 0;
  /** Wraps and unwraps that the upstream was asked for, each once however often it was tried. */
  calls = 0;
  /** Those that got no answer, or one that is about the KEK: not what callers brought. */
  failures = 0;
  /** Called after each attempt that got no answer, and when one is answered after failures, whatever the answer. */
  onOutage: ((isFirst: boolean) => void) | undefined;
  onRecovery: (() => void) | undefined;
  /** Called when its calls go through again; what they bring is not known yet. */
  onBreakerClosed: (() => void) | undefined;
  /** Unwraps a DEK of it that is held, for a breaker's probe; undefined when none is. */
  unwrapHeld: ((unwrap: ProbingUnwrap) => Promise<void> | undefined) | undefined;

  constructor(uri: string, upstreamName: string, upstream: Upstream, clock: Clock) {
    this.uri = uri;
    this.upstreamName = upstreamName;
    this.upstream = upstream;
    this.#clock = clock;
    this.#breakers = hasBreakers(upstream) ? upstream : undefined;
    this.#breakers?.watch(uri, {
      onOut: (failure) => this.#broke(failure),
      onClose: () => this.#breakerClosed(),
      unwrapHeld: (unwrap) => this.unwrapHeld?.(unwrap),
    });
  }

  get health(): KekHealth {
    return this.#health;
  }

  get standing(): KekStanding {
    return this.#standing;
  }

  /** Its life, led here, went on: an older refusal says nothing any more. */
  stands(standing: KekStanding): void {
    this.#standing = standing;
    this.forgetRefusal(0);
  }

  /** That it refuses, since that moment (CLOCK_BOOTTIME) or a later one, is not true any more. */
  forgetRefusal(sinceMs: number): void {
    if (this.#health.state === 'refused' && this.#health.sinceMs >= sinceMs) this.#becomeUnknown();
  }

  /** What a call gets at once, without an attempt, while a breaker before the upstream is open. */
  get broken(): UpstreamFailure | undefined {
    return this.#breakers?.brokenBy(this.uri);
  }

  /** The last attempt got no answer and is so fresh that another would only cost time, or would not be made at all. */
  failedRecently(nowMs: number): boolean {
    if (this.outage && nowMs - this.#health.atMs <= PROBE_INTERVAL_MS + this.#patienceMs) return true;
    return this.#breakers?.isBroken(this.uri) === true;
  }

  /** When to ask again in an outage; later when a throttling upstream wishes so. */
  get probePauseMs(): number {
    return PROBE_PAUSE_MS + this.#patienceMs;
  }

  get outage(): boolean {
    return isOutage(this.#health.state);
  }

  /** What callers are told of it while it gives no answer. */
  get outageClass(): FailureClass {
    const { state } = this.#health;
    return state === 'throttled' || state === 'unauthenticated' ? state : 'unreachable';
  }

  wrap(dek: SlotHandle, context: WrapContext, signal: AbortSignal, facts: CallFacts = {}): Promise<WrappedDek> {
    return this.#attempt('wrap', { ...facts, signal }, (options) =>
      this.upstream.wrap(this.uri, dek, context, options),
    );
  }

  unwrap(wrapped: WrappedDek, context: WrapContext, signal: AbortSignal, facts: CallFacts = {}): Promise<SlotHandle> {
    return this.#attempt('unwrap', { ...facts, signal }, (options) =>
      this.upstream.unwrap(this.uri, wrapped, context, options),
    );
  }

  /**
   * For a dry run or a rewrap that `payer` asks for; without one, for an administrator. A right of its own, so nothing is concluded from it about
   * the KEK.
   */
  describe(signal: AbortSignal, payer?: Payer): Promise<KekDescription> {
    const purpose = payer === undefined ? 'administration' : 'miss';
    return this.upstream.describe(this.uri, { signal, purpose, payer: payer?.uid });
  }

  /** Looks whether an outage is over, though no DEK is held that could be asked about. Any answer will do; never rejects. */
  async probe(): Promise<void> {
    try {
      await this.upstream.describe(this.uri, { signal: new AbortController().signal, purpose: 'background' });
    } catch (thrown) {
      if (thrown instanceof DekdError) return;
      const failure = UpstreamFailure.from(thrown);
      if (isOutage(failure.class)) return this.#note(failure);
    }
    this.answers();
  }

  async #attempt<T>(
    operation: 'wrap' | 'unwrap',
    options: UpstreamCallOptions,
    call: (options: UpstreamCallOptions) => Promise<T>,
  ): Promise<T> {
    const { broken } = this;
    if (broken !== undefined) throw broken;
    const { signal, purpose = 'miss' } = options;
    if (signal.aborted) throw new UpstreamFailure('unreachable', 'the call was given up before it began');
    const onAsked = (): void => {
      this.calls++;
      options.onAsked?.();
    };
    if (this.#breakers === undefined) onAsked();
    try {
      const value = await call({ ...options, onAsked });
      this.#unanswered = 0;
      this.#note(undefined);
      return value;
    } catch (thrown) {
      // Our own shortage (no slot is left) says nothing about the upstream.
      if (thrown instanceof DekdError) throw thrown;
      const failure = UpstreamFailure.from(thrown);
      // Nor does a caller who stopped waiting, perhaps because of another KEK.
      if (signal.aborted) throw failure;
      this.#conclude(failure, operation, purpose === 'miss');
      throw failure;
    }
  }

  /** `isCallers`: what it asked about came from a caller, who can make up a ciphertext, and choose a partition. */
  #conclude(failure: UpstreamFailure, operation: 'wrap' | 'unwrap', isCallers: boolean): void {
    const { class: failureClass } = failure;
    if (failureClass === 'invalid' || (isCallers && operation === 'unwrap' && failureClass === 'refused')) {
      this.#unanswered = 0;
      this.#answered(failure);
      return;
    }
    this.failures++;
    // It may lie in what the caller brought: whether the upstream is out its breaker asks, and tells.
    if (isCallers && failureClass === 'unreachable' && this.#breakers !== undefined) this.#remember(failure);
    else this.#note(failure);
  }

  /** That it failed, which says nothing of how it is. When it goes on, and the breaker hears of answers about other KEKs, it may be out alone. */
  #remember(failure: UpstreamFailure): void {
    this.#health = { ...this.#health, ...failureOf(failure, this.#clock.bootMs()) };
    this.#unanswered++;
    if (this.#unanswered !== UNANSWERED_TO_LOOK) return;
    this.#clock.after(PROBE_PAUSE_MS, () => {
      const isAlone = this.#unanswered >= UNANSWERED_TO_LOOK && this.broken === undefined;
      this.#unanswered = 0;
      if (isAlone) void this.#lookAtState(({ class: lookClass }) => isOutage(lookClass));
    });
  }

  /** An answer about bytes, which says nothing of the KEK; whether a refusal is more than that it tells itself. */
  #answered(failure: UpstreamFailure): void {
    if (failure.class === 'invalid') {
      if (this.#health.state !== 'refused') this.#note(undefined);
      return;
    }
    this.answers();
    if (failure.scope === 'kek') void this.#lookAtState(({ scope }) => scope === 'kek');
  }

  /** Whether the KEK as a whole refuses or is out, as it describes itself: once in a while, for status; it purges nothing. `tells`: which failure to describe it does. */
  async #lookAtState(tells: (failure: UpstreamFailure) => boolean): Promise<void> {
    const nowMs = this.#clock.bootMs();
    if (nowMs - this.#lookedAtMs < PROBE_INTERVAL_MS) return;
    this.#lookedAtMs = nowMs;
    try {
      const { state } = await this.upstream.describe(this.uri, {
        signal: new AbortController().signal,
        purpose: 'background',
      });
      if (state === 'active' || state === 'archived') return;
      this.#note(new UpstreamFailure('refused', `its KEK is ${state}`, { scope: 'kek', condition: state }));
    } catch (thrown) {
      if (thrown instanceof DekdError) return;
      const failure = UpstreamFailure.from(thrown);
      if (tells(failure)) this.#note(failure);
    }
  }

  /** The upstream answers again; what it says of this KEK the next call tells. */
  answers(): void {
    if (!this.outage) return;
    this.#becomeUnknown();
    this.#patienceMs = 0;
    this.onRecovery?.();
  }

  #becomeUnknown(): void {
    const atMs = this.#clock.bootMs();
    this.#health = { ...this.#health, state: 'unknown', atMs, sinceMs: atMs, condition: undefined };
  }

  /** A refusal of its own says more than an outage that another KEK met. */
  #broke(failure: UpstreamFailure): void {
    if (this.#health.state !== 'refused') this.#note(failure);
  }

  #breakerClosed(): void {
    const { broken } = this;
    // Of two before it the other one is open still.
    if (broken !== undefined) {
      this.#note(broken);
      return;
    }
    // It was out until now: what is held serves in grace at once while the next call is on its way.
    this.#health = { ...this.#health, atMs: this.#clock.bootMs() };
    this.onBreakerClosed?.();
  }

  #note(failure: UpstreamFailure | undefined): void {
    const atMs = this.#clock.bootMs();
    // An answer that was long on its way; whether the outage is over the breaker's probe tells.
    if (!isOutage(failure?.class) && this.#breakers?.isBroken(this.uri) === true) return;
    const before = this.#health;
    const wasOut = this.outage;
    const state = failure === undefined ? 'ok' : stateAfter(failure);
    const condition = failure?.scope === 'kek' ? failure.condition : undefined;
    const failed = failure === undefined ? before : failureOf(failure, atMs);
    const { failureClass, failedAtMs, failureText } = failed;
    const sinceMs = state === before.state ? before.sinceMs : atMs;
    this.#health = { state, atMs, sinceMs, condition, failureClass, failedAtMs, failureText };
    this.#patienceMs = failure?.class === 'throttled' ? patienceMs(failure.retryAfterMs ?? 0) : 0;
    if (this.outage) this.onOutage?.(!wasOut);
    else if (wasOut) this.onRecovery?.();
  }
}

function failureOf({ class: failureClass, message }: UpstreamFailure, failedAtMs: number) {
  return { failureClass, failedAtMs, failureText: failureText(message) };
}

/** One line that a terminal shows as it is. */
export function failureText(message: string): string {
  const line = message.replace(/[\p{C}\p{Zl}\p{Zp}]+/gu, ' ');
  return line.length > MAX_FAILURE_TEXT ? `${line.slice(0, MAX_FAILURE_TEXT)}…` : line;
}

/** `ok` after an answer about what was asked and not about the KEK: one version or partition that somebody disabled. */
function stateAfter({ class: failureClass, scope, condition }: UpstreamFailure): KekHealth['state'] {
  if (failureClass === 'invalid') return 'ok';
  return failureClass === 'refused' && scope !== 'kek' && condition !== undefined ? 'ok' : failureClass;
}

function isOutage(state: KekHealth['state'] | FailureClass | undefined): boolean {
  return state === 'unreachable' || state === 'throttled' || state === 'unauthenticated';
}

function patienceMs(retryAfterMs: number): number {
  return Math.max(0, Math.min(retryAfterMs, MAX_THROTTLE_MS) - PROBE_PAUSE_MS);
}
