import { boottimeMs } from '../crypto/native.ts';

/** Cancels a timer; harmless when it has run. */
export type Cancel = () => void;

/** Time and chance as the keyring sees them; tests move their own. */
export interface Clock {
  /** CLOCK_BOOTTIME in whole milliseconds from any moment on: goes on through suspend, never steps. All ages are differences of it. */
  bootMs(): number;
  /** Unix milliseconds; may step. Only for what is written down, and to notice steps. */
  wallMs(): number;
  /** Runs `run` once after `ms`; never keeps the process alive. */
  after(ms: number, run: () => void): Cancel;
  /** Uniform in [0, 1); for jitter, never for secrets. */
  random(): number;
}

/** Node's timers stop at 2^31 - 1 ms; a longer one fires early and its user looks at the clock again. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * Whole milliseconds since the process started: small integers, which V8 keeps inside an object, for the first 24 days. Over thousands of
 * DEKs a hit would otherwise pay a cache miss for every time that it reads.
 */
const startedAtMs = boottimeMs();

export const systemClock: Clock = {
  bootMs: () => Math.floor(boottimeMs() - startedAtMs),
  wallMs: Date.now,
  random: Math.random,
  after(ms, run) {
    const timer = setTimeout(run, Math.min(Math.max(ms, 0), MAX_TIMER_MS));
    timer.unref();
    return () => clearTimeout(timer);
  },
};
