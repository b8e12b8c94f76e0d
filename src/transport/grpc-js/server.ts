import type { ServerSessionOptions } from 'node:http2';
import type { Socket, Server as SocketServer } from 'node:net';
import {
  type ConnectionInjector,
  status as codes,
  Server,
  ServerCredentials,
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
} from '@grpc/grpc-js';
import type { ServiceDefinition } from '@grpc/proto-loader';
import { MessageTables } from '../message-table.ts';
import {
  type CreateServer,
  type Handler,
  type ServerOptions,
  type Service,
  type TransportServer,
  UnimplementedMethod,
} from '../transport.ts';
import { AcceptPace } from './accept-pace.ts';
import { Connections, type Peer } from './connections.ts';
import { FairTurns } from './fair-turns.ts';
import { Health } from './health.ts';
import { IncomingMessage } from './incoming-message.ts';
import { COMPRESSED, MessageDecoder } from './message-decoder.ts';
import { OpenCalls } from './open-calls.ts';
import { addReflection } from './reflection.ts';
import { handleOf } from './share.ts';
import { NOT_COMPRESSED } from './status.ts';
import { gateStreams } from './stream-gate.ts';
import { type Route, type Status, UnaryCall } from './unary-call.ts';

/** The transport on @grpc/grpc-js. */
export const createServer: CreateServer = (options) => new GrpcJsServer(options);

/** Streams that one connection may have open; more wait at the client. Far above what keeps one thread busy. */
const MAX_CONCURRENT_STREAMS = 64;

/**
 * Megabytes that node:http2 may hold for one connection: what is above ends it, and every call on it. Its answers can be three quarters of
 * three quarters of all request memory (72 MiB); headers, stream records and control frames take 4 MB, if 64 streams have the largest headers
 * that node:http2 takes (64 KiB, 128 pairs: its defaults, which grpc-js does not let us set). grpc-js would have no limit at all.
 */
const MAX_SESSION_MEMORY_MB = 96;

/**
 * Streams that a client may reset at once, and steadily, before its connection is ended ("rapid reset", CVE-2023-44487): all that it
 * may have open, twice over. nghttp2's own 1,000 at once are a tenth of a second of everybody's time. (It ends the connection when it has
 * read all that it was handed; until then see stream-gate.ts.)
 */
const RESET_BURST = 128;
const RESETS_PER_SECOND = 64;

/** Health checks and reflection name a service or a symbol, and anybody may call them. */
const MAX_LIBRARY_MESSAGE_BYTES = 4 * 1024;

const TICK_MS = 1_000;

/** Between the last answers of a drain that took too long and the end of its connections, for callers that still read. */
const LAST_WORDS_MS = 100;

const SHUTTING_DOWN: Status = { code: codes.UNAVAILABLE, details: 'the server is shutting down', metadata: null };

/** To health checks and reflection; all other calls have details (UnaryCall). */
const UNCOMPRESSED_ONLY: Status = { code: codes.UNIMPLEMENTED, details: NOT_COMPRESSED, metadata: null };

class GrpcJsServer implements TransportServer {
  readonly #server: Server;
  readonly #injector: ConnectionInjector;
  readonly #connections: Connections;
  readonly #routes: ReadonlyMap<string, Route>;
  readonly #health = new Health();
  /** Calls of health and reflection, some of which never end by themselves. */
  readonly #libraryCalls = new Set<ServerInterceptingCallInterface>();
  readonly #open: OpenCalls;
  readonly #pace = new AcceptPace();
  readonly #turns = new FairTurns();
  /** Connections whose turn to be served has not come (AcceptPace). */
  readonly #waiting = new Set<Socket>();
  #drained: Promise<void> | undefined;

  constructor(options: ServerOptions) {
    this.#connections = new Connections({ ...options, resume: (uid, held) => this.#turns.wait(uid, held) });
    this.#open = new OpenCalls(options.tickMs ?? TICK_MS);
    this.#routes = routes(options, this.#open, this.#turns);
    this.#server = new Server({
      'grpc.max_receive_message_length': options.maxMessageBytes,
      'grpc.max_concurrent_streams': MAX_CONCURRENT_STREAMS,
      'grpc-node.max_session_memory': MAX_SESSION_MEMORY_MB,
      // Statistics that nobody reads, at three closures a call.
      'grpc.enable_channelz': 0,
      interceptors: [({ path }, call) => this.#intercept(path, call)],
    });
    limitResets(this.#server);
    const tables = new MessageTables(options.packageDefinition, options.maxima);
    for (const { definition } of options.services) this.#server.addService(checkedDefinition(definition, tables), {});
    this.#health.addTo(this.#server);
    addReflection(this.#server, options.packageDefinition, serviceNames(options));
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
    for (const call of this.#libraryCalls) call.sendStatus(SHUTTING_DOWN);
    const lastWords = setTimeout(() => {
      for (const call of this.#open) call.abandon(SHUTTING_DOWN);
    }, timeoutMs);
    const cut = setTimeout(() => this.#connections.destroy(), timeoutMs + LAST_WORDS_MS);
    await closed;
    clearTimeout(lastWords);
    clearTimeout(cut);
    this.#open.close();
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
      this.#serve(peer);
      handleOf(connection)?.readStart();
    }, delayMs);
    connection.once('close', () => {
      clearTimeout(timer);
      this.#waiting.delete(connection);
    });
  }

  #intercept(path: string, base: ServerInterceptingCallInterface): ServerInterceptingCall {
    const peer = this.#connections.peer(base.getConnectionInfo().remoteAddress);
    if (peer === undefined) return refusedCall(base);
    if (!peer.known) this.#connections.called(peer);
    const route = this.#routes.get(path);
    if (route === undefined) return this.#libraryCall(base, peer);
    return new UnaryCall(base, route, peer, !this.#connections.admits(peer));
  }

  #libraryCall(base: ServerInterceptingCallInterface, { memory }: Peer): ServerInterceptingCall {
    this.#libraryCalls.add(base);
    const decoder = MessageDecoder.install(base, memory, MAX_LIBRARY_MESSAGE_BYTES);
    const { sendStatus } = base;
    base.sendStatus = (status) => sendStatus.call(base, status.details === COMPRESSED ? UNCOMPRESSED_ONLY : status);
    const onCancel = () => {
      this.#libraryCalls.delete(base);
      decoder.close();
    };
    return new ServerInterceptingCall(base, { start: (next) => next({ onCancel }) });
  }
}

/** Applies node:http2's options that grpc-js has no names for. */
function limitResets(server: Server): void {
  const { commonServerOptions } = server as unknown as { commonServerOptions: ServerSessionOptions };
  commonServerOptions.streamResetBurst = RESET_BURST;
  commonServerOptions.streamResetRate = RESETS_PER_SECOND;
}

/** A call on a connection that has just closed: nobody is there to hear an answer, and no handler runs without a principal. */
function refusedCall(base: ServerInterceptingCallInterface): ServerInterceptingCall {
  return new ServerInterceptingCall(base, {
    start: () => base.sendStatus({ code: codes.UNAVAILABLE, details: 'the connection is closed', metadata: null }),
  });
}

function routes(options: ServerOptions, open: OpenCalls, turns: FairTurns): Map<string, Route> {
  const found = new Map<string, Route>();
  for (const service of options.services) {
    for (const [name, { path, responseSerialize }] of Object.entries(service.definition)) {
      const method = path.slice(1);
      found.set(path, {
        method,
        handler: handlerOf(service, name, method),
        serialize: responseSerialize as (message: unknown) => Uint8Array,
        toStatus: options.toStatus,
        maxMessageBytes: options.maxMessageBytes,
        open,
        turns,
      });
    }
  }
  return found;
}

function handlerOf(service: Service, name: string, method: string): Handler {
  const handler = service.handlers[name];
  if (handler !== undefined) return handler;
  return () => {
    throw new UnimplementedMethod(method);
  };
}

/** The same RPCs, with IncomingMessage and OutgoingMessage in the places of their messages. */
function checkedDefinition(definition: ServiceDefinition, tables: MessageTables): ServiceDefinition {
  const checked: ServiceDefinition = {};
  for (const [name, method] of Object.entries(definition)) {
    if (method.requestStream || method.responseStream)
      throw new Error(`internal error: ${method.path} is no unary RPC`);
    const table = tables.of(method.requestType);
    const decode = method.requestDeserialize;
    checked[name] = {
      ...method,
      requestDeserialize: (bytes) => new IncomingMessage(bytes, table, decode),
      // An OutgoingMessage already, which stands in for the Buffer.
      responseSerialize: (message) => message as unknown as Buffer,
    };
  }
  return checked;
}

function serviceNames({ services }: ServerOptions): string[] {
  const paths = services.map(({ definition }) => Object.values(definition)[0]!.path);
  return [...paths.map((path) => path.split('/')[1]!), 'grpc.health.v1.Health'];
}
