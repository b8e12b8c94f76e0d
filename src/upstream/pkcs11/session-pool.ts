import { UpstreamFailure } from '../failure.ts';
import type { Handle } from './cryptoki.ts';
import { returnValue, SESSION_COUNT } from './errors.ts';

/**
 * A call that was given up and did not return in this time hangs. Five times the time of an attempt: an HSM that is only slow returns by then, and
 * ending the process for it would end the other calls too and bring nothing.
 */
const HUNG_MS = 5_000;

/** A session that one call works on. */
export interface Session {
  readonly handle: Handle;
  /** The login that it belongs to, counted from 0. */
  readonly login: number;
  /** It may be gone, or an operation was left active on it: it is closed when it is given back. */
  isSpent: boolean;
}

/** The library, for one token. Every call throws what the library throws. */
export interface SessionSource {
  /** Opens a session and logs in. `room`: how many sessions the token has for dekd, this one included; 0 when it does not say. */
  logIn(): { readonly anchor: Handle; readonly room: number };
  open(): Handle;
  close(session: Handle): void;
}

export interface SessionPoolOptions {
  readonly label: string;
  readonly maxSessions: number;
  readonly source: SessionSource;
  /** What was known under the last login counts no more. */
  readonly onLoginEnded: () => void;
  /** A call that works on a session was given up. */
  readonly onGivenUp: () => void;
  /** See isStuck. */
  readonly onStuck: () => void;
  /** Default HUNG_MS. */
  readonly hungMs?: number;
}

interface Lease {
  readonly beganMs: number;
  readonly signal: AbortSignal;
  readonly giveUp: () => void;
  isHung: boolean;
  timer: NodeJS.Timeout | undefined;
}

interface Waiter<Result> {
  readonly signal: AbortSignal;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * The sessions of one token: one that stays idle and holds the login, because the end of a token's last session logs out, and those that calls work
 * on, each for one call at a time. They are opened when they are needed, and closed only while nobody works on them.
 */
export class SessionPool {
  readonly #options: SessionPoolOptions;
  readonly #idle: Session[] = [];
  readonly #leases = new Map<Session, Lease>();
  /** In the order in which they came. */
  readonly #waiting = new Set<Waiter<Session>>();
  readonly #draining = new Set<Waiter<void>>();
  #anchor: Handle | undefined;
  #login = 0;
  #limit: number;
  #returnedMs = Number.NEGATIVE_INFINITY;
  #isClosed = false;

  constructor(options: SessionPoolOptions) {
    this.#options = options;
    this.#limit = options.maxSessions;
  }

  /** The number of the login that the next session belongs to. */
  get login(): number {
    return this.#login;
  }

  /** Nobody works on a session. */
  get isIdle(): boolean {
    return this.#leases.size === 0;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** A call that was given up has not returned for HUNG_MS. */
  get isHung(): boolean {
    return [...this.#leases.values()].some(({ isHung }) => isHung);
  }

  /** A call hangs, and none has returned since it began: it is the token, or the way to it, that hangs. */
  get isStuck(): boolean {
    return [...this.#leases.values()].some(({ isHung, beganMs }) => isHung && beganMs >= this.#returnedMs);
  }

  /**
   * A session of the current login, whose caller gives it back. Waits while all are at work. Throws what the library throws, and UpstreamFailure
   * *unreachable* when the call is given up or the token is stuck.
   */
  async take(signal: AbortSignal): Promise<Session> {
    this.#check(signal);
    if (this.isStuck) throw this.#hangs();
    const session =
      (this.#waiting.size === 0 ? this.#next(signal) : undefined) ?? (await this.#wait(this.#waiting, signal));
    if (!signal.aborted) return session;
    this.giveBack(session);
    throw givenUp();
  }

  giveBack(session: Session): void {
    const lease = this.#leases.get(session);
    if (lease === undefined) return;
    this.#leases.delete(session);
    lease.signal.removeEventListener('abort', lease.giveUp);
    clearTimeout(lease.timer);
    this.#returnedMs = performance.now();
    if (session.isSpent || session.login !== this.#login) this.#options.source.close(session.handle);
    else this.#idle.push(session);
    this.#serve();
  }

  /** Ends the login of that number, unless it has ended: of many calls that find it lost, one logs in anew. */
  endLogin(login: number): void {
    if (login !== this.#login) return;
    this.#login++;
    this.#limit = this.#options.maxSessions;
    for (const { handle } of this.#idle.splice(0)) this.#options.source.close(handle);
    if (this.#anchor !== undefined) this.#options.source.close(this.#anchor);
    this.#anchor = undefined;
    this.#options.onLoginEnded();
  }

  /**
   * Ends the login when nobody works on a session; until then nobody gets one. Throws UpstreamFailure *unreachable* when a call that was given up
   * does, since it may never end.
   */
  async drain(signal: AbortSignal): Promise<void> {
    this.#check(signal);
    if ([...this.#leases.values()].some((lease) => lease.signal.aborted)) throw this.#hangs();
    if (this.isIdle) this.endLogin(this.#login);
    else await this.#wait(this.#draining, signal);
  }

  /** No session comes from it any more. The library's end closes what is open. */
  close(): void {
    this.#isClosed = true;
  }

  /** Resolves when nobody works on a session, calls that were given up among them. Call `close` before. */
  async idle(signal: AbortSignal): Promise<void> {
    if (!this.isIdle) await this.#wait(this.#draining, signal);
  }

  #check(signal: AbortSignal): void {
    if (signal.aborted) throw givenUp();
    if (this.#isClosed) throw new UpstreamFailure('unreachable', `token ${this.#options.label} was let go`);
  }

  #wait<Result>(queue: Set<Waiter<Result>>, signal: AbortSignal): Promise<Result> {
    return new Promise<Result>((resolve, reject) => {
      const leave = (): void => {
        signal.removeEventListener('abort', giveUp);
        queue.delete(waiter);
      };
      const giveUp = (): void => {
        leave();
        reject(givenUp());
        this.#serve();
      };
      const waiter: Waiter<Result> = {
        signal,
        resolve: (result) => {
          leave();
          resolve(result);
        },
        reject: (error) => {
          leave();
          reject(error);
        },
      };
      queue.add(waiter);
      signal.addEventListener('abort', giveUp, { once: true });
    });
  }

  /** Whoever waited longest first, but before them those who wait for a new login. */
  #serve(): void {
    if (this.#draining.size > 0 && this.isIdle) {
      this.endLogin(this.#login);
      for (const waiter of [...this.#draining]) waiter.resolve();
    }
    for (const waiter of [...this.#waiting]) {
      try {
        const session = this.#next(waiter.signal);
        if (session === undefined) return;
        waiter.resolve(session);
      } catch (error) {
        waiter.reject(error);
      }
    }
  }

  /** Undefined when all are at work. */
  #next(signal: AbortSignal): Session | undefined {
    if (this.#draining.size > 0) return undefined;
    const session = this.#idle.pop() ?? this.#openOneMore();
    if (session !== undefined) this.#leases.set(session, this.#lease(signal));
    return session;
  }

  #openOneMore(): Session | undefined {
    if (this.#leases.size >= this.#limit) return undefined;
    try {
      if (this.#anchor === undefined) this.#logIn();
      return { handle: this.#options.source.open(), login: this.#login, isSpent: false };
    } catch (error) {
      if (returnValue(error) !== SESSION_COUNT || this.isIdle) throw error;
      // Others have the rest: until the next login these are enough.
      this.#limit = this.#leases.size;
      return undefined;
    }
  }

  #logIn(): void {
    const { anchor, room } = this.#options.source.logIn();
    this.#anchor = anchor;
    if (room > 0) this.#limit = Math.min(this.#limit, Math.max(1, room - 1));
  }

  #lease(signal: AbortSignal): Lease {
    const lease: Lease = {
      beganMs: performance.now(),
      signal,
      giveUp: () => {
        lease.timer = setTimeout(() => this.#hangsIn(lease), this.#options.hungMs ?? HUNG_MS);
        if (!this.#isClosed) for (const waiter of [...this.#draining]) waiter.reject(this.#hangs());
        this.#serve();
        this.#options.onGivenUp();
      },
      isHung: false,
      timer: undefined,
    };
    signal.addEventListener('abort', lease.giveUp, { once: true });
    return lease;
  }

  #hangsIn(lease: Lease): void {
    lease.isHung = true;
    if (this.isStuck) this.#options.onStuck();
  }

  #hangs(): UpstreamFailure {
    return new UpstreamFailure('unreachable', `token ${this.#options.label}: a call of its library does not return`);
  }
}

export function givenUp(): UpstreamFailure {
  return new UpstreamFailure('unreachable', 'the call was given up');
}
