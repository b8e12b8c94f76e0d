import { systemClock } from '../keyring/clock.ts';
import type { DeletionFacts, KekFacts, KekVersionFacts } from './administration.ts';
import type { Call } from './call.ts';
import { keyFacts } from './describe-key.ts';
import { KEY_STATES, ROLES } from './key-state.ts';
import type { Parts } from './parts.ts';
import { authorize, checkKeyName } from './request.ts';
import { duration, timestamp } from './time.ts';

const VERSION_STATES = {
  active: 'KEK_VERSION_STATE_ACTIVE',
  'decrypt-only': 'KEK_VERSION_STATE_DECRYPT_ONLY',
  archived: 'KEK_VERSION_STATE_ARCHIVED',
  disabled: 'KEK_VERSION_STATE_DISABLED',
  'pending-deletion': 'KEK_VERSION_STATE_PENDING_DELETION',
  destroyed: 'KEK_VERSION_STATE_DESTROYED',
} as const;

/** What the data socket shows of a key, and its KEKs as their upstreams describe them. */
export async function adminDescribeKey(request: { key: string }, call: Call, parts: Parts): Promise<object> {
  checkKeyName('key', request.key);
  const keyring = authorize('AdminDescribeKey', request.key, call, parts);
  const keks = await parts.administration.describeKeks(keyring, call.signal);
  return { key: keyFacts(keyring), keks: keks.map(kekMessage) };
}

function kekMessage({ kek, role, description, nextRotationAt, problem }: KekFacts): object {
  return {
    upstream: kek.upstreamName,
    kek: kek.uri,
    role: role === undefined ? 'RECIPIENT_ROLE_UNSPECIFIED' : ROLES[role],
    state: description === undefined ? 'KEY_STATE_UNSPECIFIED' : KEY_STATES[description.state],
    state_changed_at: optionalTimestamp(description?.stateChangedAt),
    state_changed_by: description?.stateChangedBy ?? '',
    labels: Object.fromEntries(description?.labels ?? []),
    versions: description?.versions.map(versionMessage) ?? [],
    expires_at: optionalTimestamp(description?.expiresAt),
    next_rotation_at: optionalTimestamp(nextRotationAt),
    deletion: description?.deletion === undefined ? undefined : deletionMessage(description.deletion),
    problem: problem ?? '',
  };
}

function versionMessage({ version, state, createdAt, createdBy, destroyedAt, destroyedBy }: KekVersionFacts): object {
  return {
    version,
    state: VERSION_STATES[state],
    created_at: timestamp(createdAt),
    created_by: createdBy ?? '',
    // A wall clock that was set back makes no age below zero.
    age: duration(Math.max(0, systemClock.wallMs() - createdAt)),
    destroyed_at: optionalTimestamp(destroyedAt),
    destroyed_by: destroyedBy ?? '',
  };
}

function deletionMessage({ requestedBy, waitingPeriodMs, at }: DeletionFacts): object {
  return { requested_by: requestedBy, waiting_period: duration(waitingPeriodMs), deletion_at: optionalTimestamp(at) };
}

function optionalTimestamp(unixMs: number | undefined): object | undefined {
  return unixMs === undefined ? undefined : timestamp(unixMs);
}
