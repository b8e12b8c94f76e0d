import type { SlotHandle } from '../../native/binding.d.ts';
import type { UpstreamClock } from './clock.ts';
import { type FailureClass, UpstreamFailure } from './failure.ts';
import type {
  KekDescription,
  Upstream,
  UpstreamCallOptions,
  UpstreamType,
  WrapContext,
  WrappedDek,
} from './provider.ts';

/** What an upstream can be made to look like. `invalid` is none: it would say that a DEK is broken, which a drill must not. */
export type DrillClass = Exclude<FailureClass, 'invalid'>;

export interface Drill {
  readonly failureClass: DrillClass;
  /** CLOCK_BOOTTIME, in milliseconds. */
  readonly startedAtMs: number;
  readonly endsAtMs: number;
}

/**
 * An upstream that can be made to fail for a bounded time, so that a team can prove what it does in an outage. While a drill runs, no call
 * reaches the upstream; calls that were under way when it began end as they would.
 */
export class DrilledUpstream implements Upstream {
  readonly #inner: Upstream;
  readonly #clock: UpstreamClock;
  #drill: Drill | undefined;
  #cancelEnd: () => void = () => undefined;
  /** Called when a drill is over because its time is; not when it is stopped or replaced. */
  onEnd: ((ended: Drill) => void) | undefined;

  constructor(inner: Upstream, clock: UpstreamClock) {
    this.#inner = inner;
    this.#clock = clock;
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

  /** The drill that runs now. */
  get drill(): Drill | undefined {
    // After a suspend the time may be over before its timer runs.
    if (this.#drill !== undefined && this.#clock.bootMs() >= this.#drill.endsAtMs) this.#end();
    return this.#drill;
  }

  /** Replaces a drill that runs. */
  start({ failureClass, durationMs }: { failureClass: DrillClass; durationMs: number }): Drill {
    this.#cancelEnd();
    const startedAtMs = this.#clock.bootMs();
    const drill = { failureClass, startedAtMs, endsAtMs: startedAtMs + durationMs };
    this.#drill = drill;
    this.#cancelEnd = this.#clock.after(durationMs, () => this.#end());
    return drill;
  }

  /** False when none runs. */
  stop(): boolean {
    const runs = this.drill !== undefined;
    this.#cancelEnd();
    this.#drill = undefined;
    return runs;
  }

  resolve(reference: string): string {
    return this.#inner.resolve(reference);
  }

  endpoint(kek: string): string {
    return this.#inner.endpoint?.(kek) ?? '';
  }

  async wrap(kek: string, dek: SlotHandle, context: WrapContext, options: UpstreamCallOptions): Promise<WrappedDek> {
    this.#failInDrill();
    return this.#inner.wrap(kek, dek, context, options);
  }

  async unwrap(
    kek: string,
    wrapped: WrappedDek,
    context: WrapContext,
    options: UpstreamCallOptions,
  ): Promise<SlotHandle> {
    this.#failInDrill();
    return this.#inner.unwrap(kek, wrapped, context, options);
  }

  async describe(kek: string, options: UpstreamCallOptions): Promise<KekDescription> {
    this.#failInDrill();
    return this.#inner.describe(kek, options);
  }

  async close(): Promise<void> {
    this.stop();
    await this.#inner.close();
  }

  #failInDrill(): void {
    const { drill } = this;
    if (drill === undefined) return;
    throw new UpstreamFailure(drill.failureClass, `a drill: this upstream is made to look ${drill.failureClass}`);
  }

  #end(): void {
    const ended = this.#drill;
    this.#cancelEnd();
    this.#drill = undefined;
    if (ended !== undefined) this.onEnd?.(ended);
  }
}
