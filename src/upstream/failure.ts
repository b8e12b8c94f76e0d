/** What an upstream's error means. Whatever is not on a provider's list of refusals is `unreachable`. */
export type FailureClass = 'unreachable' | 'throttled' | 'unauthenticated' | 'refused' | 'invalid';

/**
 * How far a refusal reaches: `kek` = every DEK of which that KEK is an authority; `version` = the DEKs wrapped under that KEK
 * version; `access` = the DEKs of that key and partition.
 */
export type RefusalScope = 'kek' | 'version' | 'access';

/** Why a key refuses, where the upstream says it: shown to callers as KEY_DISABLED and the like instead of UPSTREAM_REFUSED. */
export type KekCondition = 'missing' | 'disabled' | 'archived' | 'pending-deletion' | 'destroyed';

/** An upstream's error, classified once, at the provider's edge. */
export class UpstreamFailure extends Error {
  override readonly name = 'UpstreamFailure';
  readonly class: FailureClass;
  /** Set exactly when `class` is `refused`. */
  readonly scope: RefusalScope | undefined;
  readonly condition: KekCondition | undefined;
  /** The upstream's own wish for a pause, in milliseconds. */
  readonly retryAfterMs: number | undefined;

  constructor(
    failureClass: FailureClass,
    message: string,
    options: { scope?: RefusalScope; condition?: KekCondition; retryAfterMs?: number; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.class = failureClass;
    this.scope = failureClass === 'refused' ? (options.scope ?? 'access') : undefined;
    this.condition = options.condition;
    this.retryAfterMs = options.retryAfterMs;
  }

  static from(thrown: unknown): UpstreamFailure {
    if (thrown instanceof UpstreamFailure) return thrown;
    return new UpstreamFailure('unreachable', 'the upstream failed in an unknown way', { cause: thrown });
  }
}
