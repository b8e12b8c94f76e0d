import { freeKey, type SlotHandle } from '../../src/crypto/native.ts';
import type {
  KekDescription,
  Upstream,
  UpstreamCallOptions,
  WrapContext,
  WrappedDek,
} from '../../src/upstream/provider.ts';
import { attempt } from '../../src/upstream/resilience/attempt.ts';
import { ATTEMPT_MS } from '../../src/upstream/resilience/limits.ts';
import type { MovableClock } from './movable-clock.ts';

/** An upstream of whose resilience only the time-out is left, so that each call at a KEK is one at the upstream. */
export class TimedUpstream implements Upstream {
  readonly warnings: readonly string[] = [];
  readonly #inner: Upstream;
  readonly #clock: MovableClock;

  constructor(inner: Upstream, clock: MovableClock) {
    this.#inner = inner;
    this.#clock = clock;
  }

  get type(): Upstream['type'] {
    return this.#inner.type;
  }

  get allowsUnprovenOrigin(): boolean {
    return this.#inner.allowsUnprovenOrigin ?? false;
  }

  resolve(reference: string): string {
    return this.#inner.resolve(reference);
  }

  wrap(kek: string, dek: SlotHandle, context: WrapContext, options: UpstreamCallOptions): Promise<WrappedDek> {
    return this.#timed(options, (signal) => this.#inner.wrap(kek, dek, context, { ...options, signal }));
  }

  unwrap(kek: string, wrapped: WrappedDek, context: WrapContext, options: UpstreamCallOptions): Promise<SlotHandle> {
    const call = (signal: AbortSignal) => this.#inner.unwrap(kek, wrapped, context, { ...options, signal });
    return this.#timed(options, call, freeKey);
  }

  describe(kek: string, options: UpstreamCallOptions): Promise<KekDescription> {
    return this.#timed(options, (signal) => this.#inner.describe(kek, { ...options, signal }));
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  #timed<T>(
    { signal }: UpstreamCallOptions,
    call: (signal: AbortSignal) => Promise<T>,
    discard?: (late: T) => void,
  ): Promise<T> {
    return attempt({ clock: this.#clock, signal, timeOutMs: ATTEMPT_MS, discard }, call);
  }
}
