import type { UpstreamClock } from '../clock.ts';
import { UpstreamFailure } from '../failure.ts';

/** Whoever asked stopped waiting, perhaps because of another upstream: that says nothing about this one. */
export class GivenUp extends UpstreamFailure {
  constructor() {
    super('unreachable', 'the call was given up');
  }
}

export interface AttemptOptions<T> {
  readonly clock: UpstreamClock;
  /** Given up when it aborts: GivenUp. */
  readonly signal: AbortSignal;
  /** Then it is *unreachable*. */
  readonly timeOutMs: number;
  /** Takes a result that came too late, so that no handle leaks. */
  readonly discard?: ((late: T) => void) | undefined;
}

/** One call, bounded in time whatever the callee does; its own signal aborts when the time is over or nobody waits any more. */
export function attempt<T>(options: AttemptOptions<T>, call: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const { clock, signal, timeOutMs, discard } = options;
  if (signal.aborted) return Promise.reject(new GivenUp());
  const control = new AbortController();
  return new Promise<T>((resolve, reject) => {
    let isSettled = false;
    const settle = (end: () => void): boolean => {
      if (isSettled) return false;
      isSettled = true;
      cancel();
      signal.removeEventListener('abort', giveUp);
      end();
      return true;
    };
    const timeOut = (): void => {
      settle(() => reject(new UpstreamFailure('unreachable', `no answer within ${timeOutMs} ms`)));
      control.abort();
    };
    const giveUp = (): void => {
      settle(() => reject(new GivenUp()));
      control.abort();
    };
    const cancel = clock.after(timeOutMs, timeOut);
    signal.addEventListener('abort', giveUp, { once: true });
    new Promise<T>((begin) => begin(call(control.signal))).then(
      (value) => {
        if (!settle(() => resolve(value))) discard?.(value);
      },
      (error: unknown) => settle(() => reject(error)),
    );
  });
}
