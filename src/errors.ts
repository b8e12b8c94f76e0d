/** Who caused an error, and so whom it concerns: the caller, dekd itself, or an upstream. */
export type Fault = 'caller' | 'us' | 'upstream';

/**
 * Every reason that dekd gives for an error: the `reason` of google.rpc.ErrorInfo (domain `dekd`).
 * `retry` says whether the same call may succeed later without anybody changing anything.
 */
export const REASONS = {
  INVALID_REQUEST: { fault: 'caller', retry: false },
  INVALID_CIPHERTEXT: { fault: 'caller', retry: false },
  KEY_MISMATCH: { fault: 'caller', retry: false },
  POLICY_DENIED: { fault: 'caller', retry: false },
  KEY_NOT_FOUND: { fault: 'caller', retry: false },
  KEY_EXISTS: { fault: 'caller', retry: false },
  KEY_DISABLED: { fault: 'caller', retry: false },
  KEY_ARCHIVED: { fault: 'caller', retry: false },
  KEY_PENDING_DELETION: { fault: 'caller', retry: false },
  KEY_DESTROYED: { fault: 'caller', retry: false },
  UPSTREAM_REFUSED: { fault: 'upstream', retry: false },
  UPSTREAM_UNAVAILABLE: { fault: 'upstream', retry: true },
  UPSTREAM_THROTTLED: { fault: 'upstream', retry: true },
  UPSTREAM_UNAUTHENTICATED: { fault: 'upstream', retry: true },
  UPSTREAM_FAULT: { fault: 'upstream', retry: true },
  QUOTA_EXCEEDED: { fault: 'caller', retry: true },
  MESSAGE_TOO_LARGE: { fault: 'caller', retry: false },
  SECRET_MEMORY_EXHAUSTED: { fault: 'us', retry: true },
  DEADLINE_EXCEEDED: { fault: 'caller', retry: false },
  CANCELLED: { fault: 'caller', retry: false },
  UNIMPLEMENTED: { fault: 'caller', retry: false },
  INTERNAL: { fault: 'us', retry: false },
} as const satisfies Record<string, { fault: Fault; retry: boolean }>;

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
