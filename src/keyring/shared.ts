import type { NegativeMemory } from './admission.ts';
import type { Clock } from './clock.ts';
import type { Dek } from './dek.ts';
import type { DekIndex } from './dek-index.ts';
import type { KeyringEvents } from './events.ts';
import type { UpstreamQuota } from './quota.ts';
import type { Refresher } from './refresher.ts';
import type { Refusals } from './refusals.ts';
import type { Revocations } from './revocations.ts';
import type { Room } from './room.ts';

/** What the keyrings of one process have in common. */
export interface Shared {
  readonly clock: Clock;
  /** Every cached DEK. */
  readonly index: DekIndex;
  readonly refusals: Refusals;
  readonly revocations: Revocations;
  readonly refresher: Refresher;
  readonly negatives: NegativeMemory;
  readonly quota: UpstreamQuota;
  readonly events: KeyringEvents;
  readonly room: Room;
}

/** Ends a DEK's life in the cache: out of the index, zeroed. */
export function drop(shared: Shared, dek: Dek): void {
  shared.index.delete(dek);
  dek.free();
}
