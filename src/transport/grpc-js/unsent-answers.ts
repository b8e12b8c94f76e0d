import type { ConnectionMemory } from '../request-memory.ts';
import type { Work } from './share.ts';

/** Of answers that do not leave, before the connection's next calls wait: more than any kernel's socket buffer. */
const MAX_UNSENT_BYTES = 256 * 1024;

/**
 * Answers of one connection that node:http2 still has, because their reader does not read. Calls whose answers could not leave either
 * wait: what they cost would be lost, and what they made would take memory.
 */
export class UnsentAnswers {
  readonly #memory: ConnectionMemory;
  readonly #resume: (held: readonly Work[]) => void;
  readonly #held = new Set<Work>();
  #bytes = 0;
  #over = false;

  /** `resume`: what is held may be tried again. */
  constructor(memory: ConnectionMemory, resume: (held: readonly Work[]) => void) {
    this.#memory = memory;
    this.#resume = resume;
  }

  get full(): boolean {
    return this.#bytes >= MAX_UNSENT_BYTES && !this.#over;
  }

  /** Until there is room. Whoever holds must `drop` when the stream ends: its peer may then open another one. */
  hold(work: Work): void {
    this.#held.add(work);
  }

  drop(work: Work): void {
    this.#held.delete(work);
  }

  /** False, and nothing added, when the connection has its share of memory. */
  add(bytes: number): boolean {
    if (!this.#memory.take(bytes)) return false;
    this.#bytes += bytes;
    return true;
  }

  remove(bytes: number): void {
    this.#memory.release(bytes);
    this.#bytes -= bytes;
    if (!this.full) this.#release();
  }

  /** Nothing waits any more: for the end of the server. */
  end(): void {
    this.#over = true;
    this.#release();
  }

  #release(): void {
    if (this.#held.size === 0) return;
    const held = [...this.#held];
    this.#held.clear();
    this.#resume(held);
  }
}
