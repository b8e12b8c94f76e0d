import type { ProtoTime } from '../json-document.ts';

export interface StatusResponse {
  readonly version: string;
  readonly node_version: string;
  readonly profile: string;
  readonly started_at: ProtoTime | null;
  readonly as_of: ProtoTime | null;
  readonly memory: {
    readonly kind: string;
    readonly size: string;
    readonly slots: string;
    readonly slots_used: string;
    readonly sealed: string;
    readonly max_sealed: string;
    readonly free_raw: string;
  } | null;
  readonly upstreams: readonly UpstreamStatus[];
  readonly keys: readonly KeyStatus[];
  readonly warnings: readonly string[];
  readonly next_page_token: string;
  readonly revocations: {
    readonly file: string;
    readonly entries: number;
    readonly changed_at: ProtoTime | null;
    readonly sha256: string;
    readonly looked_at: ProtoTime | null;
  } | null;
}

export interface UpstreamStatus {
  readonly upstream: string;
  readonly type: string;
  readonly state: string;
  readonly as_of: ProtoTime | null;
  readonly since: ProtoTime | null;
  readonly calls: string;
  readonly failures: string;
  readonly warnings: readonly string[];
  readonly breaker: string;
  readonly last_failure: string;
  readonly last_failure_at: ProtoTime | null;
  readonly last_failure_message: string;
  readonly drill: { readonly failure_class: string; readonly ends_at: ProtoTime | null } | null;
  readonly child_pids: readonly number[];
}

export interface KeyStatus extends ServingTime {
  readonly key: string;
  readonly state: string;
  readonly cache_mode: string;
  readonly keks: readonly KekStatus[];
  readonly deks: readonly DekStatus[];
  readonly encrypting_deks: string;
  readonly decrypting_deks: string;
  readonly deks_in_grace: string;
  readonly rotations_overdue: string;
  readonly refusals_pending: string;
  readonly oldest_verification_age: ProtoTime | null;
  readonly grace_left: ProtoTime | null;
  readonly counters: Readonly<Record<string, string>>;
}

export interface DekStatus {
  readonly dek_id: string;
  readonly class: string;
  readonly partition: Readonly<Record<string, string>>;
  readonly age: ProtoTime | null;
  readonly verification_age: ProtoTime | null;
  readonly verified_by: string;
  readonly messages: string;
  readonly rotation_overdue: boolean;
  readonly refusal_pending: boolean;
  readonly in_grace: boolean;
  readonly archived: boolean;
  readonly rotation_in: ProtoTime | null;
}

/** Until when a key's DEKs serve if no upstream answers any more. */
export interface ServingTime {
  readonly serves_until: ProtoTime | null;
  readonly last_serves_until: ProtoTime | null;
  readonly serves_without_end: boolean;
}

export interface KekStatus {
  readonly upstream: string;
  readonly kek: string;
  readonly role: string;
  readonly missing_deks: number;
  readonly state: string;
  readonly as_of: ProtoTime | null;
  readonly since: ProtoTime | null;
  readonly last_failure: string;
  readonly last_failure_at: ProtoTime | null;
  readonly last_failure_message: string;
}
