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

export type KekState = 'active' | 'disabled' | 'archived' | 'pending-deletion' | 'destroyed';

export interface KekVersionDescription {
  readonly version: string;
  /** `active` = wraps; `decrypt-only` = unwraps only. */
  readonly state: KekState | 'decrypt-only';
  /** Unix milliseconds. */
  readonly createdAt: number;
}

export interface KekDescription {
  /** URI in normal form. */
  readonly uri: string;
  readonly state: KekState;
  readonly versions: readonly KekVersionDescription[];
  readonly labels: ReadonlyMap<string, string>;
}

export interface UpstreamCallOptions {
  /** Aborts when nobody waits any more or the attempt's time is over. */
  readonly signal: AbortSignal;
}

/** A service that holds KEKs and never gives them out. Every method throws UpstreamFailure, and DekdError SECRET_MEMORY_EXHAUSTED when no slot is left. */
export interface Upstream {
  readonly type: UpstreamType;
  /**
   * A KEK reference of the configuration in normal form (`local:orders` → `local:0123456789abcdef/orders`). Does not ask whether the KEK
   * exists. Throws DekdError INVALID_REQUEST for a reference that can't be one.
   */
  resolve(reference: string): string;
  wrap(kek: string, dek: SlotHandle, context: WrapContext, options: UpstreamCallOptions): Promise<WrappedDek>;
  /** The DEK goes straight into secret memory; the caller owns the handle and has not yet verified dek_id. */
  unwrap(kek: string, wrapped: WrappedDek, context: WrapContext, options: UpstreamCallOptions): Promise<SlotHandle>;
  describe(kek: string, options: UpstreamCallOptions): Promise<KekDescription>;
  /** Facts that an operator must see in log and status, e.g. a development root key. */
  readonly warnings: readonly string[];
  close(): Promise<void>;
}

/** Upstreams where dekd may make and rotate KEKs. Throws DekdError (KEY_EXISTS, KEY_NOT_FOUND, INVALID_REQUEST) for the caller's faults. */
export interface KekLifecycle {
  createKek(name: string, labels: ReadonlyMap<string, string>): Promise<KekDescription>;
  rotateKek(kek: string): Promise<KekDescription>;
  /** Every KEK of the store, by name. */
  listKeks(): Promise<{ readonly name: string; readonly kek: KekDescription }[]>;
}

export function hasLifecycle(upstream: Upstream): upstream is Upstream & KekLifecycle {
  return 'createKek' in upstream && 'rotateKek' in upstream;
}
