import type { Clock } from './clock.ts';
import type { Dek } from './dek.ts';
import type { Kek } from './kek.ts';
import { PROBE_INTERVAL_MS } from './options.ts';

/** A KEK that is no more out and still does not wrap is left alone for a ttl, then for twice as long, up to this share of `rotate_after`. */
const MAX_PAUSE_SHARE = 0.1;

/** Of a KEK that DEKs lack: no replacement is made for its sake before `untilMs` (CLOCK_BOOTTIME), nor while one is being made. */
interface Pause {
  readonly ms: number;
  readonly untilMs: number;
  readonly isTried: boolean;
}

/**
 * One key's encrypting DEKs that are not wrapped for all its recipients (`wrap: any`). What they encrypt opens only with the others, so each is
 * replaced when all are back, spread over half a ttl; what it encrypted until then gets its missing recipients by Rewrap. That a KEK can be described does not
 * say that it wraps: while replacements lack it again, one of them at a time is tried, and ever more rarely.
 */
export class IncompleteDeks {
  readonly #missing = new Map<Dek, readonly Kek[]>();
  readonly #counts = new Map<Kek, number>();
  readonly #pauses = new Map<Kek, Pause>();
  readonly #clock: Clock;
  readonly #replace: (dek: Dek) => Promise<void>;

  /** `replace` puts a new DEK in its place; never rejects. */
  constructor(clock: Clock, replace: (dek: Dek) => Promise<void>) {
    this.#clock = clock;
    this.#replace = replace;
  }

  /** A DEK that was made, and what it lacks. */
  add(dek: Dek, missing: readonly Kek[]): void {
    const { cache, recipients } = dek.options;
    for (const { kek } of recipients) {
      if (!missing.includes(kek)) this.#pauses.delete(kek);
      else if (!this.#pauses.has(kek)) this.#pauses.set(kek, { ms: cache.ttlMs / 2, untilMs: 0, isTried: false });
    }
    if (missing.length === 0) return;
    this.#missing.set(dek, missing);
    for (const kek of missing) this.#counts.set(kek, (this.#counts.get(kek) ?? 0) + 1);
    this.#lookLater(dek, missing);
  }

  /** One that encrypts no more. */
  remove(dek: Dek): void {
    const missing = this.#missing.get(dek);
    if (missing === undefined) return;
    this.#missing.delete(dek);
    for (const kek of missing) {
      const count = this.#counts.get(kek)! - 1;
      if (count > 0) this.#counts.set(kek, count);
      else this.#counts.delete(kek);
    }
  }

  /** How many DEKs lack each KEK. */
  counts(): ReadonlyMap<Kek, number> {
    return this.#counts;
  }

  #lookLater(dek: Dek, missing: readonly Kek[]): void {
    this.#clock.after(PROBE_INTERVAL_MS, () => {
      if (!this.#missing.has(dek)) return;
      if (!this.#mayTry(missing)) return this.#lookLater(dek, missing);
      this.#clock.after(this.#clock.random() * (dek.options.cache.ttlMs / 2), () => {
        if (!this.#missing.has(dek)) return;
        if (!this.#mayTry(missing)) return this.#lookLater(dek, missing);
        void this.#try(dek, missing).finally(() => this.#lookLater(dek, missing));
      });
    });
  }

  #mayTry(missing: readonly Kek[]): boolean {
    const nowMs = this.#clock.bootMs();
    return missing.every((kek) => {
      const pause = this.#pauses.get(kek);
      return !kek.outage && (pause === undefined || (!pause.isTried && nowMs >= pause.untilMs));
    });
  }

  async #try(dek: Dek, missing: readonly Kek[]): Promise<void> {
    for (const kek of missing) this.#change(kek, { isTried: true });
    await this.#replace(dek);
    // Those that its successor has are forgotten; without a successor nothing is known.
    const isReplaced = !this.#missing.has(dek);
    const { ttlMs, rotateAfterMs } = dek.options.cache;
    for (const kek of missing) {
      const doubledMs = 2 * (this.#pauses.get(kek)?.ms ?? 0);
      const ms = Math.min(doubledMs, Math.max(ttlMs, rotateAfterMs * MAX_PAUSE_SHARE));
      this.#change(kek, { isTried: false, ...(isReplaced && { ms, untilMs: this.#clock.bootMs() + ms }) });
    }
  }

  #change(kek: Kek, change: Partial<Pause>): void {
    const pause = this.#pauses.get(kek);
    if (pause !== undefined) this.#pauses.set(kek, { ...pause, ...change });
  }
}
