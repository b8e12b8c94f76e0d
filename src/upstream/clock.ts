/** Time and chance as wrappers round an upstream see them; the keyring's Clock is one. */
export interface UpstreamClock {
  /** CLOCK_BOOTTIME in whole milliseconds from any moment on: goes on through suspend, never steps. */
  bootMs(): number;
  /** Runs `run` once after `ms`, which the process's suspend does not count; the returned function cancels it. Never keeps the process alive. */
  after(ms: number, run: () => void): () => void;
  /** Uniform in [0, 1); for jitter. */
  random(): number;
}
