import type { Socket } from 'node:net';

/**
 * Calls that one uid may begin in one turn of the event loop: as many as one connection may have open, some 5 ms. node:http2 would take
 * all that the kernel holds of every connection, thousands of calls, before anybody else has a turn.
 */
const MAX_CALLS_A_TURN = 64;

/** Time that one uid's handlers may take in one turn until they return, whatever they do: a batch can cost as much as a thousand calls. */
const MAX_HANDLER_MS_A_TURN = 5;

/** A call whose request has come. */
export interface Work {
  run(): void;
}

/** What one uid has had of the present turn. */
export class Share {
  readonly sockets = new Set<Socket>();
  /** Calls whose turn has not come; no more than its connections have streams. */
  waiting: Work[] = [];
  begun = 0;
  handlerMs = 0;
  /** It has had some of this turn. */
  active = false;
}

/**
 * Who has begun so many calls, or taken so much time, is not read from until all others had their turn, and what it has sent waits. The
 * price is a look at the clock before and after each handler.
 */
export class FairTurns {
  readonly #shares = new Map<number, Share>();
  #active: Share[] = [];
  #stopped = new Set<Socket>();
  /** Those that began calls in this turn. */
  #served = new Set<Socket>();

  /** Once node:http2 reads from `socket`: bytes that anybody else has read it takes in a way that can end the process (see server.ts). */
  add(uid: number, socket: Socket): void {
    const share = this.#shareOf(uid);
    share.sockets.add(socket);
    socket.once('close', () => {
      share.sockets.delete(socket);
      if (share.sockets.size === 0 && this.#shares.get(uid) === share) this.#shares.delete(uid);
    });
  }

  /** At each call of `uid` on `socket`. */
  begin(uid: number, socket: Socket): Share {
    const share = this.#shareOf(uid);
    this.#activate(share);
    this.#served.add(socket);
    // Once more at each multiple: node:http2 starts reading by itself when a write has ended.
    if (++share.begun % MAX_CALLS_A_TURN === 0) this.#stop(share);
    return share;
  }

  /** Runs `work` now, or in the uid's next turn when it has had its time in this one. */
  run(share: Share, work: Work): void {
    this.#activate(share);
    if (share.waiting.length === 0 && share.handlerMs < MAX_HANDLER_MS_A_TURN) {
      this.#work(share, work);
      return;
    }
    share.waiting.push(work);
    this.#stop(share);
  }

  #shareOf(uid: number): Share {
    let share = this.#shares.get(uid);
    if (share === undefined) {
      share = new Share();
      this.#shares.set(uid, share);
    }
    return share;
  }

  #activate(share: Share): void {
    if (share.active) return;
    share.active = true;
    // Runs when each connection that had something to read was read once.
    if (this.#active.push(share) === 1) setImmediate(() => this.#nextTurn());
  }

  #work(share: Share, work: Work): void {
    const startMs = performance.now();
    work.run();
    share.handlerMs += performance.now() - startMs;
    if (share.handlerMs >= MAX_HANDLER_MS_A_TURN) this.#stop(share);
  }

  #stop({ sockets }: Share): void {
    for (const socket of sockets) {
      handleOf(socket)?.readStop();
      this.#stopped.add(socket);
    }
  }

  #nextTurn(): void {
    const [active, stopped, served] = [this.#active, this.#stopped, this.#served];
    this.#active = [];
    this.#stopped = new Set();
    this.#served = new Set();
    for (const share of active) {
      share.active = false;
      share.begun = 0;
      share.handlerMs = 0;
    }
    for (const share of active) if (share.waiting.length > 0) this.#workOff(share);
    const start = (socket: Socket): void => {
      // Stopped again by what has waited.
      if (!this.#stopped.has(socket)) handleOf(socket)?.readStart();
    };
    // libuv reads first what was started first: within one uid whoever was not served comes before those who were.
    for (const socket of stopped) if (!served.has(socket)) start(socket);
    for (const socket of stopped) if (served.has(socket)) start(socket);
  }

  #workOff(share: Share): void {
    this.#activate(share);
    const { waiting } = share;
    let done = 0;
    while (done < waiting.length && share.handlerMs < MAX_HANDLER_MS_A_TURN) this.#work(share, waiting[done++]!);
    share.waiting = waiting.slice(done);
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
