/** One call at an upstream, retries included: a KMS answers in 50 ms at p99, so a second is an outage. */
export const ATTEMPT_MS = 1_000;
/** A retry is for a failure that came quickly and may be gone at once: more than two would only keep the caller waiting. */
export const MAX_RETRIES = 2;
/** The longest pause before the first retry, doubled for the second; the pause is drawn from all of it (full jitter). */
export const RETRY_PAUSE_MS = 100;
/** What a retry must have left of the call's second, or a slow answer would look like none. */
export const MIN_RETRY_MS = ATTEMPT_MS / 2;
/** Failures in a row that open a breaker: fewer would let one lost connection of many calls stop all, more would keep more callers waiting. */
export const FAILURES_TO_OPEN = 5;
/** At most so often the upstream itself is asked whether it is out, when only what callers brought has failed. */
export const CONFIRM_PAUSE_MS = 1_000;
/** How often an outage is probed. It starts early enough that a probe which takes its whole second still ends within 5 s of the one before. */
export const PROBE_PAUSE_MS = 3_000;
/** The agents of a fleet that lost their upstream together do not probe it together. */
export const PROBE_JITTER_MS = 600;
/** What a throttling upstream asks for is heeded so far: it must not put off for long that a revocation is noticed. */
export const MAX_THROTTLE_MS = 30_000;
/**
 * Calls under way at one upstream. Together under the 128 that a child process takes; each kind has a room of its own, so that misses, which
 * callers make, never keep the DEKs that are held from being refreshed.
 */
export const CALLS = {
  /**
   * For a DEK that is not held: all that are needed after a start come at once. One payer holds three quarters of the places at most, so that the next one's
   * call begins at once, and half of those that wait.
   */
  miss: { atOnce: 64, atOnceOfOne: 48, waiting: 1_000, waitingOfOne: 500 },
  /** For a held DEK, with a request that waits for it: as many wait as DEKs are held. */
  refresh: { atOnce: 32, waiting: Number.MAX_SAFE_INTEGER },
  /** Refreshes ahead of need, confirmations of refusals: the keyring makes few at once. */
  background: { atOnce: 16, waiting: Number.MAX_SAFE_INTEGER },
  /** Descriptions for administrators: a script that asks in a loop takes nothing from misses. */
  administration: { atOnce: 8, waiting: 100 },
} as const;
/** A miss, or a description, that waited longer is not made: its caller has 10 s for all its calls, and would be gone when the last one is answered. */
export const MAX_WAIT_MS = 3_000;
