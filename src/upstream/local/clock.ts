import { native } from '../../crypto/native.ts';

/** Time as a keystore sees it; tests move their own. */
export interface LocalClock {
  /** Unix milliseconds; may step. What records hold. */
  wallMs(): number;
  /** CLOCK_BOOTTIME in milliseconds: goes on through suspend, never steps. */
  bootMs(): number;
  /** Runs `run` once after `ms` and never keeps the process alive; returns what cancels it. */
  after(ms: number, run: () => void): () => void;
}

export const systemClock: LocalClock = {
  wallMs: Date.now,
  bootMs: () => native.boottimeMs(),
  after(ms, run) {
    const timer = setTimeout(run, ms);
    timer.unref();
    return () => clearTimeout(timer);
  },
};
