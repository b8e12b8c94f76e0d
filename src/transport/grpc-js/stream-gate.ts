import {
  constants,
  type Http2Server,
  type Http2Session,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2';
import type { Server } from '@grpc/grpc-js';
import type { Connections, Peer } from './connections.ts';
import type { FairTurns } from './fair-turns.ts';
import { headerListBytes, MAX_HEADER_LIST_BYTES, repairTimeout } from './request-headers.ts';
import type { Work } from './share.ts';
import type { UnsentAnswers } from './unsent-answers.ts';

/** The header list of an ordinary call is a third of it. */
const FREE_HEADER_BYTES = 1_024;

/** Header lists above the limit, from a peer that has not heard of it or does not care, before its connection is ended. */
const MAX_OVERLONG_STREAMS = 4;
const overlong = new WeakMap<Peer, number>();

type StreamHandler = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void;

/**
 * Stands between node:http2 and grpc-js 1.14, so that a stream costs nothing of what grpc-js does with it until its uid's turn has come. Of
 * grpc-js it uses the map of its HTTP/2 servers, of which an injector has one.
 */
export function gateStreams(server: Server, connections: Connections, turns: FairTurns): void {
  const { http2Servers } = server as unknown as { http2Servers: ReadonlyMap<Http2Server, unknown> };
  const peers = new WeakMap<Http2Session, Peer>();
  for (const http2 of http2Servers.keys()) {
    const [handle] = http2.listeners('stream') as unknown[] as StreamHandler[];
    if (handle === undefined) throw new Error('internal error: grpc-js handles no streams');
    http2.removeAllListeners('stream');
    http2.on('session', (session) => {
      const peer = connections.peer(session.socket.remoteAddress);
      if (peer !== undefined) peers.set(session, peer);
    });
    http2.on('stream', (stream: ServerHttp2Stream, headers) => {
      const peer = stream.session === undefined ? undefined : peers.get(stream.session);
      // Undefined: a connection that has just closed.
      if (peer !== undefined) admit(stream, headers, peer, turns, handle);
    });
  }
}

function admit(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  peer: Peer,
  turns: FairTurns,
  handle: StreamHandler,
): void {
  const { uid } = peer.principal;
  const turn = turns.begin(uid, peer.socket);
  const bytes = headerListBytes(headers);
  if (turn === 'never' || (bytes > MAX_HEADER_LIST_BYTES && isMisuse(peer))) end(stream);
  else if (bytes > MAX_HEADER_LIST_BYTES || !takesHeaders(stream, bytes, peer)) refuse(stream);
  else {
    repairTimeout(headers);
    if (turn === 'now' && !peer.answers.full) handle(stream, headers);
    else turns.wait(uid, [new WaitingStream(stream, headers, handle, peer.answers)]);
  }
}

/** At once: what else node:http2 was handed of the connection it does not read. */
function end(stream: ServerHttp2Stream): void {
  stream.on('error', () => {});
  stream.session?.destroy(undefined, constants.NGHTTP2_ENHANCE_YOUR_CALM);
}

/** node:http2 keeps to the limit only once the peer has confirmed our settings, which it may never do: what passes it comes here until then. */
function isMisuse(peer: Peer): boolean {
  const streams = (overlong.get(peer) ?? 0) + 1;
  overlong.set(peer, streams);
  return streams > MAX_OVERLONG_STREAMS;
}

/** Of each stream so much is part of what a connection costs; what is more lies in the budget of requests while the stream is open. */
function takesHeaders(stream: ServerHttp2Stream, bytes: number, { memory }: Peer): boolean {
  const excess = bytes - FREE_HEADER_BYTES;
  if (excess <= 0) return true;
  if (!memory.take(excess)) return false;
  stream.once('close', () => memory.release(excess));
  return true;
}

/** As node:http2 does with a header list that is too long; to gRPC clients that is RESOURCE_EXHAUSTED. */
function refuse(stream: ServerHttp2Stream): void {
  stream.on('error', () => {});
  stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM);
}

class WaitingStream implements Work {
  readonly #stream: ServerHttp2Stream;
  readonly #headers: IncomingHttpHeaders;
  readonly #handle: StreamHandler;
  readonly #answers: UnsentAnswers;

  constructor(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, handle: StreamHandler, answers: UnsentAnswers) {
    this.#stream = stream;
    this.#headers = headers;
    this.#handle = handle;
    this.#answers = answers;
    // An unheard 'error' event would end the process.
    stream.on('error', () => {});
    stream.once('close', () => answers.drop(this));
  }

  run(): void {
    if (this.#stream.destroyed || this.#stream.closed) return;
    if (this.#answers.full) this.#answers.hold(this);
    else this.#handle(this.#stream, this.#headers);
  }
}
