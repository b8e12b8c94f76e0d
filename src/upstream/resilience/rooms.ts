import { type BulkheadPolicy, BulkheadRejectedError, bulkhead, TaskCancelledError } from 'cockatiel';
import { DekdError } from '../../errors.ts';
import type { CallPurpose } from '../provider.ts';
import { GivenUp } from './attempt.ts';
import { CALLS } from './limits.ts';

/** What a caller should wait who found the room full: the calls in it take a second at most. */
const RETRY_MS = 1_000;

/** How many calls of each purpose may be under way at one upstream. */
export class Rooms {
  readonly #rooms: Readonly<Record<CallPurpose, BulkheadPolicy>> = {
    miss: bulkhead(CALLS.miss.atOnce, CALLS.miss.waiting),
    refresh: bulkhead(CALLS.refresh.atOnce, CALLS.refresh.waiting),
    background: bulkhead(CALLS.background.atOnce, CALLS.background.waiting),
  };

  /** Runs `call` when there is room for it. Throws QUOTA_EXCEEDED when too many wait: our own shortage, which says nothing about the upstream. */
  async run<T>(purpose: CallPurpose, signal: AbortSignal, call: () => Promise<T>): Promise<T> {
    try {
      return await this.#rooms[purpose].execute(call, signal);
    } catch (thrown) {
      if (thrown instanceof TaskCancelledError) throw new GivenUp();
      if (!(thrown instanceof BulkheadRejectedError)) throw thrown;
      throw new DekdError('QUOTA_EXCEEDED', 'too many calls wait for this upstream; try again later', {
        retryAfterMs: RETRY_MS,
      });
    }
  }
}
