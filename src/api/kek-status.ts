import type { Kek } from '../keyring/kek.ts';
import type { KeyOptions, RecipientRole } from '../keyring/options.ts';
import { ROLES } from './key-state.ts';
import { bootTimestamp } from './time.ts';

/** A KEK as a key's configuration names it; without a role in `decrypt_with`. */
export interface NamedKek {
  readonly kek: Kek;
  readonly role: RecipientRole | undefined;
}

/** Every KEK of a key, in the configuration's order. */
export function namedKeks({ recipients, decryptWith }: KeyOptions): readonly NamedKek[] {
  return [...recipients, ...decryptWith.map((kek) => ({ kek, role: undefined }))];
}

/** KekStatus: what this agent's own calls found. `missing`: how many DEKs lack which KEK. */
export function kekStatus({ kek, role }: NamedKek, missing: ReadonlyMap<Kek, number>): object {
  return {
    upstream: kek.upstreamName,
    kek: kek.uri,
    role: roleName(role),
    missing_deks: missing.get(kek) ?? 0,
    ...kekHealth(kek),
  };
}

export function roleName(role: RecipientRole | undefined): string {
  return role === undefined ? 'RECIPIENT_ROLE_UNSPECIFIED' : ROLES[role];
}

/** The fields that UpstreamStatus and KekStatus have in common; of a KEK that was never called they are empty. */
export function kekHealth(kek: Kek | undefined): object {
  if (kek === undefined || kek.health.state === 'unknown') return { state: '', ...lastFailure(kek) };
  const { state, atMs, sinceMs } = kek.health;
  return { state, as_of: bootTimestamp(atMs), since: bootTimestamp(sinceMs), ...lastFailure(kek) };
}

export function lastFailure(kek: Kek | undefined): object {
  const { failureClass, failedAtMs, failureText } = kek?.health ?? {};
  return {
    last_failure: failureClass ?? '',
    last_failure_at: failedAtMs === undefined ? undefined : bootTimestamp(failedAtMs),
    last_failure_message: failureText ?? '',
  };
}
