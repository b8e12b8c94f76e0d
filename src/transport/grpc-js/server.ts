import type { ServerSessionOptions } from 'node:http2';
import type { Socket, Server as SocketServer } from 'node:net';
import {
  type ConnectionInjector,
  status as codes,
  Server,
  ServerCredentials,
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  setLogger,
} from '@grpc/grpc-js';
import type { CreateServer, ServerOptions, TransportServer } from '../transport.ts';
import { AcceptPace } from './accept-pace.ts';
import { Connections, type Peer } from './connections.ts';
import { FairTurns } from './fair-turns.ts';
import { Health } from './health.ts';
import type { Status } from './open-call.ts';
import { OpenCalls } from './open-calls.ts';
import { MAX_HEADER_LIST_BYTES, MAX_HEADER_LIST_PAIRS } from './request-headers.ts';
import { Routes } from './routes.ts';
import { handleOf } from './share.ts';
import { gateStreams } from './stream-gate.ts';
import { StreamingCall } from './streaming-call.ts';
import { UnaryCall } from './unary-call.ts';

/** The transport on @grpc/grpc-js. */
export const createServer: CreateServer = (options) => new GrpcJsServer(options);

/** Streams that one connection may have open; more wait at the client. Far above what keeps one thread busy. */
const MAX_CONCURRENT_STREAMS = 64;

/**
 * Megabytes that node:http2 may hold for one connection: what is above ends it, and every call on it. Its answers can be three quarters of
 * three quarters of all request memory (72 MiB); headers (request-headers.ts), stream records and control frames of 64 streams take under
 * 1 MB. grpc-js would have no limit at all.
 */
const MAX_SESSION_MEMORY_MB = 96;

/**
 * Streams that a client may reset at once, and steadily, before its connection is ended ("rapid reset", CVE-2023-44487): all that it
 * may have open, twice over. nghttp2's own 1,000 at once are a tenth of a second of everybody's time. (It ends the connection when it has
 * read all that it was handed; until then see stream-gate.ts.)
 */
const RESET_BURST = 128;
const RESETS_PER_SECOND = 64;

const TICK_MS = 1_000;

/** Between the last answers of a drain that took too long and the end of its connections, for callers that still read. */
const LAST_WORDS_MS = 100;

const SHUTTING_DOWN: Status = { code: codes.UNAVAILABLE, details: 'the server is shutting down', metadata: null };

const CLOSED: Status = { code: codes.UNAVAILABLE, details: 'the connection is closed', metadata: null };

class GrpcJsServer implements TransportServer {
  readonly #server: Server;
  readonly #injector: ConnectionInjector;
  readonly #connections: Connections;
  readonly #routes: Routes;
  readonly #health = new Health();
  readonly #open: OpenCalls;
  readonly #pace = new AcceptPace();
  readonly #turns = new FairTurns();
  /** Connections whose turn to be served has not come (AcceptPace). */
  readonly #waiting = new Set<Socket>();
  #drained: Promise<void> | undefined;
  /** The time to drain is over. */
  #over = false;

  constructor(options: ServerOptions) {
    silenceLibrary();
    this.#connections = new Connections({ ...options, resume: (uid, held) => this.#turns.wait(uid, held) });
    this.#open = new OpenCalls(options.tickMs ?? TICK_MS);
    this.#routes = new Routes(options, this.#health, this.#open, this.#turns);
    this.#server = new Server({
      'grpc.max_receive_message_length': options.maxMessageBytes,
      'grpc.max_concurrent_streams': MAX_CONCURRENT_STREAMS,
      'grpc-node.max_session_memory': MAX_SESSION_MEMORY_MB,
      // Statistics that nobody reads, at three closures a call.
      'grpc.enable_channelz': 0,
      interceptors: [({ path }, call) => this.#intercept(path, call)],
    });
    limitSessions(this.#server);
    this.#server.addService(this.#routes.definition, {});
    this.#injector = this.#server.createConnectionInjector(ServerCredentials.createInsecure());
    gateStreams(this.#server, this.#connections, this.#turns);
  }

  attach(socket: SocketServer): void {
    socket.on('connection', (connection) => this.#accept(connection));
  }

  setHealth(service: string, serving: boolean): void {
    this.#health.set(service, serving);
  }

  drain(timeoutMs: number): Promise<void> {
    this.#drained ??= this.#drain(timeoutMs);
    return this.#drained;
  }

  async #drain(timeoutMs: number): Promise<void> {
    const closed = this.#connections.closed();
    this.#turns.end();
    // Sends GOAWAY on every connection, refuses new streams and closes each connection with its last stream.
    this.#server.tryShutdown(() => {});
    for (const connection of this.#waiting) connection.destroy();
    // Some of them never end by themselves.
    for (const call of this.#open) if (call instanceof StreamingCall) call.abandon(SHUTTING_DOWN);
    const lastWords = setTimeout(() => this.#sayLastWords(), timeoutMs);
    const cut = setTimeout(() => this.#connections.destroy(), timeoutMs + LAST_WORDS_MS);
    await closed;
    clearTimeout(lastWords);
    clearTimeout(cut);
    this.#open.close();
  }

  /** To the calls that are open, and to those that wait for the answers of others to leave. */
  #sayLastWords(): void {
    this.#over = true;
    for (const call of this.#open) call.abandon(SHUTTING_DOWN);
    this.#connections.endWaiting();
  }

  #accept(connection: Socket): void {
    if (this.#drained !== undefined) {
      connection.destroy();
      return;
    }
    const peer = this.#connections.admit(connection);
    if (peer === undefined) return;
    const delayMs = this.#pace.delayMs(peer.principal.uid);
    if (delayMs === 0) this.#serve(peer);
    else this.#serveLater(peer, delayMs);
  }

  #serve({ principal: { uid }, socket }: Peer): void {
    if (socket.destroyed) return;
    socket.once('error', ({ code }: NodeJS.ErrnoException) => {
      if (code?.startsWith('ERR_HTTP2_') === true) this.#pace.misused(uid);
    });
    this.#injector.injectConnection(socket);
    this.#turns.add(uid, socket);
  }

  #serveLater(peer: Peer, delayMs: number): void {
    const { socket: connection } = peer;
    this.#waiting.add(connection);
    // What were read now would have to be handed on: node:http2 can, but fails when the session ends meanwhile (TypeError in its core).
    handleOf(connection)?.readStop();
    const timer = setTimeout(() => {
      this.#waiting.delete(connection);
      // Before it is served, which stops it again when its uid rests. Nothing is read until this turn is over.
      handleOf(connection)?.readStart();
      this.#serve(peer);
    }, delayMs);
    connection.once('close', () => {
      clearTimeout(timer);
      this.#waiting.delete(connection);
    });
  }

  #intercept(path: string, base: ServerInterceptingCallInterface): ServerInterceptingCall {
    const peer = this.#connections.peer(base.getConnectionInfo().remoteAddress);
    if (peer === undefined) return refusedCall(base, CLOSED);
    if (this.#over) return refusedCall(base, SHUTTING_DOWN);
    if (!peer.known) this.#connections.called(peer);
    const route = this.#routes.unary.get(path);
    if (route !== undefined)
      return new UnaryCall(base, route, peer, !route.forAnybody && !this.#connections.admits(peer));
    // A stream that waited.
    if (this.#drained !== undefined) return refusedCall(base, SHUTTING_DOWN);
    return new StreamingCall(base, this.#routes.streaming.get(path)!, peer);
  }
}

/** grpc-js writes headers that it does not take to standard error, as they came. What there is to say of a call stands in its status. */
function silenceLibrary(): void {
  const say = (): void => {};
  setLogger({ error: say, info: say, debug: say });
}

/** Applies node:http2's options that grpc-js has no names for. */
function limitSessions(server: Server): void {
  const { commonServerOptions } = server as unknown as { commonServerOptions: ServerSessionOptions };
  commonServerOptions.streamResetBurst = RESET_BURST;
  commonServerOptions.streamResetRate = RESETS_PER_SECOND;
  commonServerOptions.maxHeaderListPairs = MAX_HEADER_LIST_PAIRS;
  commonServerOptions.settings = { ...commonServerOptions.settings, maxHeaderListSize: MAX_HEADER_LIST_BYTES };
}

/** A call for which nothing is run: on a connection that has just closed there is no principal, and at the end no time. */
function refusedCall(base: ServerInterceptingCallInterface, status: Status): ServerInterceptingCall {
  return new ServerInterceptingCall(base, { start: () => base.sendStatus(status) });
}
