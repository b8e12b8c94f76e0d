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
import type { Work } from './share.ts';
import type { UnsentAnswers } from './unsent-answers.ts';

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
      // A connection that has just closed.
      if (peer === undefined) return;
      const { uid } = peer.principal;
      const turn = turns.begin(uid, peer.socket);
      if (turn === 'never') end(stream);
      else if (turn === 'now' && !peer.answers.full) handle(stream, headers);
      else turns.wait(uid, [new WaitingStream(stream, headers, handle, peer.answers)]);
    });
  }
}

/** At once: what else node:http2 was handed of the connection it does not read. */
function end(stream: ServerHttp2Stream): void {
  stream.on('error', () => {});
  stream.session?.destroy(undefined, constants.NGHTTP2_ENHANCE_YOUR_CALM);
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
  }

  run(): void {
    if (this.#stream.destroyed || this.#stream.closed) return;
    if (this.#answers.full) this.#answers.hold(this);
    else this.#handle(this.#stream, this.#headers);
  }
}
