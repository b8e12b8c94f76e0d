import type { ServerInterceptingCallInterface } from '@grpc/grpc-js';
import { DekdError } from '../../errors.ts';
import type { Call, Handler, MalformedMessage } from '../transport.ts';
import type { Peer } from './connections.ts';
import type { IncomingMessage } from './incoming-message.ts';
import { OK, OpenCall, type Route } from './open-call.ts';
import { OutgoingMessage } from './outgoing-message.ts';
import { noRequestMemory, notOneMessage } from './status.ts';

export interface UnaryRoute extends Route {
  readonly handler: Handler;
  /** Callers whom no rule names may call it, too. */
  readonly forAnybody: boolean;
}

/**
 * One unary call from its headers to its trailers, in one object with the handler's Call.
 *
 * What is zeroed: the request's bytes as they came (MessageDecoder) and as they were decoded, `wipeLater`, the serialised response and
 * its frame. Out of reach: node:http2's own buffers.
 */
export class UnaryCall extends OpenCall implements Call {
  readonly #route: UnaryRoute;
  readonly #denied: boolean;
  #request: IncomingMessage | undefined;
  #secrets: Uint8Array[] | undefined;
  #abort: AbortController | undefined;
  /** Why grpc-js ended the call; not set when the caller did. */
  #abortReason: Error | undefined;
  #running = false;
  /** Handler and answer are done; what a handler began and did not wait for may still hand secrets over. */
  #over = false;

  /** `denied`: no rule can allow it anything, so that not a byte of its message is read. */
  constructor(base: ServerInterceptingCallInterface, route: UnaryRoute, peer: Peer, denied: boolean) {
    super(base, route, peer);
    this.#route = route;
    this.#denied = denied;
  }

  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      if (this.ended) this.#cancel();
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

  protected begin(): void {
    if (this.#denied) this.fail(denial(this));
    else this.base.startRead();
  }

  onReceiveMessage(request: IncomingMessage): void {
    if (this.ended) {
      request.bytes.fill(0);
      return;
    }
    this.#request = request;
    this.base.startRead();
  }

  onReceiveHalfClose(): void {
    this.halfClosed = true;
    if (this.ended) return;
    this.dueTick = Number.POSITIVE_INFINITY;
    const { turns } = this.#route;
    if (this.#request !== undefined) turns.run(this.principal.uid, this);
    // Most likely its reset is the next that comes: an answer would be work for nothing.
    else turns.postpone(this.principal.uid, this);
  }

  override onCancel(): void {
    super.onCancel();
    if (this.#running) this.#cancel();
    else this.#wipe();
  }

  run(): void {
    // Cancelled, or out of time, meanwhile: its request is zeroed.
    if (this.ended) return;
    if (this.#request === undefined) {
      this.fail(notOneMessage());
      return;
    }
    if (this.answers.full) {
      this.answers.hold(this);
      return;
    }
    this.#running = true;
    let result: unknown;
    try {
      result = this.#route.handler(this.#request.read(), this);
    } catch (thrown) {
      this.#fails(thrown);
      return;
    }
    if (result instanceof Promise) void this.#await(result);
    else this.#respond(result);
  }

  async #await(promise: Promise<unknown>): Promise<void> {
    try {
      this.#respond(await promise);
    } catch (thrown) {
      this.#fails(thrown);
    }
  }

  #respond(response: unknown): void {
    this.#running = false;
    if (this.ended) {
      this.#wipe();
      return;
    }
    let outgoing: OutgoingMessage;
    try {
      outgoing = new OutgoingMessage(this.#route.serialize(response));
    } catch (thrown) {
      this.fail(thrown);
      return;
    }
    this.#wipe();
    // The request is gone, and its memory is the answer's.
    this.decoder.close();
    // Status right behind the message, while the stream still holds it back: message and trailers leave in one write.
    if (!this.send(outgoing)) this.fail(noRequestMemory());
    else if (!this.ended) this.finish(OK);
    outgoing.wipeBytes();
  }

  #fails(thrown: unknown): void {
    this.#running = false;
    this.fail(thrown);
  }

  /** What failed is over, a call that runs is not. */
  protected override fail(thrown: unknown): void {
    super.fail(thrown);
    this.#wipe();
  }

  protected override libraryFails(failure: DekdError | MalformedMessage): void {
    this.#abortReason = failure;
  }

  #cancel(): void {
    this.#abort?.abort(this.#abortReason ?? new DekdError('CANCELLED', 'the caller cancelled'));
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
