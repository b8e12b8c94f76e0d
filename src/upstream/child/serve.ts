import { readSync, writeSync } from 'node:fs';
import type { Socket } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { encodePairs } from '../../crypto/context.ts';
import { secretBuffer } from '../../crypto/secret-buffer.ts';
import { DekdError } from '../../errors.ts';
import { UpstreamFailure } from '../failure.ts';
import type { KekDescription, WrapContext, WrappedDek } from '../provider.ts';
import type { ChildCall, ChildProvider, OpenProvider } from './child-provider.ts';
import { encodeFrame, FrameError, FrameReader } from './frames.ts';
import { type Handover, type HandoverEnds, openHandover } from './handover.ts';
import type {
  Answers,
  CallReply,
  CallRequest,
  DescriptionMessage,
  FailureMessage,
  OpenReply,
  OpenRequest,
  Request,
} from './messages.ts';

const DEK_BYTES = 32;
const ID_BYTES = 8;
/** Of a KEK's versions the newest are described: all of a long life do not fit into a frame. */
const MAX_DESCRIBED_VERSIONS = 100;
const MAX_MESSAGE_LENGTH = 1_000;
const MAX_WARNINGS = 16;
const CLOSING_MS = 1_000;

export interface ServeOptions {
  readonly control: Socket;
  readonly keyFd: number;
  readonly handover: HandoverEnds;
  /** Called once, after the provider's open. */
  readonly onOpen: () => void;
}

/** The child's side: opens one provider, and answers calls until the agent closes the control channel. Rejects when the agent's frames and keys do not agree. */
export async function serve({ control, keyFd, handover, onOpen }: ServeOptions): Promise<void> {
  const reader = new FrameReader();
  let server: CallServer | undefined;
  let isReplaced = false;
  try {
    for await (const chunk of control) {
      for (const message of reader.read(chunk as Buffer)) {
        const request = message as Request;
        if (request.op === 'retire') isReplaced = true;
        else if (request.op !== 'open') server?.take(request);
        else {
          const provider = await open(request, control, openHandover(handover));
          onOpen();
          if (provider !== undefined) server = new CallServer(provider, control, keyFd);
        }
      }
    }
  } finally {
    await server?.close(isReplaced);
  }
}

/** Nothing else comes before the agent has its answer. */
async function open(
  { module, options }: OpenRequest,
  control: Socket,
  handover: Handover,
): Promise<ChildProvider | undefined> {
  try {
    const { open } = (await import(module)) as { open: OpenProvider };
    const provider = await open(options, process.env, handover);
    reply(control, { ready: provider.warnings.slice(0, MAX_WARNINGS) });
    return provider;
  } catch (error) {
    reply(control, error instanceof DekdError ? { problem: error.message } : { failure: openingFailure(error) });
    return undefined;
  }
}

/** Calls under way, by id. */
class CallServer {
  readonly #provider: ChildProvider;
  readonly #control: Socket;
  readonly #keyFd: number;
  readonly #underway = new Map<number, AbortController>();

  constructor(provider: ChildProvider, control: Socket, keyFd: number) {
    this.#provider = provider;
    this.#control = control;
    this.#keyFd = keyFd;
  }

  take(request: Exclude<Request, OpenRequest | { op: 'retire' }>): void {
    if (request.op === 'cancel') {
      this.#cancel(request.id);
      return;
    }
    const control = new AbortController();
    this.#underway.set(request.id, control);
    const call: ChildCall = { signal: control.signal, fresh: request.fresh };
    void this.#answer(request.id, this.#call(request, call));
  }

  /** The agent listens no more. A provider that does not close ends with the process. */
  async close(isReplaced: boolean): Promise<void> {
    for (const control of this.#underway.values()) control.abort();
    this.#underway.clear();
    await Promise.race([this.#provider.close(isReplaced), setTimeout(CLOSING_MS)]);
  }

  /** What a provider answers later is zeroed and forgotten: it may not listen to its signal. */
  #cancel(id: number): void {
    const control = this.#underway.get(id);
    if (control === undefined) return;
    this.#underway.delete(id);
    control.abort();
    const failure = { class: 'unreachable', message: 'the call was given up' } as const;
    reply(this.#control, { id, failure });
  }

  /** Resolves to the answer, and to the DEK that goes with it. */
  async #call(request: CallRequest & { readonly id: number }, call: ChildCall): Promise<Answered> {
    switch (request.op) {
      case 'wrap':
        return this.#wrap(request, call);
      case 'unwrap':
        return this.#unwrap(request, call);
      case 'describe':
        return { ok: describedAs(await this.#provider.describe(request.kek, call)) };
    }
  }

  async #wrap(request: CallRequest & { op: 'wrap'; readonly id: number }, call: ChildCall): Promise<Answered> {
    const dek = this.#receiveKey(request.id);
    try {
      return { ok: wrappedAs(await this.#provider.wrap(request.kek, dek, contextOf(request), call)) };
    } finally {
      dek.fill(0);
    }
  }

  async #unwrap(request: CallRequest & { op: 'unwrap' }, call: ChildCall): Promise<Answered> {
    const { kekVersion, algorithm, bytes } = request.wrapped;
    const wrapped = { kekVersion, algorithm, bytes: Buffer.from(bytes, 'base64') };
    const dek = await this.#provider.unwrap(request.kek, wrapped, contextOf(request), call);
    if (dek.length === DEK_BYTES) return { ok: {}, dek };
    dek.fill(0);
    throw new UpstreamFailure('invalid', `what the KEK unwrapped has ${dek.length} bytes, no DEK's ${DEK_BYTES}`);
  }

  async #answer(id: number, answer: Promise<Answered>): Promise<void> {
    try {
      const { ok, dek } = await answer;
      try {
        if (!this.#underway.delete(id)) return;
        if (dek !== undefined) this.#sendKey(id, dek);
      } finally {
        dek?.fill(0);
      }
      reply(this.#control, { id, ok });
    } catch (error) {
      // Without its request or answer a key packet would be taken for the next one's.
      if (error instanceof ChannelError) this.#control.destroy(error);
      else if (this.#underway.delete(id)) reply(this.#control, { id, failure: failureMessage(error) });
    }
  }

  /** The agent wrote it before the request, so it is there. */
  #receiveKey(id: number): Buffer {
    const packet = secretBuffer(ID_BYTES + DEK_BYTES);
    try {
      const length = readSync(this.#keyFd, packet);
      if (length === packet.length && packet.readBigUInt64BE() === BigInt(id)) return packet.subarray(ID_BYTES);
    } catch (error) {
      throw new ChannelError('the key channel gives no key', { cause: error });
    }
    packet.fill(0);
    throw new ChannelError('not the key of this call');
  }

  #sendKey(id: number, dek: Uint8Array): void {
    const packet = secretBuffer(ID_BYTES + DEK_BYTES);
    packet.writeBigUInt64BE(BigInt(id));
    packet.set(dek, ID_BYTES);
    try {
      writeSync(this.#keyFd, packet);
    } catch (error) {
      throw new ChannelError('the key channel does not take a key', { cause: error });
    } finally {
      packet.fill(0);
    }
  }
}

interface Answered {
  readonly ok: Answers[keyof Answers];
  readonly dek?: Uint8Array;
}

/** The channels do not agree any more. */
class ChannelError extends Error {
  override readonly name = 'ChannelError';
}

function contextOf({ context }: CallRequest & { op: 'wrap' | 'unwrap' }): WrapContext {
  const pairs = new Map(context);
  return { pairs, encoded: encodePairs(pairs) };
}

function wrappedAs({ kekVersion, algorithm, bytes }: WrappedDek): Answers['wrap'] {
  const { buffer, byteOffset, byteLength } = bytes;
  return { kekVersion, algorithm, bytes: Buffer.from(buffer, byteOffset, byteLength).toString('base64') };
}

function describedAs({ state, versions, labels, expiresAt, deletion }: KekDescription): DescriptionMessage {
  return {
    state,
    versions: versions.slice(-MAX_DESCRIBED_VERSIONS),
    labels: [...labels],
    ...(expiresAt !== undefined && { expiresAt }),
    ...(deletion !== undefined && { deletion }),
  };
}

/** Before a call there is no DEK that an unknown error could tell. */
function openingFailure(thrown: unknown): FailureMessage {
  if (thrown instanceof UpstreamFailure || !(thrown instanceof Error)) return failureMessage(thrown);
  return failureMessage(new UpstreamFailure('unreachable', `${thrown.name}: ${thrown.message}`));
}

function failureMessage(thrown: unknown): FailureMessage {
  const failure = UpstreamFailure.from(thrown);
  const { scope, condition, retryAfterMs } = failure;
  return {
    class: failure.class,
    scope,
    condition,
    message: failure.message.slice(0, MAX_MESSAGE_LENGTH),
    retryAfterMs,
  };
}

function reply(control: Socket, message: OpenReply | CallReply): void {
  try {
    control.write(encodeFrame(message));
  } catch (error) {
    if (!(error instanceof FrameError) || !('id' in message)) throw error;
    const failure = { class: 'unreachable', message: 'the answer is too large' } as const;
    control.write(encodeFrame({ id: message.id, failure }));
  }
}
