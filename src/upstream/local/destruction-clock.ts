import type { LocalClock } from './clock.ts';
import type { DeletionRecord } from './records.ts';

/** No destruction earlier than this after the agent first saw it coming, whatever the wall clock says. */
const MIN_NOTICE_MS = 3_600_000;

/**
 * Tells when a scheduled destruction may take place: a wall clock that jumps 40 days ahead must not destroy a key. So the time must have
 * passed on two clocks: the wall clock, and CLOCK_BOOTTIME, on which must pass what was left by the wall clock when this agent first
 * saw the deletion, but at least an hour, for an agent that starts with a wrong clock, and at most the whole waiting period, for one that
 * starts with a clock far behind.
 */
export class DestructionClock {
  readonly #clock: LocalClock;
  /** By KEK. */
  readonly #seen = new Map<string, { readonly at: number; readonly notBeforeBootMs: number }>();

  constructor(clock: LocalClock) {
    this.#clock = clock;
  }

  /** Whether the time of this deletion has come; to be asked regularly from the moment on that it takes effect. */
  hasCome(kek: string, { at, waitingPeriodMs }: DeletionRecord): boolean {
    if (at === null) return false;
    const wallMs = this.#clock.wallMs();
    const bootMs = this.#clock.bootMs();
    let seen = this.#seen.get(kek);
    if (seen?.at !== at) {
      const leftMs = Math.max(MIN_NOTICE_MS, Math.min(at - wallMs, waitingPeriodMs));
      seen = { at, notBeforeBootMs: bootMs + leftMs };
      this.#seen.set(kek, seen);
    }
    return wallMs >= at && bootMs >= seen.notBeforeBootMs;
  }
}
