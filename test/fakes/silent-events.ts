import type { KeyringEvents } from '../../src/keyring/events.ts';

/** For who does not look at them. */
export const silentEvents: KeyringEvents = {
  outage: () => undefined,
  recovery: () => undefined,
  refusalSeen: () => undefined,
  refusalPending: () => undefined,
  refusalConfirmed: () => undefined,
  refusalWithdrawn: () => undefined,
  rotationFailed: () => undefined,
  dekDisowned: () => undefined,
  clockStepped: () => undefined,
};
