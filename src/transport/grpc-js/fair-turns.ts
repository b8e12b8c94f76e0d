import type { Socket } from 'node:net';

/**
 * Calls that one uid may begin in one turn of the event loop: as many as one connection may have open, some 5 ms. node:http2 would take
 * all that the kernel holds of every connection, thousands of calls, before anybody else has a turn.
 */
const MAX_CALLS_A_TURN = 64;

/** Who has begun so many calls is not read from until all others had their turn. */
export class FairTurns {
  readonly #sockets = new Map<number, Set<Socket>>();
  readonly #begun = new Map<number, number>();
  readonly #stopped = new Set<Socket>();
  /** Those that began calls in this turn. */
  readonly #served = new Set<Socket>();
  #turnEnds = false;

  /** Once node:http2 reads from `socket`: bytes that anybody else has read it takes in a way that can end the process (see server.ts). */
  add(uid: number, socket: Socket): void {
    const sockets = this.#sockets.get(uid) ?? new Set();
    this.#sockets.set(uid, sockets.add(socket));
    socket.once('close', () => {
      sockets.delete(socket);
      if (sockets.size === 0) this.#sockets.delete(uid);
    });
  }

  /** At each call of `uid` on `socket`. */
  begin(uid: number, socket: Socket): void {
    if (!this.#turnEnds) {
      this.#turnEnds = true;
      // Runs when each connection that had something to read was read once.
      setImmediate(() => this.#nextTurn());
    }
    this.#served.add(socket);
    const begun = (this.#begun.get(uid) ?? 0) + 1;
    this.#begun.set(uid, begun);
    // Once more at each multiple: node:http2 starts reading by itself when a write has ended.
    if (begun % MAX_CALLS_A_TURN === 0) this.#stop(this.#sockets.get(uid) ?? []);
  }

  #stop(sockets: Iterable<Socket>): void {
    for (const socket of sockets) {
      handleOf(socket)?.readStop();
      this.#stopped.add(socket);
    }
  }

  #nextTurn(): void {
    this.#turnEnds = false;
    this.#begun.clear();
    // libuv reads first what was started first: within one uid whoever was not served comes before those who were.
    for (const socket of this.#stopped) if (!this.#served.has(socket)) handleOf(socket)?.readStart();
    for (const socket of this.#stopped) if (this.#served.has(socket)) handleOf(socket)?.readStart();
    this.#stopped.clear();
    this.#served.clear();
  }
}

/** What a socket's descriptor is read through. */
export interface SocketHandle {
  readStop(): void;
  readStart(): void;
}

/** node:http2 reads from the handle itself, so that pausing the socket would do nothing. Undefined when the socket is closed. */
export function handleOf(socket: Socket): SocketHandle | undefined {
  return (socket as Socket & { _handle?: SocketHandle | null })._handle ?? undefined;
}
