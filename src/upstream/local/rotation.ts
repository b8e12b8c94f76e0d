import type { KekSchedule, LocalOptions } from './options.ts';
import type { VersionRecord } from './records.ts';
import type { StoredKek } from './store.ts';
import { VERSION_TRANSITIONS, type VersionEvent } from './transitions.ts';

/** What the settings say of one KEK. */
export interface KekPolicy extends KekSchedule {
  /** Unix milliseconds; undefined = never. */
  readonly expiresAt: number | undefined;
}

/** The upstream's schedule, and what `keks` says of this KEK instead. */
export function policyOf(options: Pick<LocalOptions, 'schedule' | 'keks'>, name: string): KekPolicy {
  const own = options.keks?.get(name);
  return {
    rotateAfterMs: own?.rotateAfterMs ?? options.schedule?.rotateAfterMs,
    maxVersions: own?.maxVersions ?? options.schedule?.maxVersions,
    expiresAt: own?.expiresAt,
  };
}

/** The version that wraps. At most one. */
export function activeVersion(stored: StoredKek): VersionRecord | undefined {
  return [...stored.versions.values()].find(({ state }) => state === 'active');
}

/** Whether the version that wraps is old enough for the next one. A KEK that lost its active version is not rotated by itself. */
export function isRotationDue(stored: StoredKek, policy: KekPolicy, now: number): boolean {
  const { rotateAfterMs } = policy;
  const active = activeVersion(stored);
  return rotateAfterMs !== undefined && active !== undefined && now - active.createdAt >= rotateAfterMs;
}

/** The records that change when `next` becomes the version that wraps: it, the former one, and all but the newest `maxVersions`. */
export function rotated(stored: StoredKek, next: VersionRecord, maxVersions: number | undefined): VersionRecord[] {
  const { createdAt: changedAt, changedBy } = next;
  const former = [...stored.versions.values()].map((version) => after(version, 'rotate', changedAt, changedBy));
  const kept = (maxVersions ?? Infinity) - 1;
  const changed = former
    .map((version, index) =>
      former.length - index > kept ? after(version, 'max_versions', changedAt, 'max_versions') : version,
    )
    .filter((version) => version !== stored.versions.get(version.version));
  return [...changed, next];
}

/** The records of all versions once they are destroyed. */
export function destroyed(stored: StoredKek, at: number, by: string): VersionRecord[] {
  return [...stored.versions.values()]
    .filter(({ state }) => state !== 'destroyed')
    .map((version) => ({ ...after(version, 'destroy', at, by), wrappedKey: null }));
}

/** The same record when nothing changes. */
function after(version: VersionRecord, event: VersionEvent, changedAt: number, changedBy: string): VersionRecord {
  const state = VERSION_TRANSITIONS[version.state][event];
  return state === version.state ? version : { ...version, state, changedAt, changedBy };
}
