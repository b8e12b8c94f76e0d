import type { Keyrings } from '../keyring/keyrings.ts';
import type { Policy } from '../policy/authorize.ts';
import type { Administration } from './administration.ts';
import type { Call } from './call.ts';
import type { ItemStatus } from './status.ts';

/** What the handlers work with. */
export interface Parts {
  readonly keyrings: Keyrings;
  readonly policy: Policy;
  readonly administration: Administration;
  /** What ended one item of a batch, as its result has it; our own faults go to the log. */
  itemStatus(thrown: unknown, call: Call): ItemStatus;
}
