/** Who caused an error, and so whom it concerns: the caller, dekd itself, or an upstream. */
export type Fault = 'caller' | 'us' | 'upstream';

/**
 * Every reason that dekd gives for an error: the `reason` of google.rpc.ErrorInfo (domain `dekd`).
 * `retry` says whether the same call may succeed later without anybody changing anything; `meaning` and `remedy` are for docs/errors.md, which
 * tools/errors-page.ts writes.
 */
export const REASONS = {
  INVALID_REQUEST: {
    fault: 'caller',
    retry: false,
    meaning: 'a field of the request, the configuration or a command breaks its form or a limit',
    remedy: 'correct the field that `metadata.field` and the message name',
  },
  INVALID_CIPHERTEXT: {
    fault: 'caller',
    retry: false,
    meaning:
      'the ciphertext is malformed, or does not open: wrong context, associated data, key or KEK, or a byte was altered; one wording for all that depends on a key',
    remedy:
      'give exactly the context and associated data of the encryption; look at the public parts with `dekctl inspect`; a changed byte cannot be repaired',
  },
  KEY_MISMATCH: {
    fault: 'caller',
    retry: false,
    meaning: '`expected_key` is another key than the one that encrypted this',
    remedy: 'expect the key that the message names, or leave `expected_key` out',
  },
  POLICY_DENIED: {
    fault: 'caller',
    retry: false,
    meaning: 'no rule allows this caller the call, or the key is one that it may not see, whether it exists or not',
    remedy: "add a rule with its uid or gid to the key's `allow` (or to `admin`) and restart dekd",
  },
  KEY_NOT_FOUND: {
    fault: 'caller',
    retry: false,
    meaning: 'there is no such key or KEK; only callers who may see every key hear this',
    remedy: 'list the keys with `dekctl keys list`; make a KEK with `dekctl keys create`',
  },
  KEY_EXISTS: {
    fault: 'caller',
    retry: false,
    meaning: 'CreateKey of a name that is taken',
    remedy: 'make a new version with `dekctl keys rotate`, or choose another name',
  },
  KEY_DISABLED: {
    fault: 'caller',
    retry: false,
    meaning: 'the key or the partition is disabled or revoked and refuses every use',
    remedy:
      'a custodian enables it: `dekctl keys enable`, `dekctl partitions enable`; what a file of revocations revokes, its entry there',
  },
  KEY_ARCHIVED: {
    fault: 'caller',
    retry: false,
    meaning:
      'the key, or the KEK version that the ciphertext needs, is archived: nothing is encrypted, and only rules with `archived: true` decrypt',
    remedy:
      "give the caller's rule `archived: true`; for a whole key, a custodian brings it back with `dekctl keys enable`",
  },
  KEY_PENDING_DELETION: {
    fault: 'caller',
    retry: false,
    meaning: 'the key will be destroyed and refuses every use',
    remedy:
      'a custodian stops that with `dekctl keys cancel-deletion`, until the time that `dekctl keys describe` shows',
  },
  KEY_DESTROYED: {
    fault: 'caller',
    retry: false,
    meaning: 'the key is destroyed; what it encrypted cannot be read any more',
    remedy: 'none; a backup of the keystore from before and its root key still open it',
  },
  UPSTREAM_REFUSED: {
    fault: 'upstream',
    retry: false,
    meaning: 'the upstream refuses this agent the KEK, or has no such KEK',
    remedy: "look at the agent's rights at its upstream; make a missing local KEK with `dekctl keys create`",
  },
  UPSTREAM_UNAVAILABLE: {
    fault: 'upstream',
    retry: true,
    meaning: 'the upstream gives no answer, and nothing usable is in memory',
    remedy: 'try again; if it lasts, look at `dekctl status` and the log event `upstream_outage`',
  },
  UPSTREAM_THROTTLED: {
    fault: 'upstream',
    retry: true,
    meaning: 'the upstream throttles, and nothing usable is in memory',
    remedy: 'try again after the time that RetryInfo gives; raise the quota at the upstream if it lasts',
  },
  UPSTREAM_UNAUTHENTICATED: {
    fault: 'upstream',
    retry: true,
    meaning: "the upstream does not take the agent's credentials, and nothing usable is in memory",
    remedy: "renew the agent's credentials for its upstream",
  },
  UPSTREAM_FAULT: {
    fault: 'upstream',
    retry: true,
    meaning: 'what the upstream wrapped does not verify, or it no longer opens what it opened before',
    remedy:
      'try again; if it lasts, the upstream or the way to it is broken, or its KEK was deleted and made anew: `dekctl flush KEY`',
  },
  QUOTA_EXCEEDED: {
    fault: 'caller',
    retry: true,
    meaning:
      "too much at once: upstream calls for what is not in memory (`limits.upstream_calls`), DEKs of one key under way, requests held in memory (128 MiB in all), or a DEK at its suite's limit of messages",
    remedy:
      'try again after the time that RetryInfo gives, with fewer calls at once; where the message names a setting, raise it: a key in cache mode `none` or `request` needs as many upstream calls a second as it has operations or requests, times the calls that each makes',
  },
  MESSAGE_TOO_LARGE: {
    fault: 'caller',
    retry: false,
    meaning: 'a message over 4 MiB or over `limits.message`, or an answer that would be',
    remedy: 'encrypt large data yourself with a data key; for a backup, follow the message',
  },
  SECRET_MEMORY_EXHAUSTED: {
    fault: 'us',
    retry: true,
    meaning: 'no room for another key is left in secret memory, and none can make way',
    remedy: 'raise `memory.size` (and RLIMIT_MEMLOCK), or lower `max_deks` and `max_partitions`',
  },
  DEADLINE_EXCEEDED: {
    fault: 'caller',
    retry: false,
    meaning: "the call's deadline passed, or its message was not complete 10 s after its headers",
    remedy: 'give the call more time, or find out why the upstream is slow',
  },
  CANCELLED: {
    fault: 'caller',
    retry: false,
    meaning: 'the caller cancelled, or the agent is stopping',
    remedy: 'none when you cancelled; else call again once the agent is back',
  },
  UNIMPLEMENTED: {
    fault: 'caller',
    retry: false,
    meaning:
      'declared in the `.proto`, not served by this version; or a call whose message is compressed, or that has not exactly one message',
    remedy: 'use a version that serves it; let a gRPC library write the call, without compression',
  },
  INTERNAL: {
    fault: 'us',
    retry: false,
    meaning: "an error of dekd's own; message and `metadata.request_id` have the request's id and nothing else",
    remedy: 'find the id in the log (event `internal_error`) and report it',
  },
} as const satisfies Record<string, { fault: Fault; retry: boolean; meaning: string; remedy: string }>;

export type Reason = keyof typeof REASONS;

export interface DekdErrorOptions {
  /** For the log only; never shown to a caller. */
  cause?: unknown;
  /** Public facts for ErrorInfo.metadata, e.g. `{ field: 'number_of_bytes' }`. */
  metadata?: Readonly<Record<string, string>>;
  /** How long the caller should wait before a retry, in milliseconds. */
  retryAfterMs?: number;
}

/** The one error that crosses dekd's parts. `message` is for the caller and holds no secret; `cause` is for the log. */
export class DekdError extends Error {
  override readonly name = 'DekdError';
  readonly reason: Reason;
  readonly metadata: Readonly<Record<string, string>>;
  readonly retryAfterMs: number | undefined;

  constructor(reason: Reason, message: string, options: DekdErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.reason = reason;
    this.metadata = options.metadata ?? {};
    this.retryAfterMs = options.retryAfterMs;
  }

  get fault(): Fault {
    return REASONS[this.reason].fault;
  }

  get retryable(): boolean {
    return REASONS[this.reason].retry;
  }

  /** Anything thrown becomes a DekdError; what is not ours is INTERNAL, its text kept for the log. */
  static from(thrown: unknown): DekdError {
    if (thrown instanceof DekdError) return thrown;
    return new DekdError('INTERNAL', 'internal error', { cause: thrown });
  }
}

/** A request that breaks a limit or a form; `field` is its path in the message, e.g. `encryption_context`. */
export function invalidField(field: string, problem: string): DekdError {
  return new DekdError('INVALID_REQUEST', `${field}: ${problem}`, { metadata: { field } });
}
