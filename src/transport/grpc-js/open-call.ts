import { randomUUID } from 'node:crypto';
import { constants } from 'node:http2';
import type { Socket } from 'node:net';
import { status as codes, Metadata, ServerInterceptingCall, type ServerInterceptingCallInterface } from '@grpc/grpc-js';
import { DekdError } from '../../errors.ts';
import type { Principal } from '../principal.ts';
import type { CallIdentity, MalformedMessage, RpcStatus } from '../transport.ts';
import type { Peer } from './connections.ts';
import type { FairTurns } from './fair-turns.ts';
import type { IncomingMessage } from './incoming-message.ts';
import { COMPRESSED, MessageDecoder, streamOf } from './message-decoder.ts';
import type { OpenCalls } from './open-calls.ts';
import type { OutgoingMessage } from './outgoing-message.ts';
import type { Work } from './share.ts';
import { libraryFailure, toStatusObject } from './status.ts';
import type { UnsentAnswers } from './unsent-answers.ts';

/** What all calls of one RPC share. */
export interface Route {
  /** As in Call.method. */
  readonly method: string;
  readonly serialize: (message: unknown) => Uint8Array;
  readonly toStatus: (thrown: unknown, call: CallIdentity) => RpcStatus;
  readonly maxMessageBytes: number;
  /** Requests of one call. */
  readonly maxMessages: number;
  readonly open: OpenCalls;
  readonly turns: FairTurns;
}

export type Status = Parameters<ServerInterceptingCallInterface['sendStatus']>[0];

export const OK: Status = { code: 0, details: 'OK', metadata: null };

const REQUEST_ID_HEADER = 'x-dekd-request-id';
const REQUEST_ID = /^[A-Za-z0-9._:-]{1,64}$/;

const NO_METADATA = new Metadata();
/** grpc-js would say that it takes gzip. */
const IDENTITY = { 'grpc-accept-encoding': 'identity' };
const PLAIN = Metadata.fromHttp2Headers(IDENTITY);

/**
 * What every call has of the wire: its stream, its time-outs, its part of the connection's memory, and its end. It is grpc-js's interceptor
 * (outermost, so that it takes the place of grpc-js's own handlers, which build a stream and five closures a call) and the listener to the
 * wire in one object.
 */
export abstract class OpenCall extends ServerInterceptingCall implements CallIdentity, Work {
  readonly principal: Principal;
  /** When OpenCalls ends it: while it is received, and while its answer is unread. */
  dueTick: number;
  protected readonly base: ServerInterceptingCallInterface;
  protected readonly answers: UnsentAnswers;
  protected readonly decoder: MessageDecoder;
  /** All of the request has come. */
  protected halfClosed = false;
  /** Nothing more goes out: the status is sent, or the stream gone. */
  protected ended = false;
  readonly #route: Route;
  readonly #socket: Socket;
  readonly #sendStatus: ServerInterceptingCallInterface['sendStatus'];
  #metadata: Metadata = NO_METADATA;
  #requestId: string | undefined;
  #outgoing: OutgoingMessage | undefined;
  /** Of the answer that has not left. */
  #answerBytes = 0;
  /** Its stream was reset, which may not have left either. */
  #reset = false;

  constructor(base: ServerInterceptingCallInterface, route: Route, { principal, memory, answers, socket }: Peer) {
    super(base);
    this.principal = principal;
    this.answers = answers;
    this.decoder = MessageDecoder.install(base, memory, route.maxMessageBytes, route.maxMessages);
    this.dueTick = route.open.receiveBy;
    this.base = base;
    this.#route = route;
    this.#socket = socket;
    this.#sendStatus = base.sendStatus;
    // grpc-js ends calls by itself through this method (deadline, size, compression): all get our details.
    base.sendStatus = (status) => this.#libraryStatus(status);
  }

  get method(): string {
    return this.#route.method;
  }

  get requestId(): string {
    this.#requestId ??= this.#givenRequestId() ?? randomUUID();
    return this.#requestId;
  }

  /** Its request, when it is the caller's turn. */
  abstract run(): void;

  /** The caller's headers are in. */
  protected abstract begin(): void;

  abstract onReceiveMessage(request: IncomingMessage): void;

  abstract onReceiveHalfClose(): void;

  /** Answers for a caller or a handler that is not done; its signal aborts, and what it still says is dropped. */
  abandon(status: Status): void {
    if (!this.ended) this.finish(status);
  }

  /** Neither the caller that does not send nor the one that does not read may hold memory without end. */
  expire(): void {
    if (this.ended) this.#cut();
    else this.fail(new DekdError('DEADLINE_EXCEEDED', 'the message did not come to its end in time'));
  }

  /** Leaves the listener of grpc-js's own handler out. */
  override start(): void {
    this.#route.open.add(this);
    this.base.start(this);
  }

  onReceiveMetadata(metadata: Metadata): void {
    this.#metadata = metadata;
    this.begin();
  }

  /** grpc-js says so at the end of every call, and when the caller cancels or disappears. */
  onCancel(): void {
    this.ended = true;
    this.decoder.close();
    this.answers.drop(this);
    this.releaseAnswer();
    if (this.halfClosed) this.#route.open.delete(this);
    else this.#closeLater();
  }

  /** False, and nothing sent, when the connection has its share of memory. `left`: once the kernel has all of it. */
  protected send(outgoing: OutgoingMessage, left?: () => void): boolean {
    if (!this.answers.add(outgoing.byteLength)) return false;
    this.#answerBytes = outgoing.byteLength;
    this.#outgoing = outgoing;
    this.#sendRequestId();
    this.base.sendMetadata(PLAIN);
    this.base.sendMessage(outgoing, () => {
      outgoing.wipeFrame();
      left?.();
    });
    return true;
  }

  /** What was sent has left, or never will. */
  protected releaseAnswer(): void {
    this.answers.remove(this.#answerBytes);
    this.#answerBytes = 0;
  }

  protected fail(thrown: unknown): void {
    if (this.ended) return;
    this.#sendRequestId();
    this.finish(this.#status(thrown));
  }

  protected finish(status: Status): void {
    this.ended = true;
    this.dueTick = this.#route.open.readBy;
    this.#sendStatus.call(this.base, status);
  }

  /** grpc-js ends the call because of `failure`. */
  protected libraryFails(_failure: DekdError | MalformedMessage): void {}

  /** The rest of the request is dropped. A caller that never ends it loses the stream, once the answer has surely left (RFC 9113, section 8.1). */
  #closeLater(): void {
    const { open } = this.#route;
    const stream = streamOf(this.base);
    if (stream.destroyed) {
      open.delete(this);
      return;
    }
    this.dueTick = open.closeBy;
    stream.once('close', () => open.delete(this));
  }

  /** A stream ends for node:http2 when its reset has been written; where the kernel takes nothing, only the connection's end frees anything. */
  #cut(): void {
    if (this.#reset) {
      this.#socket.destroy();
      return;
    }
    this.#reset = true;
    const unread = this.halfClosed || this.#answerBytes > 0;
    // Its peer may be paused; only what was unread for a minute has had that time already.
    this.dueTick = unread ? this.#route.open.closeBy : this.#route.open.readBy;
    streamOf(this.base).close(unread ? constants.NGHTTP2_CANCEL : constants.NGHTTP2_NO_ERROR);
  }

  #status(thrown: unknown): Status {
    try {
      return toStatusObject(this.#route.toStatus(thrown, this));
    } catch {
      return { code: codes.INTERNAL, details: 'internal error', metadata: null };
    }
  }

  #libraryStatus(status: Status): void {
    if (this.ended) {
      // Our own status is on its way. Only a failed write is done with the frame; when a deadline passes, the kernel may still have to take it.
      if (status.code === codes.INTERNAL) this.#outgoing?.wipeFrame();
      return;
    }
    const failure = libraryFailure(status.code ?? codes.INTERNAL, status.details ?? '', this.#route);
    this.libraryFails(failure);
    this.#sendRequestId();
    // Says which compression would be accepted (gRPC, "Compression").
    if (status.details === COMPRESSED) this.base.sendMetadata(PLAIN);
    this.finish(this.#status(failure));
  }

  #givenRequestId(): string | undefined {
    const values = this.#metadata.get(REQUEST_ID_HEADER);
    if (values.length !== 1) return undefined;
    const value = values[0];
    return typeof value === 'string' && REQUEST_ID.test(value) ? value : undefined;
  }

  #sendRequestId(): void {
    const given = this.#givenRequestId();
    if (given === undefined) return;
    this.base.sendMetadata(Metadata.fromHttp2Headers({ ...IDENTITY, [REQUEST_ID_HEADER]: given }));
  }
}
