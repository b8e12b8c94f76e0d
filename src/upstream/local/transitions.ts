import { DekdError, type Reason } from '../../errors.ts';
import type { KekState, KekVersionState } from '../provider.ts';

// The one table of states and transitions; docs/key-lifecycle.md shows it, and a test compares the two.

/** What can happen to a KEK. `expire`, `destroy` come with time; the rest are calls. `delete` = enough custodians asked for its deletion. */
export type KekEvent = 'disable' | 'enable' | 'archive' | 'expire' | 'delete' | 'cancel' | 'destroy';

/** The state that follows, the present one when nothing happens; `before` = the one before it was disabled. */
export type KekOutcome = KekState | 'before' | 'refused';

/** What can happen to a version of a KEK: the KEK makes a new one, has more than `max_versions`, or is destroyed. */
export type VersionEvent = 'rotate' | 'max_versions' | 'destroy';

export const KEK_TRANSITIONS: Readonly<Record<KekState, Readonly<Record<KekEvent, KekOutcome>>>> = {
  active: {
    disable: 'disabled',
    enable: 'active',
    archive: 'archived',
    expire: 'archived',
    delete: 'pending-deletion',
    cancel: 'active',
    destroy: 'refused',
  },
  disabled: {
    disable: 'disabled',
    enable: 'before',
    archive: 'refused',
    expire: 'disabled',
    delete: 'pending-deletion',
    cancel: 'disabled',
    destroy: 'refused',
  },
  archived: {
    disable: 'disabled',
    enable: 'active',
    archive: 'archived',
    expire: 'archived',
    delete: 'pending-deletion',
    cancel: 'archived',
    destroy: 'refused',
  },
  'pending-deletion': {
    disable: 'refused',
    enable: 'refused',
    archive: 'refused',
    expire: 'pending-deletion',
    delete: 'pending-deletion',
    cancel: 'disabled',
    destroy: 'destroyed',
  },
  destroyed: {
    disable: 'refused',
    enable: 'refused',
    archive: 'refused',
    expire: 'destroyed',
    delete: 'refused',
    cancel: 'refused',
    destroy: 'destroyed',
  },
};

/** `disabled` and `pending-deletion` of a single version are reserved: the schema knows them, no event leads there. */
export const VERSION_TRANSITIONS: Readonly<Record<KekVersionState, Readonly<Record<VersionEvent, KekVersionState>>>> = {
  active: { rotate: 'decrypt-only', max_versions: 'active', destroy: 'destroyed' },
  'decrypt-only': { rotate: 'decrypt-only', max_versions: 'archived', destroy: 'destroyed' },
  archived: { rotate: 'archived', max_versions: 'archived', destroy: 'destroyed' },
  disabled: { rotate: 'disabled', max_versions: 'disabled', destroy: 'destroyed' },
  'pending-deletion': { rotate: 'pending-deletion', max_versions: 'pending-deletion', destroy: 'destroyed' },
  destroyed: { rotate: 'destroyed', max_versions: 'destroyed', destroy: 'destroyed' },
};

/** Why a KEK in this state refuses. */
const NOT_ACTIVE: Readonly<Record<Exclude<KekState, 'active'>, Reason>> = {
  disabled: 'KEY_DISABLED',
  archived: 'KEY_ARCHIVED',
  'pending-deletion': 'KEY_PENDING_DELETION',
  destroyed: 'KEY_DESTROYED',
};

/** What a caller does about it. */
const WAY_OUT: Readonly<Record<Exclude<KekState, 'active'>, string>> = {
  disabled: 'enable it first',
  archived: 'enable it first',
  'pending-deletion': 'cancel its deletion first',
  destroyed: 'it never comes back; make a KEK of another name',
};

const WANTED: Readonly<Record<KekEvent, KekState>> = {
  disable: 'disabled',
  enable: 'active',
  archive: 'archived',
  expire: 'archived',
  delete: 'pending-deletion',
  cancel: 'disabled',
  destroy: 'destroyed',
};

/** The state that follows `event`. Throws DekdError after the present state for a transition that is not allowed. */
export function stateAfter(
  kek: { readonly name: string; readonly state: KekState; readonly stateBefore: 'active' | 'archived' | null },
  event: KekEvent,
): KekState {
  const { name, state, stateBefore } = kek;
  const outcome = KEK_TRANSITIONS[state][event];
  if (outcome === 'before') return stateBefore!;
  if (outcome !== 'refused') return outcome;
  // An active KEK refuses nothing that can be asked for, so its only way here is a destruction that nobody scheduled.
  if (state === 'active') throw new Error(`internal error: ${event} of the active KEK ${name}`);
  throw transitionRefused(name, state, WANTED[event], WAY_OUT[state]);
}

/** A KEK is in a state that does not lead to `wanted`; `wayOut` is what to do about it. */
export function transitionRefused(
  name: string,
  state: Exclude<KekState, 'active'>,
  wanted: KekState,
  wayOut: string,
): DekdError {
  return new DekdError(NOT_ACTIVE[state], `KEK ${name} is ${state}: ${state} → ${wanted} is not allowed; ${wayOut}`);
}

/** A KEK that is not active makes no new version. */
export function rotationRefused(name: string, state: Exclude<KekState, 'active'>): DekdError {
  return new DekdError(NOT_ACTIVE[state], `KEK ${name} is ${state} and makes no new version; ${WAY_OUT[state]}`);
}
