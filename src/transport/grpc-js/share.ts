import type { Socket } from 'node:net';

/** A piece of one uid's work: a stream that nobody has looked at, or a call whose request has come. */
export interface Work {
  run(): void;
}

/** Debt that leaves a uid free: a burst of some fifty calls. */
const FREE_DEBT_MS = 5;
/** More is forgiven: one long call must not silence its uid. */
const MAX_DEBT_MS = 25;

/** What one uid has had: of the present turn of the event loop, and of the time that it shares with others. */
export class Share {
  /** It has had some of this turn. */
  active = false;
  /** When it was last active. */
  seenMs = Number.NEGATIVE_INFINITY;
  /** Streams that came in this turn. */
  begun = 0;
  /** Steps in this turn whose time is not measured one by one: streams that came, streams taken up, requests. */
  steps = 0;
  /** What its handlers took of this turn until they returned. */
  handlerMs = 0;
  /** Its open connections, and what had been read from each when last asked. */
  readonly #sockets = new Map<Socket, number>();
  /** Those that are not read from, in the order in which they will be. */
  readonly #resting = new Set<Socket>();
  /** Those that began streams in this turn, and how many. */
  readonly #served = new Map<Socket, number>();
  /** How many of its connections are read from in one turn. */
  #window = Number.POSITIVE_INFINITY;
  /** Requests that have come, and streams that nobody has looked at. What ended meanwhile goes in its turn, too: nothing more is read until then. */
  #requests: Work[] = [];
  #streams: Work[] = [];
  #debtMs = 0;

  get waits(): boolean {
    return this.#requests.length > 0 || this.#streams.length > 0;
  }

  /** Some of its connections are not read from. */
  get rests(): boolean {
    return this.#resting.size > 0;
  }

  get inDebt(): boolean {
    return this.#debtMs >= FREE_DEBT_MS;
  }

  /** What is to be paid back until it is free again. */
  get excessMs(): number {
    return Math.max(0, this.#debtMs - FREE_DEBT_MS);
  }

  /** Nothing would be lost with it. */
  get forgettable(): boolean {
    return this.#sockets.size === 0 && !this.active && !this.waits && !this.inDebt;
  }

  add(socket: Socket): void {
    this.#sockets.set(socket, 0);
    if (this.rests) this.#rest(socket);
    socket.once('close', () => {
      this.#sockets.delete(socket);
      this.#resting.delete(socket);
      this.#served.delete(socket);
    });
  }

  /** What its connections have brought since it was last asked, in bytes. */
  readBytes(): number {
    let sum = 0;
    for (const [socket, before] of this.#sockets) {
      const bytes = handleOf(socket)?.bytesRead ?? before;
      sum += bytes - before;
      this.#sockets.set(socket, bytes);
    }
    return sum;
  }

  /**
   * A stream came on `socket`, which is read from even when it rests: node:http2 starts reading by itself when a write has ended. Gives how
   * many did in this turn.
   */
  begin(socket: Socket): number {
    const streams = (this.#served.get(socket) ?? 0) + 1;
    this.#served.set(socket, streams);
    this.begun++;
    this.steps++;
    if (this.#resting.has(socket)) handleOf(socket)?.readStop();
    return streams;
  }

  /** Within one uid whoever was not served comes before those who were. */
  stop(): void {
    if (this.#resting.size === this.#sockets.size) return;
    for (const socket of this.#sockets.keys()) if (!this.#served.has(socket)) this.#rest(socket);
    for (const socket of this.#served.keys()) this.#rest(socket);
  }

  /** Reads from its connections again: after `narrow` from one, from twice as many each time. */
  start(): void {
    let count = this.#window;
    for (const socket of this.#resting) {
      if (count-- === 0) break;
      this.#resting.delete(socket);
      start(socket);
    }
    this.#window = this.rests ? this.#window * 2 : Number.POSITIVE_INFINITY;
  }

  /** It has cost more than its part: some of what it sends never comes to JavaScript, so that it can be bounded only by what is read. */
  narrow(): void {
    this.stop();
    this.#window = 1;
  }

  addStream(work: Work): void {
    this.#streams.push(work);
  }

  addRequest(work: Work): void {
    this.#requests.push(work);
  }

  /** Takes from what waits, while `more` says so: requests first, for they hold memory. */
  takeUp(more: () => boolean, take: (work: Work) => void): void {
    this.#requests = drained(this.#requests, more, take);
    this.#streams = drained(this.#streams, more, take);
  }

  charge(ms: number): void {
    this.#debtMs = Math.min(MAX_DEBT_MS, this.#debtMs + ms);
  }

  payBack(ms: number): void {
    this.#debtMs = Math.max(0, this.#debtMs - ms);
  }

  beginTurn(): void {
    this.active = false;
    this.begun = 0;
    this.steps = 0;
    this.handlerMs = 0;
    this.#served.clear();
  }

  #rest(socket: Socket): void {
    if (this.#resting.has(socket)) return;
    this.#resting.add(socket);
    handleOf(socket)?.readStop();
  }
}

/** What is left. Work that is added meanwhile waits for the next turn. */
function drained(queue: Work[], more: () => boolean, take: (work: Work) => void): Work[] {
  let taken = 0;
  const all = queue.length;
  while (taken < all && more()) take(queue[taken++]!);
  return taken === 0 ? queue : queue.slice(taken);
}

/** What a socket's descriptor is read through. */
export interface SocketHandle {
  readonly fd: number;
  readStop(): void;
  readStart(): void;
  readonly bytesRead: number;
  /** Bytes that the kernel did not take yet. */
  readonly writeQueueSize: number;
}

/** node:http2 reads from the handle itself, so that pausing the socket would do nothing. Undefined when the socket is closed. */
export function handleOf(socket: Socket): SocketHandle | undefined {
  return (socket as Socket & { _handle?: SocketHandle | null })._handle ?? undefined;
}

/** A connection whose answers the kernel does not take is started by node:http2, once it does. */
function start(socket: Socket): void {
  const handle = handleOf(socket);
  if (handle !== undefined && handle.writeQueueSize === 0) handle.readStart();
}
