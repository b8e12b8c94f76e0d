import {
  type CircuitBreakerPolicy,
  CircuitState,
  ConsecutiveBreaker,
  circuitBreaker,
  handleWhenResult,
} from 'cockatiel';
import type { UpstreamClock } from '../clock.ts';
import { type FailureClass, UpstreamFailure } from '../failure.ts';
import { GivenUp } from './attempt.ts';
import { FAILURES_TO_OPEN, MAX_THROTTLE_MS, PROBE_JITTER_MS, PROBE_PAUSE_MS } from './limits.ts';

/** Less would only bring a caller back before anything is known. */
const MIN_RETRY_AFTER_MS = 1_000;

export interface BreakerSettings {
  readonly clock: UpstreamClock;
  /** What opens it. *Unreachable* says nothing to a breaker that it does not open; whatever else comes is an answer. */
  readonly opens: readonly FailureClass[];
  /** Asks the upstream about the KEK whose call failed last. Throws UpstreamFailure and nothing else. */
  readonly ask: (kek: string) => Promise<unknown>;
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
  #isProbing = false;
  #probeAtMs = 0;
  #cancelProbe: () => void = () => undefined;
  #isStopped = false;

  constructor(settings: BreakerSettings) {
    this.#settings = settings;
    const isFailure = (result: unknown): boolean => result instanceof UpstreamFailure && this.#counts(result);
    this.#policy = circuitBreaker(handleWhenResult(isFailure), {
      breaker: new ConsecutiveBreaker(FAILURES_TO_OPEN),
      // At once, by a wall clock that may step back: what comes while it is open is only the probe, when its time has come on our own clock.
      halfOpenAfter: Number.NEGATIVE_INFINITY,
    });
    this.#policy.onBreak(() => {
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

  /** Runs a call at this KEK, unless it is open, and draws its conclusions. */
  async run<T>(kek: string, call: () => Promise<T>): Promise<T> {
    const { failure } = this;
    if (failure !== undefined) throw failure;
    const result = await this.#policy.execute(() => this.#conclude(kek, call));
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
    try {
      await this.#policy.execute(() => this.#conclude(this.#lastKek, () => this.#settings.ask(this.#lastKek)));
    } finally {
      this.#isProbing = false;
    }
  }

  /** An upstream's failure as a result: what is thrown is to cockatiel neither success nor failure. */
  async #conclude<T>(kek: string, call: () => Promise<T>): Promise<T | UpstreamFailure> {
    try {
      return await call();
    } catch (thrown) {
      if (!(thrown instanceof UpstreamFailure) || thrown instanceof GivenUp) throw thrown;
      if (this.#counts(thrown)) {
        this.#lastFailure = thrown;
        this.#lastKek = kek;
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
