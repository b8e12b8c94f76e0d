import type { OpenCall } from './open-call.ts';

/** A call must be complete this long after its headers: a caller on the same machine has no slow network to wait for. */
const RECEIVE_TICKS = 10;
/** A reply must be read after this long: a caller may be paused, but what it leaves unread holds memory. */
const READ_TICKS = 60;
/** After its answer a stream whose request has not ended stays open this long; a connection that takes no reset of a stream as well. */
const CLOSE_TICKS = 1;

/** The calls of a server, and one timer for all of them: a call has none of its own. */
export class OpenCalls {
  readonly #calls = new Set<OpenCall>();
  readonly #timer: NodeJS.Timeout;
  #tick = 0;

  /** `tickMs`: 1,000 but in tests; a time-out may come one tick late. */
  constructor(tickMs: number) {
    this.#timer = setInterval(() => this.#sweep(), tickMs).unref();
  }

  get receiveBy(): number {
    return this.#tick + RECEIVE_TICKS;
  }

  get closeBy(): number {
    return this.#tick + CLOSE_TICKS;
  }

  get readBy(): number {
    return this.#tick + READ_TICKS;
  }

  add(call: OpenCall): void {
    this.#calls.add(call);
  }

  delete(call: OpenCall): void {
    this.#calls.delete(call);
  }

  [Symbol.iterator](): Iterator<OpenCall> {
    return this.#calls.values();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #sweep(): void {
    this.#tick++;
    for (const call of this.#calls) if (call.dueTick < this.#tick) call.expire();
  }
}
