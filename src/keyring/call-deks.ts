import type { Dek } from './dek.ts';
import { type Waiter, waitFor } from './single-flight.ts';

/** The DEKs of one call for keys in cache mode `request`: one for everything in the call that takes the same, zeroed when the call is over. */
export class CallDeks {
  readonly #deks = new Map<string, Promise<Dek>>();

  /** `name` says which DEK it is; `make` is called for the first of that name. */
  async use<T>(name: string, make: () => Promise<Dek>, waiter: Waiter, use: (dek: Dek) => T | Promise<T>): Promise<T> {
    let dek = this.#deks.get(name);
    if (dek === undefined) {
      dek = make();
      // One that everybody left must not end as an unhandled rejection.
      dek.catch(() => undefined);
      this.#deks.set(name, dek);
    }
    return use(await waitFor(dek, waiter));
  }

  /** Zeroes them, also those that come later. Nothing may be used afterwards. */
  release(): void {
    for (const dek of this.#deks.values()) {
      dek.then(
        (made) => made.free(),
        () => undefined,
      );
    }
    this.#deks.clear();
  }
}
