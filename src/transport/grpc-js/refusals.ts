import type { Socket } from 'node:net';
import { AcceptPace } from './accept-pace.ts';
import { handleOf } from './share.ts';

/** Refused connections that are held, of all uids: some KiB each. */
const MAX_HELD = 1_024;
const MAX_HELD_MS = 1_000;

/**
 * Ends connections for which there is no place. Who comes again at once, again and again, keeps both sides busy: after a burst (AcceptPace)
 * its connections end up to a second later.
 */
export class Refusals {
  readonly #pace: AcceptPace;
  readonly #held = new Set<Socket>();

  constructor(nowMs?: () => number) {
    this.#pace = new AcceptPace(nowMs);
  }

  refuse(socket: Socket, uid: number): void {
    const delayMs = Math.min(MAX_HELD_MS, this.#pace.delayMs(uid));
    if (delayMs === 0 || this.#held.size >= MAX_HELD) {
      socket.destroy();
      return;
    }
    this.#held.add(socket);
    // Nothing of it is read, so that not even its end is heard of.
    handleOf(socket)?.readStop();
    const timer = setTimeout(() => socket.destroy(), delayMs);
    socket.once('close', () => {
      clearTimeout(timer);
      this.#held.delete(socket);
    });
  }

  /** Ends those that are held. */
  close(): void {
    for (const socket of this.#held) socket.destroy();
  }
}
