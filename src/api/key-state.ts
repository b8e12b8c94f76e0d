import type { Keyring } from '../keyring/keyring.ts';

/** Names of dekd.v1.KeyState. `missing`: the upstream has no such KEK. */
export const KEY_STATES = {
  active: 'KEY_STATE_ACTIVE',
  disabled: 'KEY_STATE_DISABLED',
  archived: 'KEY_STATE_ARCHIVED',
  'pending-deletion': 'KEY_STATE_PENDING_DELETION',
  destroyed: 'KEY_STATE_DESTROYED',
  missing: 'KEY_STATE_UNSPECIFIED',
} as const;

/** Names of dekd.v1.RecipientRole. */
export const ROLES = {
  authority: 'RECIPIENT_ROLE_AUTHORITY',
  standby: 'RECIPIENT_ROLE_STANDBY',
  recovery: 'RECIPIENT_ROLE_RECOVERY',
} as const;

export type KeyStateName = (typeof KEY_STATES)[keyof typeof KEY_STATES];

/** A key's state from memory: what is known of its KEKs' life here, else what the authorities last said. */
export function keyState(keyring: Keyring): KeyStateName {
  if (keyring.state !== 'active') return KEY_STATES[keyring.state];
  for (const { kek, role } of keyring.options.recipients) {
    const { condition } = kek.health;
    if (role === 'authority' && condition !== undefined) return KEY_STATES[condition];
  }
  return KEY_STATES.active;
}
