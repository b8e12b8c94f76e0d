import { freeKey, type SlotHandle } from '../../crypto/native.ts';
import { DekdError } from '../../errors.ts';
import { UpstreamFailure } from '../failure.ts';
import type { ChildUpstreamOptions, ProviderFacts } from './child-provider.ts';
import { readErrorLines } from './error-lines.ts';
import { encodeFrame, FrameError, FrameReader } from './frames.ts';
import type { HandoverEnds } from './handover.ts';
import { KeyChannel } from './key-channel.ts';
import type { CallRequest, Request } from './messages.ts';
import { failureOf, parseCallReply, parseOpenReply, parseUnwrapped, ReplyError } from './replies.ts';
import { scrub } from './scrub.ts';
import { type SpawnedChild, sibling, spawnChild } from './spawn.ts';

/** From the start of the process to an answer of the provider's `open`. */
const START_MS = 10_000;
/** A child whose event loop turns answers a `cancel` in a millisecond; a machine that is short of processors takes longer. */
const CANCEL_MS = 200;
/** Time for running calls to end once a child is to be replaced, and then for its exit. */
const DRAIN_MS = 3_000;
const EXIT_MS = 1_500;
/** Its keys all fit into the key channel at once. */
const MAX_CALLS_UNDERWAY = 128;
/** What a caller should wait for whom there was no room: a call takes a second at most. */
const RETRY_MS = 1_000;
const MAX_WARNING_LENGTH = 500;

interface Call {
  readonly isUnwrap: boolean;
  /** `ok`, and the DEK of an unwrap. */
  readonly resolve: (ok: unknown, dek: SlotHandle | undefined) => void;
  readonly reject: (error: Error) => void;
}

/** Told to whoever owns the child. */
export interface ChildEvents {
  /** Something for the log. */
  onWarning(warning: string): void;
  /** After each answer. */
  onAnswer(child: ChildProcess): void;
  /** Once, when it takes no calls any more and was not asked to close. */
  onFailure(child: ChildProcess): void;
}

export interface CallOptions {
  readonly signal: AbortSignal;
  /** Sent before the request. */
  readonly dek?: SlotHandle;
}

/** What is made of an answer and, for an unwrap, of its DEK. It throws ReplyError for what is no answer. */
export type ReadAnswer<T> = (ok: unknown, dek: SlotHandle | undefined) => T;

/** One running child. Nothing that it writes is believed: what is no answer to a call ends it at once. */
export class ChildProcess {
  readonly #spawned: SpawnedChild;
  readonly #keys: KeyChannel;
  readonly #events: ChildEvents;
  readonly #opened = Promise.withResolvers<readonly string[]>();
  readonly #exited = Promise.withResolvers<void>();
  readonly #calls = new Map<number, Call>();
  readonly #cancels = new Map<number, NodeJS.Timeout>();
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #starting: NodeJS.Timeout;
  #state: 'starting' | 'ready' | 'closing' | 'ended' = 'starting';
  readonly #startedAtMs = performance.now();
  #lastId = 0;
  #why: string | undefined;
  #hasFallen = false;
  #isReplaced = false;

  /** Throws as spawnChild. */
  static start<Options extends ChildUpstreamOptions>(
    facts: ProviderFacts<Options>,
    options: Options,
    handover: HandoverEnds,
    events: ChildEvents,
  ): ChildProcess {
    const child = new ChildProcess(spawnChild(facts, options, handover), events);
    child.#write({ op: 'open', module: sibling(facts.beside, 'provider').href, options });
    return child;
  }

  private constructor(spawned: SpawnedChild, events: ChildEvents) {
    this.#spawned = spawned;
    this.#keys = new KeyChannel(spawned.keyFd);
    this.#events = events;
    const { process, control, errors } = spawned;
    const reader = new FrameReader();
    // Until somebody waits for it nobody listens.
    this.#opened.promise.catch(() => undefined);
    process.on('exit', (code, signal) => this.#end(signal ?? `exit code ${code}`));
    control.on('data', (chunk: Buffer) => this.#read(reader, chunk));
    control.on('end', () => this.#disconnected());
    control.on('error', () => this.#disconnected());
    readErrorLines(
      errors,
      (line) => this.#warn(`wrote: ${line}`),
      () => this.kill('it wrote without end to its standard error'),
    );
    this.#starting = this.#after(START_MS, () => this.kill(`it was not ready within ${START_MS / 1000} s`));
  }

  get pid(): number | undefined {
    return this.#spawned.process.pid;
  }

  /** Calls that it was ever given. */
  get calls(): number {
    return this.#lastId;
  }

  get isIdle(): boolean {
    return this.#calls.size === 0;
  }

  /** False for one that was killed, from then on. */
  get isReady(): boolean {
    return this.#state === 'ready' && this.#why === undefined;
  }

  get livedMs(): number {
    return performance.now() - this.#startedAtMs;
  }

  /** The provider's warnings. Rejects with DekdError when it refuses its settings, with UpstreamFailure when it cannot be had. */
  get opened(): Promise<readonly string[]> {
    return this.#opened.promise;
  }

  /** Resolves when the process is gone. */
  get exited(): Promise<void> {
    return this.#exited.promise;
  }

  /** Resolves to what `read` makes of the answer; what it throws is the child's fault and ends it. Rejects with UpstreamFailure and DekdError (QUOTA_EXCEEDED: too many at once). */
  call<T>(request: CallRequest, { signal, dek }: CallOptions, read: ReadAnswer<T>): Promise<T> {
    if (!this.isReady) return Promise.reject(this.#gone());
    if (this.#calls.size >= MAX_CALLS_UNDERWAY) {
      return Promise.reject(full());
    }
    const id = this.#lastId + 1;
    try {
      this.#send(id, request, dek);
    } catch (error) {
      return Promise.reject(error as Error);
    }
    this.#lastId = id;
    return new Promise<T>((resolve, reject) => {
      const giveUp = (): void => {
        this.#cancel(id);
        reject(new UpstreamFailure('unreachable', 'the call was given up'));
      };
      signal.addEventListener('abort', giveUp, { once: true });
      const settle = (): void => signal.removeEventListener('abort', giveUp);
      this.#calls.set(id, {
        isUnwrap: request.op === 'unwrap',
        resolve: (ok, received) => {
          settle();
          resolve(read(ok, received));
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      });
    });
  }

  /** Lets running calls end for three seconds, then ends the process. `isReplaced`: another child follows, which what it hands over is for. */
  close(isReplaced = false): void {
    if (this.#state === 'closing' || this.#state === 'ended') return;
    this.#isReplaced = isReplaced;
    const isOpen = this.#state === 'ready';
    this.#state = 'closing';
    this.#opened.reject(this.#gone());
    if (!isOpen) {
      this.#spawned.control.destroy();
      this.#spawned.process.kill('SIGKILL');
    } else if (this.isIdle) this.#disconnect();
    else this.#after(DRAIN_MS, () => this.kill('its last calls did not end'));
  }

  /** Ends the process at once; its calls are *unreachable*. */
  kill(why: string): void {
    if (this.#state === 'ended') return;
    this.#why ??= why;
    this.#spawned.control.destroy();
    this.#spawned.process.kill('SIGKILL');
    this.#fall();
  }

  #send(id: number, request: CallRequest, dek: SlotHandle | undefined): void {
    const frame = frameOf({ ...request, id });
    if (dek !== undefined) this.#sendKey(id, dek);
    this.#spawned.control.write(frame);
  }

  /** A child that takes no key is of no use. */
  #sendKey(id: number, dek: SlotHandle): void {
    try {
      this.#keys.send(id, dek);
    } catch (error) {
      if (error instanceof UpstreamFailure) this.kill(error.message);
      throw error;
    }
  }

  #write(request: Request): void {
    this.#spawned.control.write(frameOf(request));
  }

  /** The answer is still waited for, so that a key that comes with it finds its place, and to see that the child lives. */
  #cancel(id: number): void {
    if (!this.#calls.has(id) || this.#why !== undefined) return;
    this.#write({ op: 'cancel', id });
    const timer = this.#after(CANCEL_MS, () => this.kill(`it hung: no answer to a cancel within ${CANCEL_MS} ms`));
    this.#cancels.set(id, timer);
  }

  #read(reader: FrameReader, chunk: Buffer): void {
    try {
      for (const message of reader.read(chunk)) {
        if (this.#why !== undefined) return;
        if (this.#state === 'starting') this.#takeOpening(message);
        else this.#takeAnswer(message);
      }
    } catch (error) {
      if (!(error instanceof FrameError) && !(error instanceof ReplyError)) throw error;
      this.kill(`it wrote garbage: ${error.message}`);
    }
  }

  #takeOpening(message: unknown): void {
    const reply = parseOpenReply(message);
    this.#clear(this.#starting);
    if ('ready' in reply) {
      this.#state = 'ready';
      this.#opened.resolve(reply.ready.map((warning) => scrub(warning, MAX_WARNING_LENGTH)));
      return;
    }
    const error = 'problem' in reply ? refusal(reply.problem) : failureOf(reply.failure);
    this.#opened.reject(error);
    this.kill(`its provider did not open: ${error.message}`);
  }

  #takeAnswer(message: unknown): void {
    const reply = parseCallReply(message);
    const call = this.#calls.get(reply.id);
    if (call === undefined) throw new ReplyError(`an answer to call ${reply.id}, which is not under way`);
    const isGivenUp = this.#cancels.has(reply.id);
    if ('failure' in reply) call.reject(failureOf(reply.failure));
    else this.#takeResult(reply.id, reply.ok, call, isGivenUp);
    this.#forget(reply.id);
    this.#events.onAnswer(this);
    if (this.#state === 'closing' && this.isIdle) this.#disconnect();
  }

  #takeResult(id: number, ok: unknown, call: Call, isGivenUp: boolean): void {
    if (!call.isUnwrap) {
      if (!isGivenUp) call.resolve(ok, undefined);
      return;
    }
    parseUnwrapped(ok);
    const dek = this.#keys.receive(id);
    if (dek instanceof Error) call.reject(dek);
    else if (isGivenUp) freeKey(dek);
    else call.resolve(ok, dek);
  }

  #forget(id: number): void {
    this.#calls.delete(id);
    const timer = this.#cancels.get(id);
    if (timer !== undefined) this.#clear(timer);
    this.#cancels.delete(id);
  }

  #disconnect(): void {
    if (this.#isReplaced) this.#write({ op: 'retire' });
    this.#spawned.control.end();
    this.#after(EXIT_MS, () => this.kill('it did not exit'));
  }

  /** Its end of the control channel is closed. Most often it has ended, and its exit, which says how, is about to be told. */
  #disconnected(): void {
    if (this.#state !== 'closing') this.#after(CANCEL_MS, () => this.kill('it closed its control channel'));
  }

  #end(how: string): void {
    if (this.#why !== undefined) this.#warn(`was killed: ${this.#why}`);
    else if (this.#state !== 'closing') this.#warn(`ended: ${how}`);
    this.#why ??= `it ended: ${how}`;
    this.#fall();
    this.#state = 'ended';
    for (const timer of this.#timers) clearTimeout(timer);
    this.#spawned.control.destroy();
    this.#keys.close();
    this.#exited.resolve();
  }

  /** Comes when it is killed, and again when it exits. */
  #fall(): void {
    this.#opened.reject(this.#gone());
    for (const [id, call] of [...this.#calls]) {
      this.#forget(id);
      call.reject(this.#gone());
    }
    if (this.#hasFallen) return;
    this.#hasFallen = true;
    if (this.#state !== 'closing') this.#events.onFailure(this);
  }

  #gone(): UpstreamFailure {
    return new UpstreamFailure('unreachable', `the child process is gone: ${this.#why ?? 'it is not ready'}`);
  }

  #warn(text: string): void {
    this.#events.onWarning(`child process ${this.pid ?? '?'} ${text}`);
  }

  #clear(timer: NodeJS.Timeout): void {
    clearTimeout(timer);
    this.#timers.delete(timer);
  }

  #after(ms: number, act: () => void): NodeJS.Timeout {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      act();
    }, ms);
    this.#timers.add(timer);
    return timer;
  }
}

/** Our own shortage, which says nothing about the upstream. */
function full(): DekdError {
  return new DekdError('QUOTA_EXCEEDED', `${MAX_CALLS_UNDERWAY} calls are under way at one upstream; try again later`, {
    retryAfterMs: RETRY_MS,
  });
}

function refusal(problem: string): DekdError {
  return new DekdError('INVALID_REQUEST', scrub(problem, MAX_WARNING_LENGTH));
}

/** What is too large for a frame came in with a ciphertext. */
function frameOf(request: Request): Buffer {
  try {
    return encodeFrame(request);
  } catch (error) {
    throw new UpstreamFailure('invalid', 'the wrapped DEK and its context are too large for a call', { cause: error });
  }
}
