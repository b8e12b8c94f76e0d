/** New connections that a uid may open at once: four times what a client with a pool opens. */
const BURST = 64;
/** Then one each 20 ms: to set one up costs as much as ten calls, and clients keep theirs. */
const INTERVAL_MS = 20;
/** Uids that are remembered before those are looked for that need not be. */
const FEW_UIDS = 64;

/** How fast each uid may open connections (a leaky bucket: when its next one would be due at the steady pace, "GCRA"). */
export class AcceptPace {
  readonly #nowMs: () => number;
  readonly #dueMs = new Map<number, number>();

  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  /** How long a connection of `uid` that comes now must wait before it is served; mostly 0. */
  delayMs(uid: number): number {
    const nowMs = this.#nowMs();
    if (this.#dueMs.size >= FEW_UIDS) this.#forget(nowMs);
    const dueMs = Math.max(nowMs, this.#dueMs.get(uid) ?? nowMs);
    this.#dueMs.set(uid, dueMs + INTERVAL_MS);
    return Math.max(0, dueMs - nowMs - (BURST - 1) * INTERVAL_MS);
  }

  #forget(nowMs: number): void {
    for (const [uid, dueMs] of this.#dueMs) if (dueMs <= nowMs) this.#dueMs.delete(uid);
  }
}
