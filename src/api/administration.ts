import type { EncryptionContext } from '../crypto/context.ts';
import type { Kek } from '../keyring/kek.ts';
import type { Keyring } from '../keyring/keyring.ts';

/** A KEK that an administrative call made or changed. */
export interface ChangedKek {
  readonly uri: string;
  readonly version: string;
}

/** What a call changes of a key. */
export interface ChangeTarget {
  readonly keyring: Keyring;
  /** A reference to one KEK of the key, `decrypt_with` included; "" = each recipient with role authority or standby. */
  readonly kek: string;
}

export interface MemoryFacts {
  readonly kind: string;
  readonly size: number;
  readonly requested: number;
  readonly slots: number;
  readonly slotsUsed: number;
  readonly sealed: number;
  readonly maxSealed: number;
  readonly free: number;
}

/** A drill that runs. */
export interface DrillFacts {
  readonly failureClass: DrillClass;
  /** Unix milliseconds. */
  readonly endsAt: number;
}

export const DRILL_CLASSES = ['unreachable', 'throttled', 'unauthenticated', 'refused'] as const;
export type DrillClass = (typeof DRILL_CLASSES)[number];

/** The file of revoked keys and partitions. */
export interface RevocationsFacts {
  readonly file: string;
  /** In force, and since when: Unix milliseconds. */
  readonly entries: number;
  readonly changedAt: number;
  /** Of the file's text when it was last right, in hex. */
  readonly sha256: string;
  readonly lookedAt: number;
}

export interface UpstreamFacts {
  readonly name: string;
  readonly type: string;
  readonly warnings: readonly string[];
  /** Open: it is out, and calls fail at once until a probe is answered. */
  readonly breaker: 'closed' | 'open';
  readonly drill: DrillFacts | undefined;
  /** Of the processes that run for it now. */
  readonly childPids: readonly number[];
}

export type KekState = 'active' | 'disabled' | 'archived' | 'pending-deletion' | 'destroyed';

export interface KekVersionFacts {
  readonly version: string;
  readonly state: KekState | 'decrypt-only';
  /** Unix milliseconds, as every instant here. */
  readonly createdAt: number;
  readonly createdBy?: string;
  readonly destroyedAt?: number;
  readonly destroyedBy?: string;
}

export interface DeletionFacts {
  readonly requestedBy: readonly string[];
  readonly waitingPeriodMs: number;
  /** Undefined until enough custodians have asked. */
  readonly at: number | undefined;
}

export interface DisabledPartitionFacts {
  readonly keyName: string;
  readonly pairs: ReadonlyMap<string, string>;
  readonly disabledAt: number;
  readonly disabledBy: string;
}

/** A KEK of a key, as its upstream describes it now. */
export interface KekFacts {
  readonly kek: Kek;
  /** Undefined for one of `decrypt_with`. */
  readonly role: 'authority' | 'standby' | 'recovery' | undefined;
  /** Undefined when the upstream was not asked, has no such KEK or did not answer: then `problem` says which. */
  readonly description?: {
    readonly state: KekState;
    readonly stateChangedAt?: number;
    readonly stateChangedBy?: string;
    readonly versions: readonly KekVersionFacts[];
    readonly labels: ReadonlyMap<string, string>;
    readonly expiresAt?: number;
    readonly deletion?: DeletionFacts;
    readonly disabledPartitions?: Iterable<DisabledPartitionFacts>;
  };
  readonly nextRotationAt?: number;
  readonly problem?: string;
}

/**
 * What the daemon as a whole can tell and do; the handlers decide who may ask. `by` is who asked, for log and keystore: "uid 2001". What
 * changes KEKs answers when the change is on disk and the keyrings have acted on it.
 */
export interface Administration {
  readonly version: string;
  readonly profile: string;
  /** How many custodians must ask for a deletion. */
  readonly custodians: number;
  /** Unix milliseconds. */
  readonly startedAtMs: number;
  /** Of the process, now; each upstream has its own. */
  readonly warnings: readonly string[];
  /** Of the configuration and the file of revocations; they name keys and KEKs. */
  readonly configurationWarnings: readonly string[];
  readonly upstreams: readonly UpstreamFacts[];
  /** Undefined when the configuration names no file of revocations. */
  readonly revocations: RevocationsFacts | undefined;
  memory(): MemoryFacts;
  /**
   * Makes a KEK in a `local` upstream ("" = the only one); `usable` says whether a key of that name serves at once.
   * Throws KEY_EXISTS or INVALID_REQUEST.
   */
  createKek(
    name: string,
    upstream: string,
    labels: ReadonlyMap<string, string>,
    by: string,
  ): Promise<ChangedKek & { readonly usable: boolean }>;
  /** The KEKs that a rotation of the key is about; none when its upstreams rotate them. */
  rotatableKeks(keyring: Keyring): readonly Kek[];
  /** A new version of each KEK of the key that can be rotated here; the first one, or undefined when there is none. */
  rotateKeks(keyring: Keyring, by: string): Promise<ChangedKek | undefined>;
  /** The KEKs that a change of the target is about, authorities first. Throws INVALID_REQUEST when there is none that can be changed here. */
  changeableKeks(target: ChangeTarget): readonly Kek[];
  /** Throws KEY_* for a transition that is not allowed, KEY_NOT_FOUND without a KEK, UPSTREAM_UNAVAILABLE when it can't be written. */
  changeKey(target: ChangeTarget, change: 'disable' | 'enable' | 'archive', by: string): Promise<void>;
  /** Throws as changeKey, and INVALID_REQUEST when the custodian before asked for another period. */
  scheduleDeletion(target: ChangeTarget, waitingPeriodMs: number, by: string): Promise<DeletionFacts>;
  cancelDeletion(target: ChangeTarget, by: string): Promise<void>;
  /** Returns how many DEKs were zeroed. */
  changePartition(
    keyring: Keyring,
    partition: EncryptionContext,
    change: 'disable' | 'enable',
    by: string,
  ): Promise<number>;
  /** All KEKs that the configuration gives the key, in its order. */
  describeKeks(keyring: Keyring, signal: AbortSignal): Promise<readonly KekFacts[]>;
  /** Zeroes DEKs; of every partition when none is given. Returns how many there were. */
  flush(keyrings: readonly Keyring[], partition: EncryptionContext | undefined, by: string): number;
  /** Makes an upstream fail until the drill ends, instead of the drill that runs there. */
  startDrill(upstream: string, failureClass: DrillClass, durationMs: number, by: string): DrillFacts;
  /** False when none ran. */
  stopDrill(upstream: string, by: string): boolean;
  /** Returns how many DEKs were made. */
  warm(keyring: Keyring, partition: EncryptionContext, by: string): Promise<number>;
  /** A copy of a store ("" = the only one) of at most `maxBytes`. Throws INVALID_REQUEST, MESSAGE_TOO_LARGE. */
  backup(
    upstream: string,
    maxBytes: number,
    by: string,
  ): Promise<{ readonly upstream: string; readonly store: Uint8Array }>;
}
