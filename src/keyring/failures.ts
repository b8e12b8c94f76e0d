import { DekdError, type Reason } from '../errors.ts';
import type { FailureClass, KekCondition, UpstreamFailure } from '../upstream/failure.ts';
import { howToMakeKek } from '../upstream/kek-references.ts';
import type { KekState } from '../upstream/provider.ts';
import { MAX_THROTTLE_MS, PROBE_INTERVAL_MS } from './options.ts';

const UNAVAILABLE: Record<Exclude<FailureClass, 'refused' | 'invalid'>, { reason: Reason; what: string }> = {
  unreachable: { reason: 'UPSTREAM_UNAVAILABLE', what: 'cannot be reached' },
  throttled: { reason: 'UPSTREAM_THROTTLED', what: 'is throttling' },
  unauthenticated: { reason: 'UPSTREAM_UNAUTHENTICATED', what: "does not accept the agent's credentials" },
};

const CONDITIONS: Record<KekCondition, Reason> = {
  disabled: 'KEY_DISABLED',
  archived: 'KEY_ARCHIVED',
  'pending-deletion': 'KEY_PENDING_DELETION',
  destroyed: 'KEY_DESTROYED',
  missing: 'UPSTREAM_REFUSED',
};

/**
 * What a caller hears when an upstream's failure ends its call. The upstream's own words go to the log only. `kekUri` is for a failure that may say
 * that there is no such KEK.
 */
export function fromUpstream(
  keyName: string,
  upstreamName: string,
  failure: UpstreamFailure,
  kekUri?: string,
): DekdError {
  const metadata = { key: keyName, upstream: upstreamName };
  if (failure.class === 'refused') {
    const reason = failure.condition === undefined ? 'UPSTREAM_REFUSED' : CONDITIONS[failure.condition];
    const text = `key ${keyName}: upstream ${upstreamName} ${refusalText(failure, kekUri)}`;
    return new DekdError(reason, text, { cause: failure, metadata });
  }
  if (failure.class === 'invalid') {
    return new DekdError('UPSTREAM_FAULT', `key ${keyName}: upstream ${upstreamName} wrapped a DEK wrongly`, {
      cause: failure,
      metadata,
      retryAfterMs: PROBE_INTERVAL_MS,
    });
  }
  const { reason, what } = UNAVAILABLE[failure.class];
  return new DekdError(reason, `key ${keyName}: upstream ${upstreamName} ${what} and no usable DEK is in memory`, {
    cause: failure,
    metadata,
    // No longer than dekd itself leaves it alone.
    retryAfterMs: Math.min(failure.retryAfterMs ?? PROBE_INTERVAL_MS, MAX_THROTTLE_MS),
  });
}

const STATE_TEXTS: Record<Exclude<KekState, 'active'>, string> = {
  disabled: 'is disabled; a custodian enables it with `dekctl keys enable`',
  archived:
    'is archived: it decrypts only, for callers whose rule says `archived: true`; a custodian brings it back with `dekctl keys enable`',
  'pending-deletion': 'waits for its destruction; a custodian stops that with `dekctl keys cancel-deletion`',
  destroyed: 'is destroyed; what it encrypted cannot be read any more',
};

/** What a caller hears of a key whose state, led here, does not allow the call. `active` is INTERNAL: nobody refuses that. */
export function keyRefused(keyName: string, state: KekState): DekdError {
  if (state === 'active') throw new DekdError('INTERNAL', 'internal error: an active key was refused');
  return new DekdError(CONDITIONS[state], `key ${keyName} ${STATE_TEXTS[state]}`, { metadata: { key: keyName } });
}

/** So many DEKs of one key are under way that another must wait; `what` is what happens to them. */
export function tooMany(keyName: string, what: 'made' | 'unwrapped'): DekdError {
  return new DekdError('QUOTA_EXCEEDED', `key ${keyName}: too many DEKs are being ${what} at once; try again later`, {
    metadata: { key: keyName },
    retryAfterMs: 1_000,
  });
}

function refusalText({ condition, scope }: UpstreamFailure, kekUri: string | undefined): string {
  if (condition === undefined) return 'refuses the use of its KEK';
  if (condition === 'missing')
    return `has no such KEK; ${kekUri === undefined ? 'make it there' : howToMakeKek(kekUri)}`;
  if (condition === 'disabled' && scope === 'access') {
    return 'refuses this partition: it is disabled; a custodian enables it with `dekctl partitions enable`';
  }
  return `says that its KEK is ${condition}`;
}
