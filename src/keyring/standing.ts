import type { KekDescription, KekState } from '../upstream/provider.ts';
import type { KeyOptions } from './options.ts';

/** What is known of a KEK's life where dekd leads it (docs/key-lifecycle.md); elsewhere the upstream's refusals tell. */
export interface KekStanding {
  readonly state: KekState;
  /** Versions that unwrap only for callers who may use archived keys. */
  readonly archivedVersions: ReadonlySet<string>;
}

export const ACTIVE_STANDING: KekStanding = { state: 'active', archivedVersions: new Set() };

/** From the best to the worst. */
const WORSE: readonly KekState[] = ['active', 'archived', 'disabled', 'pending-deletion', 'destroyed'];

export function standingOf({ state, versions }: KekDescription): KekStanding {
  return { state, archivedVersions: versionsThatAre(versions, ['archived']) };
}

/** Versions that unwrap for nobody, not even for what is held already. */
export function deadVersions({ versions }: KekDescription): ReadonlySet<string> {
  return versionsThatAre(versions, ['disabled', 'pending-deletion', 'destroyed']);
}

/** A key is in the worst state of its authorities. */
export function keyState({ recipients }: KeyOptions): KekState {
  let worst: KekState = 'active';
  for (const { kek, role } of recipients) {
    if (role === 'authority' && WORSE.indexOf(kek.standing.state) > WORSE.indexOf(worst)) worst = kek.standing.state;
  }
  return worst;
}

/** Whether nothing may be decrypted in that state, whoever asks. */
export function isDead(state: KekState): boolean {
  return state !== 'active' && state !== 'archived';
}

function versionsThatAre(versions: KekDescription['versions'], states: readonly string[]): ReadonlySet<string> {
  return new Set(versions.filter(({ state }) => states.includes(state)).map(({ version }) => version));
}
