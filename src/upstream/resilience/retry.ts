import type { UpstreamClock } from '../clock.ts';
import { UpstreamFailure } from '../failure.ts';
import { GivenUp } from './attempt.ts';
import { ATTEMPT_MS, MAX_RETRIES, MIN_RETRY_MS, RETRY_PAUSE_MS } from './limits.ts';

/**
 * Gives `attempt` the time that it has, ATTEMPT_MS for all tries together, and repeats it after a quick failure that may be gone at once. Never
 * after an answer, and never after *unauthenticated*: some tokens lock when a PIN is wrong a few times.
 */
export async function retrying<T>(
  clock: UpstreamClock,
  signal: AbortSignal,
  attempt: (timeOutMs: number) => Promise<T>,
): Promise<T> {
  const startedAtMs = clock.bootMs();
  const leftMs = (): number => ATTEMPT_MS - (clock.bootMs() - startedAtMs);
  for (let retries = 0; ; retries++) {
    try {
      return await attempt(Math.max(leftMs(), 1));
    } catch (thrown) {
      const pauseMs = retryPauseMs(thrown, retries, clock);
      if (retries === MAX_RETRIES || pauseMs === undefined || leftMs() - pauseMs < MIN_RETRY_MS) throw thrown;
      await new Promise<void>((resolve) => clock.after(pauseMs, resolve));
      if (signal.aborted) throw new GivenUp();
    }
  }
}

/** Undefined for what must not be tried again. */
function retryPauseMs(thrown: unknown, retries: number, clock: UpstreamClock): number | undefined {
  if (!(thrown instanceof UpstreamFailure) || thrown instanceof GivenUp) return undefined;
  if (thrown.class !== 'unreachable' && thrown.class !== 'throttled') return undefined;
  return Math.max(clock.random() * RETRY_PAUSE_MS * 2 ** retries, thrown.retryAfterMs ?? 0);
}
