/** Bytes of requests that all servers of this process hold, from a message's first bytes to the end of its call. */
export class RequestMemory {
  readonly limitBytes: number;
  #takenBytes = 0;

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes;
  }

  get takenBytes(): number {
    return this.#takenBytes;
  }

  /** False, and nothing taken, when the limit would be passed. */
  take(bytes: number): boolean {
    if (this.#takenBytes + bytes > this.limitBytes) return false;
    this.#takenBytes += bytes;
    return true;
  }

  /** Gives back what was taken. */
  release(bytes: number): void {
    this.#takenBytes -= bytes;
  }
}
