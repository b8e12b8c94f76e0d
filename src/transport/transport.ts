import type { Server as SocketServer } from 'node:net';
import type { PackageDefinition, ServiceDefinition } from '@grpc/proto-loader';
import type { Maxima } from './message-table.ts';
import type { Principal } from './principal.ts';
import type { RequestMemory } from './request-memory.ts';

/** Which call it is, and whose. */
export interface CallIdentity {
  /** Full name, e.g. `dekd.v1.KeyAgent/Encrypt`. */
  readonly method: string;
  readonly principal: Principal;
  /** The caller's `x-dekd-request-id` when it is well formed, else one of ours. Made on first use. */
  readonly requestId: string;
}

/** What a handler may know of the call besides its message. */
export interface Call extends CallIdentity {
  /** Aborts when the caller cancels or its deadline passes. Made on first use: a hit never touches it. */
  readonly signal: AbortSignal;
  /** Zeroes `bytes` once the response is serialised (or failed), at once when it is already: for plaintexts and data keys in a response. */
  wipeLater(bytes: Uint8Array): void;
}

/** One unary RPC. A plain value keeps the call synchronous; the message's own bytes are zeroed when the handler is done. */
// biome-ignore lint/suspicious/noExplicitAny: messages are what proto-loader decodes; each handler states its own types
export type Handler = (request: any, call: Call) => unknown;

export interface Service {
  /** From proto-loader, e.g. `packageDefinition['dekd.v1.KeyAgent']`. */
  readonly definition: ServiceDefinition;
  /** By RPC name (`Encrypt`). An RPC of the definition without a handler answers UNIMPLEMENTED. */
  readonly handlers: Readonly<Record<string, Handler>>;
}

/** How a call ends when it fails. */
export interface RpcStatus {
  /** A gRPC status code, 1-16. */
  readonly code: number;
  readonly message: string;
  /** Serialised google.rpc.Status for `grpc-status-details-bin`. */
  readonly details?: Uint8Array;
  /** Value of the trailer `grpc-retry-pushback-ms`. */
  readonly retryPushbackMs?: number;
}

/** The message's bytes are not what its description allows; `field` is the path of what is wrong, empty for the message itself. */
export class MalformedMessage extends Error {
  override readonly name = 'MalformedMessage';
  readonly field: string;

  constructor(field: string, problem: string) {
    super(problem);
    this.field = field;
  }
}

/** The RPC is declared, but nothing handles it. */
export class UnimplementedMethod extends Error {
  override readonly name = 'UnimplementedMethod';
  /** As in Call.method. */
  readonly method: string;

  constructor(method: string) {
    super(`${method} is not served by this version`);
    this.method = method;
  }
}

export interface ServerOptions {
  /** Everything that reflection shows, grpc.health.v1 included. */
  readonly packageDefinition: PackageDefinition;
  readonly services: readonly Service[];
  /** Longest message in bytes, default 4 MiB. A longer one is RESOURCE_EXHAUSTED. */
  readonly maxMessageBytes: number;
  /** Refuses a message before it is decoded when a repeated field has more elements; one that is not named may have 64. */
  readonly maxima?: Maxima;
  /** Turns whatever a handler threw, MalformedMessage, UnimplementedMethod or a DekdError of the transport into the status that the caller sees. */
  readonly toStatus: (thrown: unknown, call: CallIdentity) => RpcStatus;
  /** Credentials of a connected socket's peer; throws when the kernel does not tell. */
  readonly peerCredentials: (fd: number) => Principal;
  /** What all servers of the process may hold of requests. */
  readonly requestMemory: RequestMemory;
  /**
   * False for a principal that no rule names: each of its calls is POLICY_DENIED at its headers, and health and reflection are all it
   * gets. Asked at accept, and while it is false at each call.
   */
  readonly admits: (principal: Principal) => boolean;
  /** A connection was closed at accept because `limit` are open; told at most once a minute. */
  readonly onConnectionRefused: (refused: RefusedConnection) => void;
  /** The beat of the time-outs, default 1,000; for tests. */
  readonly tickMs?: number;
}

export interface RefusedConnection {
  readonly uid: number;
  /** Whose connections are too many. */
  readonly scope: 'process' | 'uid' | 'unknown callers';
  readonly limit: number;
}

/** A gRPC server on sockets that somebody else opened. Serves grpc.health.v1.Health and server reflection beside its services. */
export interface TransportServer {
  /** Takes the connections of a listening socket; a peer whose credentials can't be read is cut off. May be called for several. */
  attach(socket: SocketServer): void;
  /** Health of `service` ("" = the process). Unset services are unknown to health checks. */
  setHealth(service: string, serving: boolean): void;
  /** Refuses new connections and calls, lets running calls end, at most `timeoutMs`, then ends them with UNAVAILABLE and every connection. */
  drain(timeoutMs: number): Promise<void>;
}

export type CreateServer = (options: ServerOptions) => TransportServer;
