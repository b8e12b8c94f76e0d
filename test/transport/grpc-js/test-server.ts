import { mkdtempSync, rmSync } from 'node:fs';
import type { ClientHttp2Session } from 'node:http2';
import { createServer as createSocketServer, type Server as SocketServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type CallOptions,
  Client,
  type ClientUnaryCall,
  credentials,
  Metadata,
  type MethodDefinition,
  type ServiceError,
} from '@grpc/grpc-js';
import type { ServiceDefinition } from '@grpc/proto-loader';
import type { ExecutionContext } from 'ava';
import { DekdError } from '../../../src/errors.ts';
import { createServer } from '../../../src/transport/grpc-js/server.ts';
import type { Principal } from '../../../src/transport/principal.ts';
import { loadProtos } from '../../../src/transport/protos.ts';
import { RequestMemory } from '../../../src/transport/request-memory.ts';
import {
  type Handler,
  MalformedMessage,
  type RpcStatus,
  type ServerOptions,
  type TransportServer,
  UnimplementedMethod,
} from '../../../src/transport/transport.ts';

export const protos = loadProtos();
export const keyAgent = protos['dekd.v1.KeyAgent'] as ServiceDefinition;

export const CALLER: Principal = { uid: 1234, gid: 5678, groups: [5678, 9] };

export interface Answer {
  readonly response: Record<string, unknown> | undefined;
  readonly error: ServiceError | undefined;
  readonly initial: Metadata;
}

export interface TestServer {
  readonly server: TransportServer;
  readonly client: Client;
  readonly path: string;
  /** Opens one more socket; returns its path. */
  listen(): Promise<string>;
  connect(path?: string): Client;
  /** Open connections on all sockets. */
  connections(): Promise<number>;
  /** Calls an RPC of KeyAgent. */
  call(
    name: string,
    request: object,
    options?: CallOptions & { metadata?: Metadata; client?: Client },
  ): Promise<Answer>;
  /** Sends bytes in the place of a message. */
  callRaw(name: string, bytes: Uint8Array): Promise<Answer>;
  start(name: string, request: object): { call: ClientUnaryCall; answer: Promise<Answer> };
}

/** Status of a failure as dekd's API maps it, reduced to what these tests look at. */
export function toStatus(thrown: unknown): RpcStatus {
  if (thrown instanceof MalformedMessage) {
    return {
      code: 3,
      message: `${thrown.field}: ${thrown.message}`,
      details: Buffer.from(`INVALID_REQUEST ${thrown.field}`),
    };
  }
  if (thrown instanceof UnimplementedMethod)
    return { code: 12, message: thrown.message, details: Buffer.from('UNIMPLEMENTED') };
  const error = DekdError.from(thrown);
  const codes: Record<string, number> = {
    DEADLINE_EXCEEDED: 4,
    CANCELLED: 1,
    MESSAGE_TOO_LARGE: 8,
    UPSTREAM_UNAVAILABLE: 14,
    UNIMPLEMENTED: 12,
    POLICY_DENIED: 7,
    QUOTA_EXCEEDED: 8,
  };
  return {
    code: codes[error.reason] ?? 13,
    message: error.message,
    details: Buffer.from(error.reason),
    ...(error.retryAfterMs === undefined ? {} : { retryPushbackMs: error.retryAfterMs }),
  };
}

/** A real server on a temporary socket. When the test ends everything is closed, and no connection may be left. */
export async function startServer(
  t: ExecutionContext,
  handlers: Record<string, Handler>,
  options: Partial<ServerOptions> = {},
): Promise<TestServer> {
  const directory = mkdtempSync(join(tmpdir(), 'dekd-'));
  const server = createServer({
    packageDefinition: protos,
    services: [{ definition: keyAgent, handlers }],
    maxMessageBytes: 4 * 1024 * 1024,
    toStatus,
    peerCredentials: () => CALLER,
    requestMemory: new RequestMemory(128 * 1024 * 1024),
    admits: () => true,
    onConnectionRefused: () => {},
    ...options,
  });
  const sockets: SocketServer[] = [];
  const clients: Client[] = [];
  const listen = async () => {
    const path = join(directory, `${sockets.length}.sock`);
    const socket = createSocketServer();
    await new Promise<void>((resolve) => socket.listen(path, resolve));
    server.attach(socket);
    sockets.push(socket);
    return path;
  };
  const path = await listen();
  const connect = (target = path) => {
    const client = new Client(`unix:${target}`, credentials.createInsecure(), {
      'grpc.max_receive_message_length': -1,
      'grpc.use_local_subchannel_pool': 1,
      'grpc.enable_retries': 0,
    });
    clients.push(client);
    return client;
  };
  const client = connect();
  const connections = async () => {
    const counts = await Promise.all(
      sockets.map((socket) => new Promise<number>((resolve) => socket.getConnections((_, count) => resolve(count)))),
    );
    return counts.reduce((sum, count) => sum + count, 0);
  };
  t.teardown(async () => {
    for (const each of clients) each.close();
    await server.drain(2000);
    const left = await connections();
    for (const socket of sockets) socket.close();
    rmSync(directory, { recursive: true });
    if (left > 0) throw new Error(`${left} connections are left`);
  });
  return {
    server,
    client,
    path,
    listen,
    connect,
    connections,
    call: (name, request, { metadata, client: other = client, ...callOptions } = {}) =>
      invoke(
        other,
        method(name),
        (method(name).requestSerialize as (value: object) => Buffer)(request),
        metadata,
        callOptions,
      ).answer,
    callRaw: (name, bytes) => invoke(client, method(name), bytes).answer,
    start: (name, request) => invoke(client, method(name), method(name).requestSerialize(request)),
  };
}

function method(name: string): MethodDefinition<object, object> {
  return keyAgent[name] as unknown as MethodDefinition<object, object>;
}

function invoke(
  client: Client,
  { path, responseDeserialize }: MethodDefinition<object, object>,
  bytes: Uint8Array,
  metadata = new Metadata(),
  options: CallOptions = {},
): { call: ClientUnaryCall; answer: Promise<Answer> } {
  let call: ClientUnaryCall | undefined;
  const answer = new Promise<Answer>((resolve) => {
    let initial = new Metadata();
    call = client.makeUnaryRequest(
      path,
      (value: Uint8Array) => Buffer.from(value),
      responseDeserialize as (bytes: Buffer) => Record<string, unknown>,
      bytes,
      metadata,
      options,
      (error, response) => setImmediate(() => resolve({ response, error: error ?? undefined, initial })),
    );
    call.on('metadata', (received: Metadata) => {
      initial = received;
    });
  });
  return { call: call!, answer };
}

/** Sends bytes as the body of an RPC, without a gRPC client's help. Ends with the stream; gives headers and trailers in one. `onResponse`: at the headers. */
export async function rawRequest(
  http2: ClientHttp2Session,
  name: string,
  headers: Record<string, string>,
  body: Buffer,
  onResponse: () => void = () => {},
): Promise<Record<string, unknown>> {
  const stream = http2.request({
    ':method': 'POST',
    ':path': method(name).path,
    'content-type': 'application/grpc',
    ...headers,
  });
  const received: Record<string, unknown> = {};
  stream.on('response', (found) => {
    Object.assign(received, found);
    onResponse();
  });
  stream.on('trailers', (found) => Object.assign(received, found));
  stream.on('error', () => {});
  stream.resume();
  stream.end(body);
  await new Promise((resolve) => stream.once('close', resolve));
  return received;
}
