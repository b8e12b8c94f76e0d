import type { Keyrings } from '../keyring/keyrings.ts';
import type { Policy } from '../policy/authorize.ts';
import type { Administration } from './administration.ts';

/** What the handlers work with. */
export interface Parts {
  readonly keyrings: Keyrings;
  readonly policy: Policy;
  readonly administration: Administration;
}
