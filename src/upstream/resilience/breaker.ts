import { type CircuitBreakerPolicy, CircuitState, circuitBreaker, handleWhenResult } from 'cockatiel';
import type { UpstreamClock } from '../clock.ts';
import { type FailureClass, UpstreamFailure } from '../failure.ts';
import { GivenUp } from './attempt.ts';
import { CONFIRM_PAUSE_MS, FAILURES_TO_OPEN, MAX_THROTTLE_MS, PROBE_JITTER_MS, PROBE_PAUSE_MS } from './limits.ts';

/** Less would only bring a caller back before anything is known. */
const MIN_RETRY_AFTER_MS = 1_000;

/** By its description · by unwrapping a DEK that is held, else by its description · by unwrapping, else by wrapping one that nobody uses. */
export type Asking = 'describe' | 'unwrap' | 'use';

export interface BreakerSettings {
  readonly clock: UpstreamClock;
  /** What opens it. *Unreachable* says nothing to a breaker that it does not open; whatever else comes is an answer. */
  readonly opens: readonly FailureClass[];
  /** Asks the upstream about the KEK whose call failed last. Throws UpstreamFailure and nothing else. */
  readonly ask: (kek: string, way: Asking) => Promise<unknown>;
  /** It opens, or, not the first time, a probe got no answer either. */
  readonly onOut: (failure: UpstreamFailure, isFirst: boolean) => void;
  readonly onClose: () => void;
}

/**
 * A circuit breaker (cockatiel's) that no user's call ever tries: while it is open all calls fail at once, and only its own probe in the
 * background goes to the upstream, until that is answered.
 */
export class Breaker {
  readonly #settings: BreakerSettings;
  readonly #policy: CircuitBreakerPolicy;
  #lastFailure = new UpstreamFailure('unreachable', 'nothing failed yet');
  #lastKek = '';
  /** Failures that may open it, since the last answer. */
  #inRow = 0;
  #confirmedAtMs = Number.NEGATIVE_INFINITY;
  #confirming: Promise<void> | undefined;
  /** How the next probe asks: what one way never answers, such as a description that a proxy does not let through, the other may. */
  #way: Asking = 'describe';
  #isProbing = false;
  #probeAtMs = 0;
  #cancelProbe: () => void = () => undefined;
  #isStopped = false;

  constructor(settings: BreakerSettings) {
    this.#settings = settings;
    const isFailure = (result: unknown): boolean => result instanceof UpstreamFailure && this.#counts(result);
    this.#policy = circuitBreaker(handleWhenResult(isFailure), {
      breaker: {
        state: undefined,
        success: () => {
          this.#inRow = 0;
        },
        failure: () => this.#inRow >= FAILURES_TO_OPEN,
      },
      // At once, by a wall clock that may step back: what comes while it is open is only the probe, when its time has come on our own clock.
      halfOpenAfter: Number.NEGATIVE_INFINITY,
    });
    this.#policy.onBreak(() => {
      if (!this.#isProbing) this.#way = 'describe';
      this.#probeLater();
      settings.onOut(this.#lastFailure, !this.#isProbing);
    });
    this.#policy.onReset(() => settings.onClose());
  }

  get isOpen(): boolean {
    return this.#policy.state !== CircuitState.Closed;
  }

  /** What a call gets at once while it is open. */
  get failure(): UpstreamFailure | undefined {
    if (!this.isOpen) return undefined;
    const retryAfterMs = Math.max(this.#probeAtMs - this.#settings.clock.bootMs(), MIN_RETRY_AFTER_MS);
    return new UpstreamFailure(this.#lastFailure.class, `not asked while it is out: ${this.#lastFailure.message}`, {
      retryAfterMs,
      cause: this.#lastFailure,
    });
  }

  /**
   * Runs a call at this KEK, unless it is open, and draws its conclusions. `proves` false: what was asked came from a caller, so that a failure may lie in
   * that alone. Such failures only have the upstream asked, and open nothing when it answers; meanwhile further ones wait for what it says.
   */
  async run<T>(kek: string, call: () => Promise<T>, proves = true): Promise<T> {
    if (!proves) await this.#confirming;
    const { failure } = this;
    if (failure !== undefined) throw failure;
    const result = await this.#policy.execute(() => this.#conclude(kek, call, proves));
    if (result instanceof UpstreamFailure) throw result;
    return result;
  }

  /** Stops its probes. */
  stop(): void {
    this.#isStopped = true;
    this.#cancelProbe();
  }

  #probeLater(): void {
    if (this.#isStopped) return;
    const { clock } = this.#settings;
    const wishedMs = Math.min(this.#lastFailure.retryAfterMs ?? 0, MAX_THROTTLE_MS);
    const pauseMs = Math.max(PROBE_PAUSE_MS, wishedMs) + (2 * clock.random() - 1) * PROBE_JITTER_MS;
    this.#probeAtMs = clock.bootMs() + pauseMs;
    this.#cancelProbe();
    this.#cancelProbe = clock.after(pauseMs, () => void this.#probe());
  }

  async #probe(): Promise<void> {
    this.#isProbing = true;
    const way = this.#way;
    this.#way = way === 'describe' ? 'use' : 'describe';
    try {
      await this.#ask(way);
    } finally {
      this.#isProbing = false;
    }
  }

  /** So many failures in a row, but all of them of what callers brought: one answer to what none of them brought begins the count anew. */
  #confirm(): void {
    const nowMs = this.#settings.clock.bootMs();
    if (this.isOpen || this.#isStopped || this.#inRow < FAILURES_TO_OPEN) return;
    if (this.#confirming !== undefined || nowMs - this.#confirmedAtMs < CONFIRM_PAUSE_MS) return;
    this.#confirmedAtMs = nowMs;
    this.#confirming = this.#ask('unwrap').finally(() => {
      this.#confirming = undefined;
    });
  }

  async #ask(way: Asking): Promise<void> {
    const kek = this.#lastKek;
    await this.#policy.execute(() => this.#conclude(kek, () => this.#settings.ask(kek, way), true));
  }

  /** An upstream's failure as a result: what is thrown is to cockatiel neither success nor failure. */
  async #conclude<T>(kek: string, call: () => Promise<T>, proves: boolean): Promise<T | UpstreamFailure> {
    try {
      return await call();
    } catch (thrown) {
      if (!(thrown instanceof UpstreamFailure) || thrown instanceof GivenUp) throw thrown;
      if (this.#counts(thrown)) {
        this.#lastFailure = thrown;
        this.#lastKek = kek;
        this.#inRow++;
        if (!proves) {
          this.#confirm();
          throw thrown;
        }
      } else if (thrown.class === 'unreachable') {
        throw thrown;
      }
      return thrown;
    }
  }

  #counts({ class: failureClass }: UpstreamFailure): boolean {
    return this.#settings.opens.includes(failureClass) || (this.#isProbing && failureClass === 'unreachable');
  }
}
