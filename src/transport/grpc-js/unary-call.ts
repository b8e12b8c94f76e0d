import { randomUUID } from 'node:crypto';
import { constants } from 'node:http2';
import { status as codes, Metadata, ServerInterceptingCall, type ServerInterceptingCallInterface } from '@grpc/grpc-js';
import { DekdError } from '../../errors.ts';
import type { Principal } from '../principal.ts';
import { type Call, type Handler, MalformedMessage, type RpcStatus } from '../transport.ts';
import type { Peer } from './connections.ts';
import type { FairTurns } from './fair-turns.ts';
import type { IncomingMessage } from './incoming-message.ts';
import { COMPRESSED, MessageDecoder, streamOf } from './message-decoder.ts';
import type { OpenCalls } from './open-calls.ts';
import { OutgoingMessage } from './outgoing-message.ts';
import type { Work } from './share.ts';
import { libraryFailure, noRequestMemory, toStatusObject } from './status.ts';
import type { UnsentAnswers } from './unsent-answers.ts';

/** What all calls of one RPC share. */
export interface Route {
  readonly method: string;
  readonly handler: Handler;
  readonly serialize: (message: unknown) => Uint8Array;
  readonly toStatus: (thrown: unknown, call: Call) => RpcStatus;
  readonly maxMessageBytes: number;
  readonly open: OpenCalls;
  readonly turns: FairTurns;
}

export type Status = Parameters<ServerInterceptingCallInterface['sendStatus']>[0];

const REQUEST_ID_HEADER = 'x-dekd-request-id';
const REQUEST_ID = /^[A-Za-z0-9._:-]{1,64}$/;

const NO_METADATA = new Metadata();
/** grpc-js would say that it takes gzip. */
const IDENTITY = { 'grpc-accept-encoding': 'identity' };
const PLAIN = Metadata.fromHttp2Headers(IDENTITY);
const OK: Status = { code: 0, details: 'OK', metadata: null };

/**
 * One unary call from its headers to its trailers, in one object: grpc-js's interceptor (outermost, so that it takes the place of
 * grpc-js's own unary handler, which builds a Writable and five closures a call), the listener to the wire, and the handler's Call.
 *
 * What is zeroed: the request's bytes as they came (MessageDecoder) and as they were decoded, `wipeLater`, the serialised response and
 * its frame. Out of reach: node:http2's own buffers.
 */
export class UnaryCall extends ServerInterceptingCall implements Call, Work {
  readonly principal: Principal;
  readonly #base: ServerInterceptingCallInterface;
  readonly #sendStatus: ServerInterceptingCallInterface['sendStatus'];
  readonly #route: Route;
  readonly #decoder: MessageDecoder;
  readonly #denied: boolean;
  readonly #answers: UnsentAnswers;
  /** When OpenCalls ends it: while it is received, and while its reply is unread. */
  dueTick: number;
  #metadata: Metadata = NO_METADATA;
  #request: IncomingMessage | undefined;
  #requestId: string | undefined;
  #outgoing: OutgoingMessage | undefined;
  #secrets: Uint8Array[] | undefined;
  #abort: AbortController | undefined;
  /** Why grpc-js ended the call; not set when the caller did. */
  #abortReason: Error | undefined;
  /** Its answer's, until that has left. */
  #answerBytes = 0;
  #running = false;
  /** All of the request has come. */
  #halfClosed = false;
  /** Nothing that the handler still says goes out: the status is sent, or the stream gone. */
  #ended = false;
  /** Handler and answer are done; what a handler began and did not wait for may still hand secrets over. */
  #over = false;

  /** `denied`: no rule can allow it anything, so that not a byte of its message is read. */
  constructor(
    base: ServerInterceptingCallInterface,
    route: Route,
    { principal, memory, answers }: Peer,
    denied: boolean,
  ) {
    super(base);
    this.principal = principal;
    this.#denied = denied;
    this.#answers = answers;
    this.#decoder = MessageDecoder.install(base, memory, route.maxMessageBytes);
    this.dueTick = route.open.receiveBy;
    this.#base = base;
    this.#route = route;
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

  get deadlineMs(): number {
    return Number(this.#base.getDeadline());
  }

  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      if (this.#ended) this.#cancel();
    }
    return this.#abort.signal;
  }

  wipeLater(bytes: Uint8Array): void {
    if (this.#over) {
      bytes.fill(0);
      return;
    }
    this.#secrets ??= [];
    this.#secrets.push(bytes);
  }

  /** Answers for a caller or a handler that is not done; its signal aborts, and what it still says is dropped. */
  abandon(status: Status): void {
    if (!this.#ended) this.#end(status);
  }

  /** Neither the caller that does not send nor the one that does not read may hold memory without end. */
  expire(): void {
    this.dueTick = Number.POSITIVE_INFINITY;
    const { NGHTTP2_CANCEL, NGHTTP2_NO_ERROR } = constants;
    if (this.#ended) streamOf(this.#base).close(this.#halfClosed ? NGHTTP2_CANCEL : NGHTTP2_NO_ERROR);
    else this.#fail(new DekdError('DEADLINE_EXCEEDED', 'the message did not come to its end in time'));
  }

  /** Leaves the listener of grpc-js's own handler out. */
  override start(): void {
    this.#route.open.add(this);
    this.#base.start(this);
  }

  onReceiveMetadata(metadata: Metadata): void {
    this.#metadata = metadata;
    if (this.#denied) this.#fail(denial(this));
    else this.#base.startRead();
  }

  onReceiveMessage(request: IncomingMessage): void {
    if (this.#ended || this.#request !== undefined) {
      request.bytes.fill(0);
      this.#fail(new MalformedMessage('', 'is followed by a second one'));
      return;
    }
    this.#request = request;
    this.#base.startRead();
  }

  onReceiveHalfClose(): void {
    this.#halfClosed = true;
    if (this.#ended) return;
    this.dueTick = Number.POSITIVE_INFINITY;
    const { turns } = this.#route;
    if (this.#request !== undefined) turns.run(this.principal.uid, this);
    // Most likely its reset is the next that comes: an answer would be work for nothing.
    else turns.postpone(this.principal.uid, this);
  }

  /** grpc-js says so at the end of every call, and when the caller cancels or disappears. */
  onCancel(): void {
    this.#ended = true;
    this.#decoder.close();
    this.#answers.remove(this.#answerBytes);
    this.#answerBytes = 0;
    if (this.#halfClosed) this.#route.open.delete(this);
    else this.#closeLater();
    if (this.#running) this.#cancel();
    else this.#wipe();
  }

  /** The rest of the request is dropped. A caller that never ends it loses the stream, once the answer has surely left (RFC 9113, section 8.1). */
  #closeLater(): void {
    const { open } = this.#route;
    const stream = streamOf(this.#base);
    if (stream.destroyed) {
      open.delete(this);
      return;
    }
    this.dueTick = open.closeBy;
    stream.once('close', () => open.delete(this));
  }

  /** Reads the request and runs the handler, when it is the caller's turn. */
  run(): void {
    // Cancelled, or out of time, meanwhile: its request is zeroed.
    if (this.#ended) return;
    if (this.#request === undefined) {
      this.#fail(new MalformedMessage('', 'is missing'));
      return;
    }
    if (this.#answers.full) {
      this.#answers.hold(this);
      return;
    }
    this.#running = true;
    let result: unknown;
    try {
      result = this.#route.handler(this.#request.read(), this);
    } catch (thrown) {
      this.#running = false;
      this.#fail(thrown);
      return;
    }
    if (result instanceof Promise) void this.#await(result);
    else this.#respond(result);
  }

  async #await(promise: Promise<unknown>): Promise<void> {
    try {
      this.#respond(await promise);
    } catch (thrown) {
      this.#running = false;
      this.#fail(thrown);
    }
  }

  #respond(response: unknown): void {
    this.#running = false;
    if (this.#ended) {
      this.#wipe();
      return;
    }
    let outgoing: OutgoingMessage;
    try {
      outgoing = new OutgoingMessage(this.#route.serialize(response));
    } catch (thrown) {
      this.#fail(thrown);
      return;
    }
    this.#wipe();
    // The request is gone, and its memory is the answer's.
    this.#decoder.close();
    if (this.#answers.add(outgoing.byteLength)) this.#send(outgoing);
    else this.#fail(noRequestMemory());
    outgoing.wipeBytes();
  }

  #send(outgoing: OutgoingMessage): void {
    this.#answerBytes = outgoing.byteLength;
    this.#outgoing = outgoing;
    this.#sendRequestId();
    this.#base.sendMetadata(PLAIN);
    this.#base.sendMessage(outgoing, () => outgoing.wipeFrame());
    // Right behind the message, while the stream still holds it back: message and trailers leave in one write.
    if (!this.#ended) this.#end(OK);
  }

  #fail(thrown: unknown): void {
    if (!this.#ended) {
      this.#sendRequestId();
      this.#end(this.#status(thrown));
    }
    this.#wipe();
  }

  #status(thrown: unknown): Status {
    try {
      return toStatusObject(this.#route.toStatus(thrown, this));
    } catch {
      return { code: 13, details: 'internal error', metadata: null };
    }
  }

  #end(status: Status): void {
    this.#ended = true;
    this.dueTick = this.#route.open.readBy;
    this.#sendStatus.call(this.#base, status);
  }

  /** grpc-js ends the call. */
  #libraryStatus(status: Status): void {
    if (this.#ended) {
      // Our own status is on its way. Only a failed write is done with the frame; when a deadline passes, the kernel may still have to take it.
      if (status.code === codes.INTERNAL) this.#outgoing?.wipeFrame();
      return;
    }
    const failure = libraryFailure(status.code ?? 13, status.details ?? '', this.#route.maxMessageBytes);
    this.#abortReason = failure;
    this.#sendRequestId();
    // Says which compression would be accepted (gRPC, "Compression").
    if (status.details === COMPRESSED) this.#base.sendMetadata(PLAIN);
    this.#end(this.#status(failure));
  }

  #cancel(): void {
    this.#abort?.abort(this.#abortReason ?? new DekdError('CANCELLED', 'the caller cancelled'));
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
    this.#base.sendMetadata(Metadata.fromHttp2Headers({ ...IDENTITY, [REQUEST_ID_HEADER]: given }));
  }

  #wipe(): void {
    this.#over = true;
    this.#request?.bytes.fill(0);
    this.#request = undefined;
    if (this.#secrets === undefined) return;
    for (const bytes of this.#secrets) bytes.fill(0);
    this.#secrets = undefined;
  }
}

function denial({ principal: { uid, gid }, method }: Call): DekdError {
  const rpc = method.slice(method.indexOf('/') + 1);
  return new DekdError('POLICY_DENIED', `uid ${uid} (gid ${gid}) may not call ${rpc}: no rule names it`);
}
