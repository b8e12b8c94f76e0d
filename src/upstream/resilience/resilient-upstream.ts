import type { SlotHandle } from '../../../native/binding.d.ts';
import { wrapContext } from '../../crypto/dek-block.ts';
import { createKey, freeKey } from '../../crypto/native.ts';
import { DekdError } from '../../errors.ts';
import type { UpstreamClock } from '../clock.ts';
import { type FailureClass, UpstreamFailure } from '../failure.ts';
import type {
  KekDescription,
  Upstream,
  UpstreamCallOptions,
  UpstreamType,
  WrapContext,
  WrappedDek,
} from '../provider.ts';
import { attempt } from './attempt.ts';
import { type Asking, Breaker } from './breaker.ts';
import type { Breakers, KekWatcher } from './breakers.ts';
import { ATTEMPT_MS } from './limits.ts';
import { retrying } from './retry.ts';
import { Rooms } from './rooms.ts';

/** A breaker that opened, or closed again. */
export interface BreakerChange {
  readonly state: 'open' | 'closed';
  /** Of one KEK; undefined = of all at that endpoint. */
  readonly kek: string | undefined;
  /** Empty where the upstream has but one. */
  readonly endpoint: string;
  /** What opened it; while it is open the last thing it met. */
  readonly failure: UpstreamFailure;
  /** How long it was open, in milliseconds; 0 when it opens. */
  readonly openMs: number;
}

/** Of no key and no DEK of any. */
const PROBE_CONTEXT = wrapContext('dekd-probe', new Uint8Array(32), new Map());

/** What lies before one KEK. */
interface Line {
  readonly own: Breaker;
  readonly endpoint: Breaker;
  readonly endpointName: string;
  readonly watchers: Set<KekWatcher>;
}

/**
 * Round any provider, which knows nothing of it: breaker → room → retry → attempt, so that an upstream that is out costs a call nothing, and one
 * that is slow costs it a second at most. One breaker is for all KEKs at an endpoint, and one for each KEK for what concerns that alone.
 */
export class ResilientUpstream implements Upstream, Breakers {
  readonly #inner: Upstream;
  readonly #clock: UpstreamClock;
  readonly #rooms: Rooms;
  readonly #endpoints = new Map<string, Breaker>();
  readonly #lines = new Map<string, Line>();
  onBreaker: ((change: BreakerChange) => void) | undefined;

  /** `name`: what the configuration calls the upstream. */
  constructor(name: string, inner: Upstream, clock: UpstreamClock) {
    this.#inner = inner;
    this.#clock = clock;
    this.#rooms = new Rooms(name, clock);
  }

  get type(): UpstreamType {
    return this.#inner.type;
  }

  get warnings(): readonly string[] {
    return this.#inner.warnings;
  }

  get allowsUnprovenOrigin(): boolean {
    return this.#inner.allowsUnprovenOrigin ?? false;
  }

  /** `open` while calls at one of its endpoints fail at once; what concerns a KEK alone is in that KEK's health. */
  get breaker(): 'open' | 'closed' {
    return [...this.#endpoints.values()].some(({ isOpen }) => isOpen) ? 'open' : 'closed';
  }

  isBroken(kek: string): boolean {
    const { endpoint, own } = this.#line(kek);
    return endpoint.isOpen || own.isOpen;
  }

  brokenBy(kek: string): UpstreamFailure | undefined {
    const { endpoint, own } = this.#line(kek);
    return endpoint.failure ?? own.failure;
  }

  watch(kek: string, watcher: KekWatcher): void {
    this.#line(kek).watchers.add(watcher);
  }

  resolve(reference: string): string {
    return this.#inner.resolve(reference);
  }

  endpoint(kek: string): string {
    return this.#inner.endpoint?.(kek) ?? '';
  }

  wrap(kek: string, dek: SlotHandle, context: WrapContext, options: UpstreamCallOptions): Promise<WrappedDek> {
    return this.#call(kek, options, (signal) => this.#inner.wrap(kek, dek, context, { ...options, signal }));
  }

  unwrap(kek: string, wrapped: WrappedDek, context: WrapContext, options: UpstreamCallOptions): Promise<SlotHandle> {
    const call = (signal: AbortSignal) => this.#inner.unwrap(kek, wrapped, context, { ...options, signal });
    return this.#call(kek, options, call, freeKey);
  }

  describe(kek: string, options: UpstreamCallOptions): Promise<KekDescription> {
    return this.#call(kek, options, (signal) => this.#inner.describe(kek, { ...options, signal }));
  }

  async close(): Promise<void> {
    for (const endpoint of this.#endpoints.values()) endpoint.stop();
    for (const { own } of this.#lines.values()) own.stop();
    await this.#inner.close();
  }

  async #call<T>(
    kek: string,
    options: UpstreamCallOptions,
    call: (signal: AbortSignal) => Promise<T>,
    discard?: (late: T) => void,
  ): Promise<T> {
    const broken = this.brokenBy(kek);
    if (broken !== undefined) throw broken;
    const clock = this.#clock;
    const { signal, purpose = 'miss' } = options;
    let isAsked = false;
    const ask = (ends: AbortSignal): Promise<T> => {
      if (!isAsked) options.onAsked?.();
      isAsked = true;
      return call(ends);
    };
    const once = (timeOutMs: number): Promise<T> => attempt({ clock, signal, timeOutMs, discard }, ask).catch(classify);
    const { own, endpoint } = this.#line(kek);
    // A call counts once, however often it was tried: many that one broken connection, or one ended child, takes with it succeed at a retry.
    const tried = (): Promise<T> => retrying(clock, signal, once);
    // A caller's ciphertext or partition may be what a service fails on, and a description what it never gives; who is throttled or not let in says so of
    // itself.
    const proves = purpose === 'refresh' || purpose === 'background';
    const guarded = (): Promise<T> => own.run(kek, () => endpoint.run(kek, tried, proves));
    return this.#rooms.run(options, guarded);
  }

  #line(kek: string): Line {
    const known = this.#lines.get(kek);
    if (known !== undefined) return known;
    const endpointName = this.endpoint(kek);
    const endpoint = this.#endpoints.get(endpointName) ?? this.#breaker(['unreachable'], endpointName, undefined);
    this.#endpoints.set(endpointName, endpoint);
    const own = this.#breaker(['throttled', 'unauthenticated'], endpointName, kek);
    const line = { own, endpoint, endpointName, watchers: new Set<KekWatcher>() };
    this.#lines.set(kek, line);
    return line;
  }

  /** Of one KEK, or of all at an endpoint. */
  #breaker(opens: readonly FailureClass[], endpoint: string, kek: string | undefined): Breaker {
    const clock = this.#clock;
    let last = new UpstreamFailure('unreachable', 'nothing failed yet');
    let openedAtMs = 0;
    const tell = (state: BreakerChange['state']): void =>
      this.onBreaker?.({ state, kek, endpoint, failure: last, openMs: clock.bootMs() - openedAtMs });
    return new Breaker({
      clock,
      opens,
      ask: (asked, way) => this.#ask(asked, way, this.#linesOf(endpoint, kek, asked)),
      onOut: (failure, isFirst) => {
        last = failure;
        if (isFirst) openedAtMs = clock.bootMs();
        if (isFirst) tell('open');
        for (const watcher of this.#watchers(endpoint, kek)) watcher.onOut(failure);
      },
      onClose: () => {
        tell('closed');
        for (const watcher of this.#watchers(endpoint, kek)) watcher.onClose();
      },
    });
  }

  #watchers(endpoint: string, kek: string | undefined): KekWatcher[] {
    return this.#linesOf(endpoint, kek).flatMap(([, { watchers }]) => [...watchers]);
  }

  /** What a breaker is before; the KEK `first` comes first. */
  #linesOf(endpoint: string, kek: string | undefined, first?: string): (readonly [kek: string, Line])[] {
    const lines = [...this.#lines].filter(([one, { endpointName }]) =>
      kek === undefined ? endpointName === endpoint : one === kek,
    );
    return lines.sort(([a], [b]) => Number(b === first) - Number(a === first));
  }

  /** A probe, past rooms and breakers. */
  #ask(kek: string, way: Asking, lines: readonly (readonly [kek: string, Line])[]): Promise<unknown> {
    const { signal } = new AbortController();
    const call = async (ends: AbortSignal): Promise<unknown> => {
      try {
        const unwrapping = way === 'describe' ? undefined : this.#unwrapHeld(lines, ends);
        if (unwrapping !== undefined) return await unwrapping;
        if (way === 'use') return await this.#wrapOne(kek, ends);
      } catch (thrown) {
        // No room of our own says nothing about the upstream.
        if (!(thrown instanceof DekdError)) throw thrown;
      }
      return this.#inner.describe(kek, { signal: ends, purpose: 'background' });
    };
    return attempt({ clock: this.#clock, signal, timeOutMs: ATTEMPT_MS }, call).catch((thrown: unknown) => {
      throw UpstreamFailure.from(thrown);
    });
  }

  #unwrapHeld(lines: readonly (readonly [kek: string, Line])[], signal: AbortSignal): Promise<void> | undefined {
    for (const [kek, { watchers }] of lines) {
      const unwrap = (wrapped: WrappedDek, context: WrapContext): Promise<SlotHandle> => {
        if (signal.aborted) throw new UpstreamFailure('unreachable', 'there was no room in time');
        return this.#inner.unwrap(kek, wrapped, context, { signal, purpose: 'background' });
      };
      for (const watcher of watchers) {
        const unwrapping = watcher.unwrapHeld(unwrap);
        if (unwrapping !== undefined) return unwrapping;
      }
    }
    return undefined;
  }

  /** An agent that may not wrap is refused, which is an answer, too. */
  async #wrapOne(kek: string, signal: AbortSignal): Promise<void> {
    const dek = createKey('dek');
    try {
      await this.#inner.wrap(kek, dek, PROBE_CONTEXT, { signal, purpose: 'background' });
    } finally {
      freeKey(dek);
    }
  }
}

/** What a provider throws, which may be anything, is a failure of the upstream; a DekdError, such as a shortage of our own, is not. */
function classify(thrown: unknown): never {
  throw thrown instanceof DekdError ? thrown : UpstreamFailure.from(thrown);
}
