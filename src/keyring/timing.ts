import type { Clock } from './clock.ts';

/** Runs `work` with a signal that aborts after `ms`. */
export async function withDeadline<T>(clock: Clock, ms: number, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const control = new AbortController();
  const cancel = clock.after(ms, () => control.abort());
  try {
    return await work(control.signal);
  } finally {
    cancel();
  }
}

/** True when `promise` settled within `ms`; never rejects. */
export function settlesWithin(clock: Clock, promise: Promise<unknown>, ms: number): Promise<boolean> {
  return new Promise((resolve) => {
    const cancel = clock.after(ms, () => resolve(false));
    const done = (): void => {
      cancel();
      resolve(true);
    };
    promise.then(done, done);
  });
}
