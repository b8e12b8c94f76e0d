import { DekdError } from '../errors.ts';

/** Who pays for the upstream calls of a miss; the same uid is the same payer. */
export interface Payer {
  readonly uid: number;
}

/** Whatever tells when its owner stops waiting, and on whose account; read only when somebody really waits. */
export interface Waiter {
  readonly signal: AbortSignal;
  readonly principal: Payer;
}

/** One run of `work` for any number of concurrent callers of the same name; it outlives a caller who leaves. */
export class SingleFlight<T> {
  readonly #flights = new Map<string, Promise<T>>();

  get size(): number {
    return this.#flights.size;
  }

  has(name: string): boolean {
    return this.#flights.has(name);
  }

  /** Resolves when nothing of that name is under way. */
  async settled(name: string): Promise<void> {
    await this.#flights.get(name)?.catch(() => undefined);
  }

  /** What `work` throws before it returns, only this caller hears. */
  run(name: string, work: () => Promise<T>): Promise<T> {
    const known = this.#flights.get(name);
    if (known !== undefined) return known;
    const flight = work().finally(() => this.#flights.delete(name));
    // A flight that everybody left must not end as an unhandled rejection.
    flight.catch(() => undefined);
    this.#flights.set(name, flight);
    return flight;
  }
}

/** The promise, or CANCELLED when the waiter's deadline or cancellation comes first. */
export function waitFor<T>(promise: Promise<T>, waiter: Pick<Waiter, 'signal'>): Promise<T> {
  const { signal } = waiter;
  return new Promise<T>((resolve, reject) => {
    const leave = (): void => reject(new DekdError('CANCELLED', 'the caller stopped waiting'));
    if (signal.aborted) {
      // Nobody may be left who hears of its failure.
      promise.catch(() => undefined);
      leave();
      return;
    }
    signal.addEventListener('abort', leave, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', leave));
  });
}

/** Runs `use` with something that nobody else holds and releases it, also when it comes after the waiter left. */
export async function useOnce<R, T>(
  making: Promise<R>,
  waiter: Pick<Waiter, 'signal'>,
  use: (made: R) => T | Promise<T>,
  release: (made: R) => void,
): Promise<T> {
  try {
    return use(await waitFor(making, waiter));
  } finally {
    making.then(release, () => undefined);
  }
}
