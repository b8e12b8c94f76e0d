import type { SlotHandle } from '../../native/binding.d.ts';

export type UpstreamType = 'local' | 'aws-kms' | 'gcp-kms' | 'azure-keyvault' | 'vault-transit' | 'pkcs11';

/** Byte of a recipient's type in the dek-block (docs/envelope.md). */
export const RECIPIENT_TYPES = {
  local: 1,
  'aws-kms': 2,
  'gcp-kms': 3,
  'azure-keyvault': 4,
  'vault-transit': 5,
  pkcs11: 6,
} as const satisfies Record<UpstreamType, number>;

/** Wrap algorithms (docs/envelope.md) whose wrapped DEKs anybody can make who has a public key, so that they prove no origin: RSA-OAEP. */
export const UNPROVEN_ALGORITHMS: readonly number[] = [2];

/** What a wrapped DEK is bound to: `dekd:key`, `dekd:id` (hex dek_id) and the partition's pairs. */
export interface WrapContext {
  readonly pairs: ReadonlyMap<string, string>;
  /** The pairs in the context encoding of docs/envelope.md. */
  readonly encoded: Uint8Array;
}

export interface WrappedDek {
  /** UTF-8; empty where the service hides its versions. */
  readonly kekVersion: string;
  /** Byte of the wrap algorithm in the dek-block. */
  readonly algorithm: number;
  readonly bytes: Uint8Array;
}

/** The states of a KEK; what each allows, and which follows which, stands in docs/key-lifecycle.md. */
export type KekState = 'active' | 'disabled' | 'archived' | 'pending-deletion' | 'destroyed';

/** `active` = wraps; `decrypt-only` = unwraps; `archived` = unwraps for callers who may use archived keys; the rest refuse. */
export type KekVersionState = KekState | 'decrypt-only';

export interface KekVersionDescription {
  readonly version: string;
  readonly state: KekVersionState;
  /** Unix milliseconds. */
  readonly createdAt: number;
  /** Who created or rotated the KEK, where the upstream records it: "uid 2001", "rotation schedule". */
  readonly createdBy?: string;
  /** Unix milliseconds, and who: "uid 2001". Set once the version is destroyed. */
  readonly destroyedAt?: number;
  readonly destroyedBy?: string;
}

/** A deletion that custodians asked for. */
export interface KekDeletion {
  /** Who asked, in their order: "uid 2001". */
  readonly requestedBy: readonly string[];
  readonly waitingPeriodMs: number;
  /** Unix milliseconds of the destruction; undefined until enough custodians have asked. */
  readonly at: number | undefined;
}

/** A partition of a key, e.g. one tenant, whose DEKs a KEK refuses. */
export interface DisabledPartition {
  readonly keyName: string;
  readonly pairs: ReadonlyMap<string, string>;
  /** Unix milliseconds, and who: "uid 2001". */
  readonly disabledAt: number;
  readonly disabledBy: string;
}

export interface KekDescription {
  /** URI in normal form. */
  readonly uri: string;
  readonly state: KekState;
  /** When the state was last changed (Unix milliseconds) and by whom, where the upstream records it: "uid 2001", "expiry". */
  readonly stateChangedAt?: number;
  readonly stateChangedBy?: string;
  /** Ascending. */
  readonly versions: readonly KekVersionDescription[];
  readonly labels: ReadonlyMap<string, string>;
  /** Unix milliseconds: from then on it decrypts only. */
  readonly expiresAt?: number;
  readonly deletion?: KekDeletion;
  /** Of every key, as of when it is read: there may be thousands, and few who ask for a description want them. Not set where there is none. */
  readonly disabledPartitions?: Iterable<DisabledPartition>;
}

/**
 * `miss`: for a DEK that is not held · `refresh`: for a held DEK, and a request waits for it · `background`: for a held DEK, ahead of need ·
 * `administration`: a description that an administrator asks for. Each has room of its own, so that none starves another.
 */
export type CallPurpose = 'miss' | 'refresh' | 'background' | 'administration';

export interface UpstreamCallOptions {
  /** Aborts when nobody waits any more or the attempt's time is over. */
  readonly signal: AbortSignal;
  /** It confirms a refusal: over a new connection with a fresh credential, where the upstream has those. Default false. */
  readonly fresh?: boolean;
  /** Default `miss`. */
  readonly purpose?: CallPurpose;
  /** uid of who causes a miss, and has its places in turn with others; undefined = no caller does. */
  readonly payer?: number | undefined;
  /**
   * Told once when the upstream is asked, however often that is tried: not of a call that found no room, or an open breaker. Only what lies between a KEK and
   * its upstream tells it; where nothing does, each call asks.
   */
  readonly onAsked?: () => void;
}

/** A service that holds KEKs and never gives them out. Every method throws UpstreamFailure, and DekdError SECRET_MEMORY_EXHAUSTED when no slot is left. */
export interface Upstream {
  readonly type: UpstreamType;
  /**
   * A KEK reference of the configuration in normal form (`local:orders` → `local:0123456789abcdef/orders`). Does not ask whether the KEK
   * exists. Throws DekdError INVALID_REQUEST for a reference that can't be one.
   */
  resolve(reference: string): string;
  /** Which of its endpoints a KEK is asked at, when they fail apart from each other, such as a service's regions. Default: there is one. */
  endpoint?(kek: string): string;
  wrap(kek: string, dek: SlotHandle, context: WrapContext, options: UpstreamCallOptions): Promise<WrappedDek>;
  /** The DEK goes straight into secret memory; the caller owns the handle and has not yet verified dek_id. */
  unwrap(kek: string, wrapped: WrappedDek, context: WrapContext, options: UpstreamCallOptions): Promise<SlotHandle>;
  describe(kek: string, options: UpstreamCallOptions): Promise<KekDescription>;
  /** Facts that an operator must see in log and status, e.g. a development root key. */
  readonly warnings: readonly string[];
  /** Its configuration says `origin: unproven`: DEKs wrapped by one of UNPROVEN_ALGORITHMS are unwrapped. Default false. */
  readonly allowsUnprovenOrigin?: boolean;
  close(): Promise<void>;
}

/** What an operator or a custodian may do with a KEK at once; deletion waits. */
export type KekChange = 'disable' | 'enable' | 'archive';

export interface DeletionRequest {
  /** Who asks, e.g. "uid 2001": each custodian counts once. */
  readonly by: string;
  /** 7 to 30 days. */
  readonly waitingPeriodMs: number;
  /** How many custodians must ask before it takes effect. */
  readonly custodians: number;
}

/**
 * Upstreams where dekd may make, rotate and end KEKs. Throws DekdError for the caller's faults: KEY_EXISTS, KEY_NOT_FOUND, INVALID_REQUEST, and
 * KEY_DISABLED, KEY_ARCHIVED, KEY_PENDING_DELETION or KEY_DESTROYED, after the state, for a transition that is not allowed.
 */
export interface KekLifecycle {
  /** `by`, as everywhere here: who asked, for the record. */
  createKek(name: string, labels: ReadonlyMap<string, string>, by: string): Promise<KekDescription>;
  rotateKek(kek: string, by: string): Promise<KekDescription>;
  /** Does nothing when the KEK is in the wanted state. */
  changeKek(kek: string, change: KekChange, by: string): Promise<KekDescription>;
  scheduleKekDeletion(kek: string, request: DeletionRequest): Promise<KekDescription>;
  cancelKekDeletion(kek: string, by: string): Promise<KekDescription>;
  /** Refuses, or serves again, the DEKs of one key and partition under that KEK: scope `access`, condition `disabled`. */
  changePartition(
    kek: string,
    keyName: string,
    partition: ReadonlyMap<string, string>,
    change: 'disable' | 'enable',
    by: string,
  ): Promise<void>;
  /** Every KEK of the store, by name. */
  listKeks(): Promise<{ readonly name: string; readonly kek: KekDescription }[]>;
  /** A consistent copy of the store, its keys wrapped under the root key. */
  backup(): Promise<Buffer>;
  /** Called after each change of a KEK, whether a call made it or its time had come (rotation, expiry, destruction). */
  onKekChange: ((kek: KekDescription) => void) | undefined;
}

export function hasLifecycle(upstream: Upstream): upstream is Upstream & KekLifecycle {
  return 'createKek' in upstream && 'rotateKek' in upstream;
}
