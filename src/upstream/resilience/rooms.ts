import { type BulkheadPolicy, BulkheadRejectedError, bulkhead, TaskCancelledError } from 'cockatiel';
import { DekdError } from '../../errors.ts';
import type { UpstreamClock } from '../clock.ts';
import type { CallPurpose, UpstreamCallOptions } from '../provider.ts';
import { GivenUp } from './attempt.ts';
import { CALLS, MAX_WAIT_MS } from './limits.ts';
import { NoPlace, Turns } from './turns.ts';

/** What a caller should wait who found the room full: the calls in it take a second at most. */
const RETRY_MS = 1_000;

/** For whom a call is made, and on whose account. */
export type CallOwner = Pick<UpstreamCallOptions, 'purpose' | 'payer' | 'signal'>;

/**
 * How many calls of each purpose may be under way at one upstream. Misses, which callers make, have their places in turn by who pays; the others are the
 * agent's own, or an administrator's: who comes first is first (cockatiel's bulkhead).
 */
export class Rooms {
  readonly #misses: Turns;
  readonly #others: Readonly<Record<Exclude<CallPurpose, 'miss'>, BulkheadPolicy>> = {
    refresh: bulkhead(CALLS.refresh.atOnce, CALLS.refresh.waiting),
    background: bulkhead(CALLS.background.atOnce, CALLS.background.waiting),
    administration: bulkhead(CALLS.administration.atOnce, CALLS.administration.waiting),
  };

  readonly #clock: UpstreamClock;
  readonly #upstreamName: string;

  constructor(upstreamName: string, clock: UpstreamClock) {
    this.#upstreamName = upstreamName;
    this.#clock = clock;
    this.#misses = new Turns({ ...CALLS.miss, maxWaitMs: MAX_WAIT_MS }, clock);
  }

  /**
   * Runs `call` when there is room for it. Throws QUOTA_EXCEEDED when too many wait, or one waited for too long: our own shortage, which says
   * nothing about the upstream.
   */
  async run<T>({ purpose = 'miss', payer, signal }: CallOwner, call: () => Promise<T>): Promise<T> {
    try {
      if (purpose === 'miss') return await this.#misses.run(payer, signal, call);
      return await this.#others[purpose].execute(this.#inTime(purpose, call), signal);
    } catch (thrown) {
      if (thrown instanceof NoPlace) throw this.#full(missText(thrown, payer));
      if (thrown instanceof TaskCancelledError) throw new GivenUp();
      throw thrown instanceof BulkheadRejectedError ? this.#full('as many descriptions wait for it as may') : thrown;
    }
  }

  /** What is for a DEK that is held waits as long as it takes. */
  #inTime<T>(purpose: CallPurpose, call: () => Promise<T>): () => Promise<T> {
    if (purpose !== 'administration') return call;
    const sinceMs = this.#clock.bootMs();
    return () => {
      if (this.#clock.bootMs() - sinceMs > MAX_WAIT_MS)
        throw this.#full('more descriptions wait for it than it answers');
      return call();
    };
  }

  #full(why: string): DekdError {
    return new DekdError('QUOTA_EXCEEDED', `upstream ${this.#upstreamName}: ${why}; try again later`, {
      metadata: { upstream: this.#upstreamName },
      retryAfterMs: RETRY_MS,
    });
  }
}

function missText({ why }: NoPlace, payer: number | undefined): string {
  const who = payer === undefined ? 'the agent itself' : `uid ${payer}`;
  const { waiting, waitingOfOne } = CALLS.miss;
  switch (why) {
    case 'line':
      return `${waitingOfOne} calls of ${who} wait for it, as many as may of one caller`;
    case 'all':
      return `${waiting} calls wait for it, as many as may, and this one of ${who} has no place`;
    case 'late':
      return `a call of ${who} waited for over ${MAX_WAIT_MS / 1_000} s: more calls wait for it than it answers in time`;
  }
}
