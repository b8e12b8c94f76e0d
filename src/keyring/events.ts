import type { DekdError } from '../errors.ts';
import type { Kek } from './kek.ts';
import type { Refusal } from './refusals.ts';

/** What an operator should hear of, as it happens. */
export interface KeyringEvents {
  /** The first attempt at this KEK that got no answer. */
  outage(kek: Kek): void;
  recovery(kek: Kek): void;
  refusalSeen(refusal: Refusal): void;
  /** The confirming call got no answer. */
  refusalPending(refusal: Refusal): void;
  refusalConfirmed(refusal: Refusal, purgedDeks: number): void;
  refusalWithdrawn(refusal: Refusal): void;
  /** A successor could not be made; the old DEK goes on encrypting. */
  rotationFailed(keyName: string, error: DekdError): void;
  /** No recipient opens a DEK of this key that it opened before; told once a minute at most. */
  dekDisowned(keyName: string, error: DekdError): void;
  clockStepped(stepMs: number): void;
}
