import type { Clock } from './clock.ts';
import type { Dek } from './dek.ts';
import type { Kek } from './kek.ts';
import { PROBE_INTERVAL_MS } from './options.ts';

/**
 * One key's encrypting DEKs that are not wrapped for all its recipients (`wrap: any`). What they encrypt opens only with the others, so each is
 * replaced when all are back, spread over half a ttl; what it encrypted until then gets its missing recipients by Rewrap.
 */
export class IncompleteDeks {
  readonly #missing = new Map<Dek, readonly Kek[]>();
  readonly #clock: Clock;
  readonly #replace: (dek: Dek) => Promise<void>;

  /** `replace` puts a new DEK in its place; never rejects. */
  constructor(clock: Clock, replace: (dek: Dek) => Promise<void>) {
    this.#clock = clock;
    this.#replace = replace;
  }

  add(dek: Dek, missing: readonly Kek[]): void {
    if (missing.length === 0) return;
    this.#missing.set(dek, missing);
    this.#lookLater(dek, missing);
  }

  /** How many DEKs lack each KEK. */
  counts(): Map<Kek, number> {
    const counts = new Map<Kek, number>();
    for (const [{ place }, keks] of this.#missing) {
      if (place !== 'encrypting') continue;
      for (const kek of keks) counts.set(kek, (counts.get(kek) ?? 0) + 1);
    }
    return counts;
  }

  #lookLater(dek: Dek, missing: readonly Kek[]): void {
    this.#clock.after(PROBE_INTERVAL_MS, () => {
      if (this.#isOver(dek)) return;
      if (missing.some(({ outage }) => outage)) {
        this.#lookLater(dek, missing);
        return;
      }
      this.#clock.after(this.#clock.random() * (dek.options.cache.ttlMs / 2), () => {
        if (!this.#isOver(dek)) void this.#replace(dek).finally(() => this.#lookLater(dek, missing));
      });
    });
  }

  #isOver(dek: Dek): boolean {
    if (dek.place === 'encrypting') return false;
    this.#missing.delete(dek);
    return true;
  }
}
