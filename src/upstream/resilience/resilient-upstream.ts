import type { SlotHandle } from '../../../native/binding.d.ts';
import { freeKey } from '../../crypto/native.ts';
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
import { Breaker } from './breaker.ts';
import type { Breakers, KekWatcher } from './breakers.ts';
import { ATTEMPT_MS } from './limits.ts';
import { retrying } from './retry.ts';
import { Rooms } from './rooms.ts';

/** A breaker that opened, or closed again. */
export interface BreakerChange {
  readonly state: 'open' | 'closed';
  /** Of one KEK; undefined = of the whole upstream. */
  readonly kek: string | undefined;
  /** What opened it. */
  readonly failureClass: FailureClass;
  /** How long it was open, in milliseconds; 0 when it opens. */
  readonly openMs: number;
}

/**
 * Round any provider, which knows nothing of it: breaker → room → retry → attempt, so that an upstream that is out costs a call nothing, and one
 * that is slow costs it a second at most. One breaker is for the upstream as a whole, and one for each KEK for what concerns that alone.
 */
export class ResilientUpstream implements Upstream, Breakers {
  readonly #inner: Upstream;
  readonly #clock: UpstreamClock;
  readonly #rooms: Rooms;
  readonly #whole: Breaker;
  readonly #ofKeks = new Map<string, Breaker>();
  readonly #watchers = new Map<string, Set<KekWatcher>>();
  onBreaker: ((change: BreakerChange) => void) | undefined;

  constructor(inner: Upstream, clock: UpstreamClock) {
    this.#inner = inner;
    this.#clock = clock;
    this.#rooms = new Rooms(clock);
    this.#whole = this.#breaker(['unreachable'], undefined);
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

  /** Of the upstream as a whole. */
  get breaker(): 'open' | 'closed' {
    return this.#whole.isOpen ? 'open' : 'closed';
  }

  isBroken(kek: string): boolean {
    return this.#whole.isOpen || this.#ofKeks.get(kek)?.isOpen === true;
  }

  brokenBy(kek: string): UpstreamFailure | undefined {
    return this.#whole.failure ?? this.#ofKeks.get(kek)?.failure;
  }

  watch(kek: string, watcher: KekWatcher): void {
    const watchers = this.#watchers.get(kek) ?? new Set();
    this.#watchers.set(kek, watchers.add(watcher));
  }

  resolve(reference: string): string {
    return this.#inner.resolve(reference);
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
    this.#whole.stop();
    for (const breaker of this.#ofKeks.values()) breaker.stop();
    await this.#inner.close();
  }

  async #call<T>(
    kek: string,
    { purpose = 'miss', signal }: UpstreamCallOptions,
    call: (signal: AbortSignal) => Promise<T>,
    discard?: (late: T) => void,
  ): Promise<T> {
    const broken = this.brokenBy(kek);
    if (broken !== undefined) throw broken;
    const clock = this.#clock;
    const once = (timeOutMs: number): Promise<T> =>
      attempt({ clock, signal, timeOutMs, discard }, call).catch(classify);
    const guarded = (timeOutMs: number): Promise<T> =>
      this.#ofKek(kek).run(kek, () => this.#whole.run(kek, () => once(timeOutMs)));
    return this.#rooms.run(purpose, signal, () => retrying(clock, signal, guarded));
  }

  #ofKek(kek: string): Breaker {
    const known = this.#ofKeks.get(kek) ?? this.#breaker(['throttled', 'unauthenticated'], kek);
    this.#ofKeks.set(kek, known);
    return known;
  }

  #breaker(opens: readonly FailureClass[], kek: string | undefined): Breaker {
    const clock = this.#clock;
    let failureClass: FailureClass = 'unreachable';
    let openedAtMs = 0;
    const tell = (state: BreakerChange['state']): void =>
      this.onBreaker?.({ state, kek, failureClass, openMs: clock.bootMs() - openedAtMs });
    return new Breaker({
      clock,
      opens,
      ask: (asked) => this.#ask(asked),
      onOpen: (failure) => {
        failureClass = failure.class;
        openedAtMs = clock.bootMs();
        tell('open');
        for (const watcher of this.#watchersOf(kek)) watcher.onOpen(failure);
      },
      onClose: () => {
        tell('closed');
        for (const watcher of this.#watchersOf(kek)) watcher.onClose();
      },
    });
  }

  /** A probe: a call that needs no DEK, so that an outage's end is noticed also when none is held. */
  #ask(kek: string): Promise<KekDescription> {
    const { signal } = new AbortController();
    const call = (ends: AbortSignal) => this.#inner.describe(kek, { signal: ends, purpose: 'background' });
    return attempt({ clock: this.#clock, signal, timeOutMs: ATTEMPT_MS }, call).catch((thrown: unknown) => {
      throw UpstreamFailure.from(thrown);
    });
  }

  #watchersOf(kek: string | undefined): KekWatcher[] {
    const sets = kek === undefined ? [...this.#watchers.values()] : [this.#watchers.get(kek) ?? new Set<KekWatcher>()];
    return sets.flatMap((watchers) => [...watchers]);
  }
}

/** What a provider throws, which may be anything, is a failure of the upstream; a DekdError, such as a shortage of our own, is not. */
function classify(thrown: unknown): never {
  throw thrown instanceof DekdError ? thrown : UpstreamFailure.from(thrown);
}
