import type { Reason } from '../errors.ts';

/** How `dekd` and `dekctl` end; docs/command-line.md says the same, and a test compares the two. */
export const EXIT = {
  ok: 0,
  /** Anything that has no number of its own; `health`: not serving. */
  failure: 1,
  /** A flag, a field of the request or the configuration is wrong. */
  usage: 2,
  /** No agent listens on the socket, or it may not be opened. */
  noAgent: 3,
  /** The caller, or dekd at its upstream, may not do that. */
  denied: 4,
  /** The ciphertext does not open with this context, associated data and key. */
  invalidCiphertext: 5,
  /** The same call may succeed later. */
  unavailable: 6,
  /** The key does not exist, exists already, or is disabled, archived or deleted. */
  keyState: 7,
  /** A file or pipe cannot be read or written. */
  inputOutput: 8,
  /** Interrupted a second time. */
  interrupted: 130,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

export const EXIT_BY_REASON: Readonly<Record<Reason, ExitCode>> = {
  INVALID_REQUEST: EXIT.usage,
  MESSAGE_TOO_LARGE: EXIT.usage,
  INVALID_CIPHERTEXT: EXIT.invalidCiphertext,
  KEY_MISMATCH: EXIT.invalidCiphertext,
  POLICY_DENIED: EXIT.denied,
  UPSTREAM_REFUSED: EXIT.denied,
  KEY_NOT_FOUND: EXIT.keyState,
  KEY_EXISTS: EXIT.keyState,
  KEY_DISABLED: EXIT.keyState,
  KEY_ARCHIVED: EXIT.keyState,
  KEY_PENDING_DELETION: EXIT.keyState,
  KEY_DESTROYED: EXIT.keyState,
  UPSTREAM_UNAVAILABLE: EXIT.unavailable,
  UPSTREAM_THROTTLED: EXIT.unavailable,
  UPSTREAM_UNAUTHENTICATED: EXIT.unavailable,
  UPSTREAM_FAULT: EXIT.unavailable,
  QUOTA_EXCEEDED: EXIT.unavailable,
  SECRET_MEMORY_EXHAUSTED: EXIT.unavailable,
  DEADLINE_EXCEEDED: EXIT.unavailable,
  CANCELLED: EXIT.failure,
  UNIMPLEMENTED: EXIT.failure,
  INTERNAL: EXIT.failure,
};
