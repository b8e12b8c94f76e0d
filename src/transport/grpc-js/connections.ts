import type { Socket } from 'node:net';
import type { Principal } from '../principal.ts';
import type { ConnectionMemory } from '../request-memory.ts';
import type { RefusedConnection, ServerOptions } from '../transport.ts';
import { Refusals } from './refusals.ts';
import { handleOf, type Work } from './share.ts';
import { UnsentAnswers } from './unsent-answers.ts';

/** An idle connection costs some 100 KiB: so connections take 100 MiB at most, whoever opens them. */
const MAX_CONNECTIONS = 1_024;
/** One uid cannot take the places of all others. */
const MAX_CONNECTIONS_PER_UID = 256;
/** Of callers whom no rule names, taken together: enough to hear why they are denied, and for health checks. */
const MAX_UNKNOWN_CONNECTIONS = 32;
/** Of one such uid, so that it leaves room for health checks of others. */
const MAX_UNKNOWN_CONNECTIONS_PER_UID = 8;
/** When their places are all taken, one that has called nothing for so long gives way, the longest idle first. */
const UNKNOWN_IDLE_MS = 10_000;
/** A caller that comes again and again must not fill the log. */
const REFUSAL_TOLD_EVERY_MS = 60_000;

/** Who is at the other end of a connection. */
export interface Peer {
  readonly principal: Principal;
  /** Whether a rule named it at accept. */
  readonly known: boolean;
  /** What its requests and answers are held in. */
  readonly memory: ConnectionMemory;
  readonly answers: UnsentAnswers;
  readonly socket: Socket;
}

interface Options extends Pick<ServerOptions, 'peerCredentials' | 'admits' | 'onConnectionRefused' | 'requestMemory'> {
  /** Work of a uid that waited for its connection's answers to leave. */
  readonly resume: (uid: number, held: readonly Work[]) => void;
}

/**
 * The open connections and who is at their other end. grpc-js tells a call nothing of its socket but `remoteAddress`, which a
 * Unix socket leaves empty: it carries the connection's id here.
 */
export class Connections {
  readonly #options: Options;
  readonly #peers = new Map<string, Peer>();
  readonly #sockets = new Set<Socket>();
  readonly #byUid = new Map<number, Set<Socket>>();
  /** Peers that no rule names, and when they last called (or came), the longest idle first. */
  readonly #unknown = new Map<Peer, number>();
  readonly #refusals: Refusals;
  readonly #nowMs: () => number;
  #lastId = 0;
  #refusalTold = Number.NEGATIVE_INFINITY;

  constructor(options: Options, nowMs: () => number = () => performance.now()) {
    this.#options = options;
    this.#nowMs = nowMs;
    this.#refusals = new Refusals(nowMs);
  }

  /** Asks the kernel who is calling and names the connection. Undefined, and the connection ends, when the kernel does not tell, or there are too many. */
  admit(socket: Socket): Peer | undefined {
    // A peer that goes away is no news, and an unheard 'error' event would end the process.
    socket.on('error', () => {});
    const principal = this.#principal(socket);
    if (principal === undefined) {
      socket.destroy();
      return undefined;
    }
    const { admits, requestMemory, resume } = this.#options;
    const memory = requestMemory.connection(principal.uid);
    const answers = new UnsentAnswers(memory, (held) => resume(principal.uid, held));
    const peer = { principal, known: admits(principal), memory, answers, socket };
    const excess = this.#excess(peer);
    if (excess !== undefined) {
      this.#tell(excess);
      this.#refusals.refuse(socket, principal.uid);
      return undefined;
    }
    this.#add(socket, peer);
    return peer;
  }

  /** Undefined once the connection is closed. */
  peer(id: string | undefined): Peer | undefined {
    return id === undefined ? undefined : this.#peers.get(id);
  }

  /** Whether a rule names the peer: it did at accept, or one made since does. */
  admits({ known, principal }: Peer): boolean {
    return known || this.#options.admits(principal);
  }

  /** At each of its calls. */
  called(peer: Peer): void {
    if (this.#unknown.delete(peer)) this.#unknown.set(peer, this.#nowMs());
  }

  /** Calls that wait for answers to leave wait no more. */
  endWaiting(): void {
    for (const { answers } of this.#peers.values()) answers.end();
  }

  /** Ends when the last connection has closed. */
  async closed(): Promise<void> {
    this.#refusals.close();
    await Promise.all([...this.#sockets].map((socket) => new Promise((resolve) => socket.once('close', resolve))));
  }

  destroy(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #add(socket: Socket, peer: Peer): void {
    const { uid } = peer.principal;
    const id = `connection-${++this.#lastId}`;
    // The getters of net.Socket ask the handle each time, and grpc-js reads all four for every call.
    Object.defineProperties(socket, {
      remoteAddress: { value: id },
      remotePort: { value: undefined },
      localAddress: { value: undefined },
      localPort: { value: undefined },
    });
    this.#peers.set(id, peer);
    this.#sockets.add(socket);
    const ofUid = this.#byUid.get(uid) ?? new Set();
    this.#byUid.set(uid, ofUid.add(socket));
    if (!peer.known) this.#unknown.set(peer, this.#nowMs());
    socket.once('close', () => {
      this.#peers.delete(id);
      this.#sockets.delete(socket);
      ofUid.delete(socket);
      if (ofUid.size === 0) this.#byUid.delete(uid);
      this.#unknown.delete(peer);
    });
  }

  #excess({ principal: { uid }, known }: Peer): RefusedConnection | undefined {
    if (this.#sockets.size >= MAX_CONNECTIONS) return { uid, scope: 'process', limit: MAX_CONNECTIONS };
    const unknown = known ? undefined : this.#excessUnknown(uid);
    if (unknown !== undefined) return unknown;
    const many = (this.#byUid.get(uid)?.size ?? 0) >= MAX_CONNECTIONS_PER_UID;
    return many ? { uid, scope: 'uid', limit: MAX_CONNECTIONS_PER_UID } : undefined;
  }

  #excessUnknown(uid: number): RefusedConnection | undefined {
    let ofUid = 0;
    for (const { principal } of this.#unknown.keys()) if (principal.uid === uid) ofUid++;
    const limit = MAX_UNKNOWN_CONNECTIONS_PER_UID;
    if (ofUid >= limit && !this.#makeRoom(uid)) return { uid, scope: 'unknown callers', limit };
    if (this.#unknown.size < MAX_UNKNOWN_CONNECTIONS || this.#makeRoom()) return undefined;
    return { uid, scope: 'unknown callers', limit: MAX_UNKNOWN_CONNECTIONS };
  }

  /** Ends the longest idle connection of those whom no rule names, or of one such uid; false when none is idle. */
  #makeRoom(uid?: number): boolean {
    for (const [peer, calledMs] of this.#unknown) {
      if (this.#nowMs() - calledMs < UNKNOWN_IDLE_MS) return false;
      if (uid !== undefined && peer.principal.uid !== uid) continue;
      this.#unknown.delete(peer);
      peer.socket.destroy();
      return true;
    }
    return false;
  }

  #tell(refused: RefusedConnection): void {
    const nowMs = this.#nowMs();
    if (nowMs - this.#refusalTold < REFUSAL_TOLD_EVERY_MS) return;
    this.#refusalTold = nowMs;
    this.#options.onConnectionRefused(refused);
  }

  #principal(socket: Socket): Principal | undefined {
    const handle = handleOf(socket);
    if (handle === undefined || handle.fd < 0) return undefined;
    try {
      return this.#options.peerCredentials(handle.fd);
    } catch {
      return undefined;
    }
  }
}
