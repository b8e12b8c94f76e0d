import type { SlotHandle } from '../../../native/binding.d.ts';
import type { UpstreamFailure } from '../failure.ts';
import type { Upstream, WrapContext, WrappedDek } from '../provider.ts';

/** One unwrap, past the breakers: the DEK is the caller's to free. */
export type ProbingUnwrap = (wrapped: WrappedDek, context: WrapContext) => Promise<SlotHandle>;

/** What whoever calls a KEK hears of the breakers before it. */
export interface KekWatcher {
  /** Its calls fail at once, perhaps because of another KEK's; told again after each probe that got no answer. */
  onOut(failure: UpstreamFailure): void;
  /** The upstream has answered a probe, though perhaps about another KEK. */
  onClose(): void;
  /**
   * Unwraps a DEK that is held anyway, whatever it opens: an upstream that gives no description, or only to whom it wants, may still unwrap. Undefined when
   * none is held. Rejects with what the unwrap threw, and DekdError when there is no room for it.
   */
  unwrapHeld(unwrap: ProbingUnwrap): Promise<void> | undefined;
}

/** A capability: an upstream with breakers before it, one for the whole and one for each KEK. */
export interface Breakers {
  /** Whether calls at this KEK fail at once now. */
  isBroken(kek: string): boolean;
  /** What they get then; undefined = they are made. */
  brokenBy(kek: string): UpstreamFailure | undefined;
  watch(kek: string, watcher: KekWatcher): void;
}

export function hasBreakers(upstream: Upstream): upstream is Upstream & Breakers {
  return 'isBroken' in upstream && 'watch' in upstream;
}
