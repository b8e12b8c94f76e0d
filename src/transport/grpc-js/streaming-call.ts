import type { ServerInterceptingCallInterface } from '@grpc/grpc-js';
import type { Peer } from './connections.ts';
import type { IncomingMessage } from './incoming-message.ts';
import { OK, OpenCall, type Route } from './open-call.ts';
import { OutgoingMessage } from './outgoing-message.ts';
import { noRequestMemory, notOneMessage } from './status.ts';

/** An RPC whose answers are a stream: gRPC's standard ones, which anybody may call. dekd's own are all unary. */
export interface StreamingRoute extends Route {
  /** By `call.answer`: of one request, now and as often as there is news; of several (`maxMessages`), each once and at once. */
  readonly handler: (request: unknown, call: StreamingCall) => void;
}

/**
 * One streaming call. While one of its answers has not left no further request is read, and of what it has to say meanwhile the latest is kept:
 * a caller that does not read makes nothing grow.
 */
export class StreamingCall extends OpenCall {
  readonly #route: StreamingRoute;
  /** One request, and answers until its caller leaves. */
  readonly #single: boolean;
  #request: IncomingMessage | undefined;
  /** An answer is on its way. */
  #unread = false;
  /** What is to be said once that has left. */
  #next: { readonly message: unknown } | undefined;
  #whenOver: (() => void) | undefined;

  constructor(base: ServerInterceptingCallInterface, route: StreamingRoute, peer: Peer) {
    super(base, route, peer);
    this.#route = route;
    this.#single = route.maxMessages === 1;
  }

  /** Says `message`, unless something newer comes before it can. */
  answer(message: unknown): void {
    if (this.ended) return;
    if (this.#unread) {
      this.#next = { message };
      return;
    }
    const outgoing = new OutgoingMessage(this.#route.serialize(message));
    this.#unread = true;
    this.dueTick = this.#route.open.readBy;
    if (!this.send(outgoing, () => this.#left())) this.fail(noRequestMemory());
  }

  /** Calls `listener` at the end of the call. */
  whenOver(listener: () => void): void {
    this.#whenOver = listener;
  }

  protected begin(): void {
    this.base.startRead();
  }

  onReceiveMessage(request: IncomingMessage): void {
    if (this.ended) return;
    this.#request = request;
    if (this.#single) this.base.startRead();
    else this.#takeTurn();
  }

  onReceiveHalfClose(): void {
    this.halfClosed = true;
    if (this.ended) return;
    if (!this.#single) this.finish(OK);
    else if (this.#request === undefined) this.fail(notOneMessage());
    else this.#takeTurn();
  }

  override onCancel(): void {
    super.onCancel();
    this.#request = undefined;
    this.#next = undefined;
    this.#whenOver?.();
  }

  override expire(): void {
    // No status would leave either.
    if (this.#unread) this.ended = true;
    super.expire();
  }

  run(): void {
    if (this.ended || this.#request === undefined) return;
    if (this.answers.full) {
      this.answers.hold(this);
      return;
    }
    const request = this.#request;
    this.#request = undefined;
    try {
      this.#route.handler(request.read(), this);
    } catch (thrown) {
      this.fail(thrown);
    }
  }

  #takeTurn(): void {
    this.dueTick = Number.POSITIVE_INFINITY;
    this.#route.turns.run(this.principal.uid, this);
  }

  #left(): void {
    this.releaseAnswer();
    if (this.ended) return;
    this.#unread = false;
    const next = this.#next;
    this.#next = undefined;
    if (next !== undefined) this.answer(next.message);
    else if (this.#single) this.dueTick = Number.POSITIVE_INFINITY;
    else this.base.startRead();
  }
}
