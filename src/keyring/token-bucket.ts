/** How much may be taken in the long run, and at once after a pause; both at least 1. */
export interface BucketSize {
  readonly perSecond: number;
  readonly burst: number;
}

/** Tokens that come back with time, at most `burst` of them; full at first. Its user tells the time (CLOCK_BOOTTIME in milliseconds). */
export class TokenBucket {
  readonly #size: BucketSize;
  #tokens: number;
  #atMs: number;

  constructor(size: BucketSize, nowMs: number) {
    this.#size = size;
    this.#tokens = size.burst;
    this.#atMs = nowMs;
  }

  /** Until `count` can be taken, in milliseconds; 0 = now. For more than a burst a full bucket is enough. */
  waitMs(count: number, nowMs: number): number {
    const missing = Math.min(count, this.#size.burst) - this.#level(nowMs);
    return missing <= 0 ? 0 : (missing / this.#size.perSecond) * 1_000;
  }

  /** Takes them, also when they are not there: what comes later waits longer. */
  take(count: number, nowMs: number): void {
    this.#tokens = this.#level(nowMs) - count;
    this.#atMs = nowMs;
  }

  /** It says nothing that a new one would not say. */
  isFull(nowMs: number): boolean {
    return this.#level(nowMs) >= this.#size.burst;
  }

  #level(nowMs: number): number {
    const { perSecond, burst } = this.#size;
    return Math.min(burst, this.#tokens + ((nowMs - this.#atMs) / 1_000) * perSecond);
  }
}
