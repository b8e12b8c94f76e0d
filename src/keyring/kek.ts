import type { SlotHandle } from '../../native/binding.d.ts';
import { freeKey } from '../crypto/native.ts';
import { DekdError } from '../errors.ts';
import { type FailureClass, type KekCondition, UpstreamFailure } from '../upstream/failure.ts';
import type { KekDescription, Upstream, UpstreamCallOptions, WrapContext, WrappedDek } from '../upstream/provider.ts';
import type { Clock } from './clock.ts';
import { ATTEMPT_MS, MAX_THROTTLE_MS, MISS_MS, PROBE_INTERVAL_MS, PROBE_PAUSE_MS } from './options.ts';
import { ACTIVE_STANDING, type KekStanding } from './standing.ts';
import { settlesWithin } from './timing.ts';

/** What is known of a KEK's upstream from the last attempts at it. */
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
}

const UNKNOWN: KekHealth = {
  state: 'unknown',
  atMs: 0,
  sinceMs: 0,
  condition: undefined,
  failureClass: undefined,
  failedAtMs: undefined,
};

/**
 * One KEK of the configuration, shared by every key that names it: all calls at it pass here, each bounded in time, so that what is
 * known of its upstream is in one place.
 */
export class Kek {
  readonly uri: string;
  readonly upstreamName: string;
  readonly upstream: Upstream;
  readonly #clock: Clock;
  #health = UNKNOWN;
  #standing = ACTIVE_STANDING;
  /** How much longer than usual a throttling upstream asked to be left alone. */
  #patienceMs = 0;
  calls = 0;
  failures = 0;
  /** Called after each attempt that got no answer, and when one is answered after failures, whatever the answer. */
  onOutage: ((isFirst: boolean) => void) | undefined;
  onRecovery: (() => void) | undefined;

  constructor(uri: string, upstreamName: string, upstream: Upstream, clock: Clock) {
    this.uri = uri;
    this.upstreamName = upstreamName;
    this.upstream = upstream;
    this.#clock = clock;
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
    if (this.#health.state !== 'refused') return;
    const atMs = this.#clock.bootMs();
    this.#health = { ...this.#health, state: 'unknown', atMs, sinceMs: atMs, condition: undefined };
  }

  /** The last attempt got no answer and is so fresh that another would only cost time. */
  failedRecently(nowMs: number): boolean {
    return this.outage && nowMs - this.#health.atMs <= PROBE_INTERVAL_MS + this.#patienceMs;
  }

  /** When to ask again in an outage; later when a throttling upstream wishes so. */
  get probePauseMs(): number {
    return PROBE_PAUSE_MS + this.#patienceMs;
  }

  get outage(): boolean {
    const { state } = this.#health;
    return state === 'unreachable' || state === 'throttled' || state === 'unauthenticated';
  }

  wrap(dek: SlotHandle, context: WrapContext, signal: AbortSignal): Promise<WrappedDek> {
    return this.#attempt(signal, (options) => this.upstream.wrap(this.uri, dek, context, options));
  }

  /** `fresh`: nothing that an earlier call left may answer for the upstream. */
  unwrap(wrapped: WrappedDek, context: WrapContext, signal: AbortSignal, fresh = false): Promise<SlotHandle> {
    return this.#attempt(
      signal,
      (options) => this.upstream.unwrap(this.uri, wrapped, context, { ...options, fresh }),
      freeKey,
    );
  }

  /** For a dry run: a right of its own, so nothing is concluded from it about the KEK. Ends after the time of a miss. */
  async describe(signal: AbortSignal): Promise<KekDescription> {
    const answer = this.upstream.describe(this.uri, { signal });
    if (!(await settlesWithin(this.#clock, answer, MISS_MS))) throw this.#noAnswer();
    return answer;
  }

  /** `discard` takes a result that came after its time, so that no handle leaks. */
  #attempt<T>(
    signal: AbortSignal,
    call: (options: UpstreamCallOptions) => Promise<T>,
    discard?: (late: T) => void,
  ): Promise<T> {
    if (signal.aborted) return Promise.reject(this.#noAnswer());
    this.calls++;
    const control = new AbortController();
    return new Promise<T>((resolve, reject) => {
      let settled = false;
      const settle = (): boolean => {
        if (settled) return false;
        settled = true;
        cancel();
        signal.removeEventListener('abort', abandon);
        return true;
      };
      const fail = (thrown: unknown): void => {
        if (!settle()) return;
        // Our own shortage (no slot is left) says nothing about the upstream.
        if (!(thrown instanceof DekdError)) this.#note(UpstreamFailure.from(thrown));
        reject(thrown instanceof DekdError ? thrown : UpstreamFailure.from(thrown));
      };
      const timeOut = (): void => {
        fail(this.#noAnswer());
        control.abort();
      };
      // Whoever asked stopped waiting, perhaps because of another KEK: that says nothing about this one.
      const abandon = (): void => {
        if (settle()) reject(this.#noAnswer());
        control.abort();
      };
      const cancel = this.#clock.after(ATTEMPT_MS, timeOut);
      signal.addEventListener('abort', abandon, { once: true });
      const answer = new Promise<T>((begin) => begin(call({ signal: control.signal })));
      answer.then((value) => {
        if (!settle()) {
          discard?.(value);
          return;
        }
        this.#note(undefined);
        resolve(value);
      }, fail);
    });
  }

  #noAnswer(): UpstreamFailure {
    return new UpstreamFailure('unreachable', `no answer from upstream ${this.upstreamName} in time`);
  }

  #note(failure: UpstreamFailure | undefined): void {
    const atMs = this.#clock.bootMs();
    const before = this.#health;
    const wasOut = this.outage;
    const state = failure === undefined ? 'ok' : stateAfter(failure);
    const condition = failure?.scope === 'kek' ? failure.condition : undefined;
    const failed = failure === undefined ? before : { failureClass: failure.class, failedAtMs: atMs };
    const { failureClass, failedAtMs } = failed;
    const sinceMs = state === before.state ? before.sinceMs : atMs;
    this.#health = { state, atMs, sinceMs, condition, failureClass, failedAtMs };
    this.#patienceMs = failure?.class === 'throttled' ? patienceMs(failure.retryAfterMs ?? 0) : 0;
    if (failure !== undefined) this.failures++;
    if (this.outage) this.onOutage?.(!wasOut);
    else if (wasOut) this.onRecovery?.();
  }
}

/** `ok` after an answer about what was asked and not about the KEK: a wrapped DEK that is none, one version or partition that somebody disabled. */
function stateAfter({ class: failureClass, scope, condition }: UpstreamFailure): KekHealth['state'] {
  if (failureClass === 'invalid') return 'ok';
  return failureClass === 'refused' && scope !== 'kek' && condition !== undefined ? 'ok' : failureClass;
}

function patienceMs(retryAfterMs: number): number {
  return Math.max(0, Math.min(retryAfterMs, MAX_THROTTLE_MS) - PROBE_PAUSE_MS);
}
