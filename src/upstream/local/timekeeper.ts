import { DekdError } from '../../errors.ts';
import { UpstreamFailure } from '../failure.ts';
import type { LocalClock } from './clock.ts';
import type { Lifecycle } from './lifecycle.ts';
import type { Keystore, StoredKek } from './store.ts';

/** What is due when the agent starts is done soon afterwards, so that it does not hold up the start. */
const FIRST_LOOK_MS = 1000;
/** Everything that comes with time is measured in days. A clock that was set is noticed by the next look. */
const LOOK_MS = 60_000;

type Work = (lifecycle: Lifecycle, stored: StoredKek) => void;

/** In this order, so that nothing is rotated that has expired. */
const WORK: readonly (readonly [name: string, work: Work])[] = [
  ['destruction', (lifecycle, stored) => lifecycle.destroyWhenDue(stored)],
  ['lapse of a request to delete it', (lifecycle, stored) => lifecycle.lapseWhenDue(stored)],
  ['expiry', (lifecycle, stored) => lifecycle.expireWhenDue(stored)],
  ['rotation', (lifecycle, stored) => lifecycle.rotateWhenDue(stored)],
];

export interface TimekeeperParts {
  readonly clock: LocalClock;
  readonly store: Keystore;
  readonly lifecycle: Lifecycle;
  /** Called when some work fails, and again only when it fails in another way or after it succeeded. */
  readonly onWarning: (warning: string) => void;
}

/** Looks at every KEK each minute and does what its time has come for. What fails is tried again at the next look. */
export class Timekeeper {
  readonly #parts: TimekeeperParts;
  /** By KEK and work. */
  readonly #failures = new Map<string, string>();
  #cancel: () => void;

  constructor(parts: TimekeeperParts) {
    this.#parts = parts;
    this.#cancel = parts.clock.after(FIRST_LOOK_MS, () => this.#look());
  }

  /** What failed at the last look. */
  get warnings(): string[] {
    return [...this.#failures.values()];
  }

  close(): void {
    this.#cancel();
  }

  #look(): void {
    const { clock, store } = this.#parts;
    this.#cancel = clock.after(LOOK_MS, () => this.#look());
    this.#settle();
    for (const name of store.names()) {
      for (const [what, work] of WORK) this.#try(name, what, work);
    }
  }

  /** A change of a call, which the disk took without saying so, takes effect also when nobody changes anything more. */
  #settle(): void {
    try {
      this.#parts.store.settle();
    } catch {
      // It still cannot be read; whatever is due says so.
    }
  }

  #try(kek: string, what: string, work: Work): void {
    const { lifecycle, store, onWarning } = this.#parts;
    const id = `${kek} ${what}`;
    try {
      work(lifecycle, store.kek(kek)!);
      this.#failures.delete(id);
    } catch (error) {
      const warning = `the ${what} of KEK ${kek} is due and failed, tried again every minute: ${describe(error)}`;
      const isNews = this.#failures.get(id) !== warning;
      this.#failures.set(id, warning);
      if (isNews) onWarning(warning);
    }
  }
}

function describe(error: unknown): string {
  return error instanceof UpstreamFailure ? error.message : DekdError.from(error).message;
}
