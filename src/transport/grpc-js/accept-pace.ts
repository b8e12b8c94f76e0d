/** New connections that a uid may open at once: four times what a client with a pool opens. */
const BURST = 64;
/** Then one each 20 ms: to set one up costs as much as ten calls, and clients keep theirs. */
const INTERVAL_MS = 20;
/** A connection that had to be ended for what it sent counts as so many. */
const MISUSE = 10;
/** No connection waits longer. */
const MAX_DELAY_MS = 10_000;
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
    return Math.max(0, this.#count(uid, 1, nowMs) - nowMs - (BURST - 1) * INTERVAL_MS);
  }

  /** A connection of `uid` was ended for what it sent: it must not do so again and again, a new connection each time. */
  misused(uid: number): void {
    this.#count(uid, MISUSE, this.#nowMs());
  }

  /** When the first of `connections` more is due. */
  #count(uid: number, connections: number, nowMs: number): number {
    const dueMs = Math.max(nowMs, this.#dueMs.get(uid) ?? nowMs);
    const latestMs = nowMs + BURST * INTERVAL_MS + MAX_DELAY_MS;
    this.#dueMs.set(uid, Math.min(latestMs, dueMs + connections * INTERVAL_MS));
    return dueMs;
  }

  #forget(nowMs: number): void {
    for (const [uid, dueMs] of this.#dueMs) if (dueMs <= nowMs) this.#dueMs.delete(uid);
  }
}
