import { DekdError } from '../../errors.ts';
import { UpstreamFailure } from '../failure.ts';
import type { CallOptions, ChildEvents, ChildProcess, ReadAnswer } from './child-process.ts';
import type { CallRequest } from './messages.ts';

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 30_000;

export interface PoolOptions {
  /** Throws DekdError for settings that no child has, else what spawnChild throws. */
  readonly start: (events: ChildEvents) => ChildProcess;
  readonly maxCalls: number;
  readonly idleMs: number;
  readonly isWarm: boolean;
  readonly onWarning: (warning: string) => void;
}

/**
 * The child that serves, and its successor. A child that has served a call holds what an SDK left of DEKs in its memory: it is replaced after its
 * calls or when nobody calls, and with `isWarm` its successor stands ready by then. One that has served none is its own successor.
 */
export class ChildPool {
  readonly #options: PoolOptions;
  readonly #events: ChildEvents;
  readonly #children = new Set<ChildProcess>();
  #current: ChildProcess | undefined;
  #successor: ChildProcess | undefined;
  #failures = 0;
  #notBeforeMs = 0;
  #restart: NodeJS.Timeout | undefined;
  #idle: NodeJS.Timeout | undefined;
  #warnings: readonly string[] = [];
  #isClosed = false;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.#events = {
      onWarning: options.onWarning,
      onAnswer: (child) => this.#answered(child),
      onFailure: (child) => this.#failedIn(child),
    };
  }

  /** Of the child that opened last. */
  get warnings(): readonly string[] {
    return this.#warnings;
  }

  get pids(): readonly number[] {
    return [...this.#children].flatMap(({ pid }) => pid ?? []);
  }

  /** Waits for the first child. Throws DekdError when its provider refuses its settings; else it is a warning, and tried again. */
  async open(): Promise<void> {
    try {
      await this.#begin().opened;
    } catch (error) {
      if (error instanceof DekdError) throw error;
      this.#prepare();
    }
  }

  /** As ChildProcess.call, on the child whose turn it is; in a pause after a failure it fails at once. */
  async call<T>(request: CallRequest, options: CallOptions, read: ReadAnswer<T>): Promise<T> {
    let child = this.#next(options.signal);
    while (!child.isReady) {
      await openedBefore(child, options.signal);
      // Others waited too, and may have used it up.
      child = this.#next(options.signal);
    }
    const answer = child.call(request, options, read);
    if (this.#isDue(child)) this.#retire(child);
    return answer;
  }

  /** Ends every child. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#restart);
    clearTimeout(this.#idle);
    this.#current = undefined;
    this.#successor = undefined;
    const children = [...this.#children];
    for (const child of children) child.close();
    await Promise.all(children.map(({ exited }) => exited));
  }

  #next(signal: AbortSignal): ChildProcess {
    if (this.#isClosed) throw new UpstreamFailure('unreachable', 'the upstream was closed');
    if (signal.aborted) throw new UpstreamFailure('unreachable', 'the call was given up');
    return this.#current ?? this.#begin();
  }

  /** A successor that is still starting gets the time of as many calls again. */
  #isDue({ calls }: ChildProcess): boolean {
    const { maxCalls, isWarm } = this.#options;
    if (calls < maxCalls) return false;
    return !isWarm || this.#successor?.isReady === true || calls >= 2 * maxCalls;
  }

  #answered(child: ChildProcess): void {
    if (child.livedMs >= LONGEST_PAUSE_MS) this.#failures = 0;
    if (child !== this.#current) return;
    // Not before: the first call should not wait for another process's start.
    this.#prepare();
    if (!child.isIdle) return;
    clearTimeout(this.#idle);
    // A call that began meanwhile sets it anew when it is answered.
    this.#idle = setTimeout(() => {
      if (child.isIdle) this.#retire(child);
    }, this.#options.idleMs);
  }

  /** Its running calls end first; the next ones go to its successor. */
  #retire(child: ChildProcess): void {
    if (child !== this.#current) return;
    clearTimeout(this.#idle);
    this.#promote();
    child.close(true);
    this.#prepare();
  }

  #promote(): void {
    this.#current = this.#successor;
    this.#successor = undefined;
  }

  #failedIn(child: ChildProcess): void {
    if (child === this.#successor) this.#successor = undefined;
    if (child === this.#current) this.#promote();
    this.#failed(child.livedMs >= LONGEST_PAUSE_MS);
    this.#prepare();
  }

  /** Full jitter: the agents of a fleet that failed together do not come back together. */
  #failed(isFirst: boolean): void {
    this.#failures = isFirst ? 1 : this.#failures + 1;
    const longestMs = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (this.#failures - 1));
    this.#notBeforeMs = performance.now() + Math.max(1, Math.random() * longestMs);
  }

  /** Starts the child that should stand ready, or will once the pause is over. */
  #prepare(): void {
    const isNeeded = this.#current === undefined || (this.#current.calls > 0 && this.#successor === undefined);
    if (!isNeeded || !this.#options.isWarm || this.#isClosed) return;
    const pauseMs = this.#notBeforeMs - performance.now();
    if (pauseMs > 0) {
      clearTimeout(this.#restart);
      this.#restart = setTimeout(() => this.#prepare(), pauseMs);
      return;
    }
    try {
      if (this.#current === undefined) this.#begin();
      else this.#successor = this.#start();
    } catch {
      // It is in the log.
      this.#prepare();
    }
  }

  #opened(warnings: readonly string[]): void {
    this.#warnings = warnings;
    if (this.#current !== undefined && this.#isDue(this.#current)) this.#retire(this.#current);
  }

  #begin(): ChildProcess {
    const pauseMs = this.#notBeforeMs - performance.now();
    if (pauseMs > 0) {
      const problem = 'the child process failed and is started again soon';
      throw new UpstreamFailure('unreachable', problem, { retryAfterMs: Math.ceil(pauseMs) });
    }
    this.#current = this.#start();
    return this.#current;
  }

  #start(): ChildProcess {
    try {
      const child = this.#options.start(this.#events);
      this.#children.add(child);
      child.opened.then(
        (warnings) => this.#opened(warnings),
        () => undefined,
      );
      void child.exited.then(() => this.#children.delete(child));
      return child;
    } catch (error) {
      this.#failed(false);
      if (error instanceof DekdError) throw error;
      const problem = `no child process could be started: ${(error as Error).message}`;
      this.#options.onWarning(problem);
      throw new UpstreamFailure('unreachable', problem, { cause: error });
    }
  }
}

/** A start that takes too long is for the next call. */
async function openedBefore(child: ChildProcess, signal: AbortSignal): Promise<void> {
  const aborted = Promise.withResolvers<never>();
  const giveUp = (): void =>
    aborted.reject(new UpstreamFailure('unreachable', 'the child process was not ready in time'));
  if (signal.aborted) giveUp();
  signal.addEventListener('abort', giveUp, { once: true });
  try {
    await Promise.race([child.opened, aborted.promise]);
  } catch (error) {
    // What its operator must put right is told by open, and in the log.
    throw UpstreamFailure.from(error);
  } finally {
    signal.removeEventListener('abort', giveUp);
  }
}
