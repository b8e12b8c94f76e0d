/** What one key's keyring has done since the process started; public in GetStatus, by these names. */
export class Counters {
  encrypt_hits = 0;
  encrypt_misses = 0;
  decrypt_hits = 0;
  decrypt_misses = 0;
  /** Misses that joined a call already under way. */
  coalesced = 0;
  /** Served past ttl because the upstream did not answer. */
  grace_served = 0;
  deks_created = 0;
  wraps = 0;
  unwraps = 0;
  upstream_failures = 0;
  refreshes = 0;
  refresh_failures = 0;
  refusals_seen = 0;
  refusals_confirmed = 0;
  /** DEKs zeroed because of a refusal, or because somebody disabled or flushed them. */
  purged = 0;
  /** DEKs zeroed to make room, and because their time was over. */
  evicted = 0;
  expired = 0;
  rotations = 0;
  rotation_failures = 0;
  /** Misses answered from the memory of negative answers. */
  negative_hits = 0;
  /** Misses refused because of `limits.upstream_calls`. */
  quota_refused = 0;
  /** Recipients that new DEKs were not wrapped for, since they gave no answer (`wrap: any`). */
  recipients_missing = 0;
  /** Rewrapped blocks of a held DEK that were accepted. */
  aliases = 0;
  clock_steps = 0;
}
