import type { Kek } from './kek.ts';

export { MAX_THROTTLE_MS, PROBE_PAUSE_MS } from '../upstream/resilience/limits.ts';

export type RecipientRole = 'authority' | 'standby' | 'recovery';

/** A KEK as one key's configuration names it. */
export interface KeyRecipient {
  readonly kek: Kek;
  readonly role: RecipientRole;
}

export interface CacheOptions {
  /** `none`: a DEK per operation · `request`: per call · `session`: until ttl, limits or refusal · `startup`: session, warmed, endless grace. */
  readonly mode: 'none' | 'request' | 'session' | 'startup';
  /** How long a DEK may be used without asking the upstream again. */
  readonly ttlMs: number;
  /** The time past ttl in which a DEK may serve while its upstream is unreachable. */
  readonly graceMs: number;
  /** How long a DEK may encrypt. */
  readonly rotateAfterMs: number;
  /** Messages and plaintext bytes that a DEK may encrypt. */
  readonly maxMessages: number;
  readonly maxBytes: number;
  /** DEKs held for decrypting, and partitions with a DEK held for encrypting. */
  readonly maxDeks: number;
  readonly maxPartitions: number;
  /** `renew`: make a new DEK where `verify` would unwrap the old one again; for writers that may not decrypt. */
  readonly refresh: 'verify' | 'renew';
  /** A new DEK encrypts only after every authority and standby has unwrapped it once. */
  readonly verifyWrap: boolean;
}

export interface KeyOptions {
  readonly name: string;
  /** Envelope suite of new ciphertexts: 1 or 2. */
  readonly suite: number;
  readonly recipients: readonly KeyRecipient[];
  /** Retired KEKs: unwrapped with, never wrapped for. They count as authorities of the DEKs that name them. */
  readonly decryptWith: readonly Kek[];
  readonly partitionBy: readonly string[];
  /** A new DEK is wrapped for `all` recipients; `any`: for those that answer, at least one authority or standby. */
  readonly wrap: 'all' | 'any';
  readonly cache: CacheOptions;
}

/** How fresh a failure must be to serve in grace without asking again, and how often an outage is probed (design: `probe_interval`). */
export const PROBE_INTERVAL_MS = 5_000;
/** All upstream work of one miss. */
export const MISS_MS = 10_000;
/** A request past ttl waits this long for a refresh before it is served in grace. */
export const GRACE_WAIT_MS = 1_000;
/** A refusal is asked for again after this long, plus up to 2 s of jitter. */
export const CONFIRM_AFTER_MS = 1_000;
export const CONFIRM_JITTER_MS = 2_000;
/** A request that met a refusal first waits this long for its confirmation. */
export const CONFIRM_WAIT_MS = 4_000;
/** How long a negative answer is remembered. */
export const INVALID_MEMORY_MS = 60_000;
export const REFUSED_MEMORY_MS = 5_000;
/** Other blocks of a DEK that are remembered as verified. */
export const MAX_ALIASES = 8;
/** A wall-clock step forward of more than this makes every DEK due for refresh. */
export const CLOCK_STEP_MS = 30_000;
