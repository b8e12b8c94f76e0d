import { type BulkheadPolicy, BulkheadRejectedError, bulkhead, TaskCancelledError } from 'cockatiel';
import { DekdError } from '../../errors.ts';
import type { UpstreamClock } from '../clock.ts';
import type { CallPurpose } from '../provider.ts';
import { GivenUp } from './attempt.ts';
import { CALLS, MAX_WAIT_MS } from './limits.ts';

/** What a caller should wait who found the room full: the calls in it take a second at most. */
const RETRY_MS = 1_000;

/** How many calls of each purpose may be under way at one upstream. */
export class Rooms {
  readonly #rooms: Readonly<Record<CallPurpose, BulkheadPolicy>> = {
    miss: bulkhead(CALLS.miss.atOnce, CALLS.miss.waiting),
    refresh: bulkhead(CALLS.refresh.atOnce, CALLS.refresh.waiting),
    background: bulkhead(CALLS.background.atOnce, CALLS.background.waiting),
  };

  readonly #clock: UpstreamClock;
  readonly #upstreamName: string;

  constructor(upstreamName: string, clock: UpstreamClock) {
    this.#upstreamName = upstreamName;
    this.#clock = clock;
  }

  /**
   * Runs `call` when there is room for it. Throws QUOTA_EXCEEDED when too many misses wait, or one waited for too long: our own shortage,
   * which says nothing about the upstream.
   */
  async run<T>(purpose: CallPurpose, signal: AbortSignal, call: () => Promise<T>): Promise<T> {
    const beganAtMs = this.#clock.bootMs();
    const inTime = (): Promise<T> => {
      if (purpose === 'miss' && this.#clock.bootMs() - beganAtMs > MAX_WAIT_MS) throw this.#full();
      return call();
    };
    try {
      return await this.#rooms[purpose].execute(inTime, signal);
    } catch (thrown) {
      if (thrown instanceof TaskCancelledError) throw new GivenUp();
      throw thrown instanceof BulkheadRejectedError ? this.#full() : thrown;
    }
  }

  #full(): DekdError {
    const text = `upstream ${this.#upstreamName}: more calls wait for it than it answers in time; try again later`;
    return new DekdError('QUOTA_EXCEEDED', text, {
      metadata: { upstream: this.#upstreamName },
      retryAfterMs: RETRY_MS,
    });
  }
}
