import { UpstreamFailure } from '../failure.ts';
import { CKF_SERIAL_SESSION, CKU_USER, type Cryptoki, type Handle, LOGGED_IN_STATES, TOKEN } from './cryptoki.ts';
import { failureOf, KeyAbsent, LoginLost, MECHANISM_INVALID, returnValue, USER_ALREADY_LOGGED_IN } from './errors.ts';
import { findKey, type Key } from './key.ts';
import { trimLabel } from './library.ts';
import { Pace } from './pace.ts';
import type { Pin } from './pin.ts';
import { type Session, SessionPool } from './session-pool.ts';

/** How this token wants AES-GCM's parameters: found out by the first call (aes-gcm.ts). */
export interface GcmHabits {
  layout?: number;
  nonce?: 'agent' | 'token';
}

/** What a token tells of itself to whoever keeps it. */
export interface TokenEvents {
  /** A call of the library at this token was given up. */
  onGivenUp(token: Token): void;
  /** See SessionPool.isStuck. */
  onStuck(token: Token): void;
}

export interface TokenOptions {
  readonly label: string;
  readonly slot: Handle;
  readonly cryptoki: Cryptoki;
  readonly pin: Pin;
  readonly maxSessions: number;
  readonly events: TokenEvents;
}

/** A token in a slot: its login, its sessions and the keys found on it. */
export class Token {
  readonly label: string;
  readonly cryptoki: Cryptoki;
  readonly gcm: GcmHabits = {};
  readonly pace = new Pace();
  readonly #slot: Handle;
  readonly #pin: Pin;
  readonly #sessions: SessionPool;
  readonly #keys = new Map<string, Key>();
  readonly #offers = new Map<number, number>();

  constructor({ label, slot, cryptoki, pin, maxSessions, events }: TokenOptions) {
    this.label = label;
    this.cryptoki = cryptoki;
    this.#slot = slot;
    this.#pin = pin;
    this.#sessions = new SessionPool({
      label,
      maxSessions,
      source: {
        logIn: () => this.#logIn(),
        open: () => cryptoki.C_OpenSession(slot, CKF_SERIAL_SESSION),
        close: (session) => this.#quietly(() => cryptoki.C_CloseSession(session)),
      },
      onLoginEnded: () => {
        this.forgetKeys();
        this.#offers.clear();
      },
      onGivenUp: () => events.onGivenUp(this),
      onStuck: () => events.onStuck(this),
    });
  }

  /** As SessionPool.login. */
  get login(): number {
    return this.#sessions.login;
  }

  get isIdle(): boolean {
    return this.#sessions.isIdle;
  }

  get isClosed(): boolean {
    return this.#sessions.isClosed;
  }

  get isHung(): boolean {
    return this.#sessions.isHung;
  }

  get isStuck(): boolean {
    return this.#sessions.isStuck;
  }

  /**
   * Works on a session of its own, logged in; it settles when the library has returned, whoever waits. Throws what the library throws, and
   * UpstreamFailure *unauthenticated* and *unreachable*.
   */
  async use<Result>(signal: AbortSignal, work: (session: Session) => Result | Promise<Result>): Promise<Result> {
    const session = await this.#sessions.take(signal);
    try {
      return await work(session);
    } catch (error) {
      // It may have left an operation active, and a handle may be stale. The login stays.
      session.isSpent = true;
      this.forgetKeys();
      throw error;
    } finally {
      this.#sessions.giveBack(session);
    }
  }

  /** Throws KeyAbsent and LoginLost. */
  key(uri: string, session: Session): Key {
    const known = this.#keys.get(uri);
    if (known !== undefined) return known;
    const key = findKey(this.cryptoki, session.handle, uri);
    if (key === undefined) {
      // A token whose files or whose connection went away finds nothing either, nor does a session that was logged out meanwhile.
      const { flags } = this.#present();
      if (needsLogin(flags) && !this.#isLoggedIn(session.handle)) {
        throw new LoginLost(`token ${this.label}: the login was lost`);
      }
      throw new KeyAbsent(`there is no such key on the token ${this.label}`);
    }
    // A key that may not wrap now may be allowed to later: no refusal comes from memory. What an ended login found is stale.
    const isLasting = (key.allows.encrypt || key.allows.wrap) && session.login === this.login;
    if (isLasting) this.#keys.set(uri, key);
    return key;
  }

  /** The next call looks for them, and reads their attributes, again. */
  forgetKeys(): void {
    this.#keys.clear();
  }

  /** CKF_… of a mechanism; 0 when the token does not have it. */
  offers(mechanism: number): number {
    const known = this.#offers.get(mechanism);
    if (known !== undefined) return known;
    const flags = this.#mechanismFlags(mechanism);
    this.#offers.set(mechanism, flags);
    return flags;
  }

  /** As SessionPool.endLogin: the next call logs in again. */
  endLogin(login: number): void {
    this.#sessions.endLogin(login);
  }

  /** As SessionPool.drain: the next call logs in again, and the token has checked the PIN anew by then. */
  logOut(signal: AbortSignal): Promise<void> {
    return this.#sessions.drain(signal);
  }

  /** Throws when it is not there, or is another. */
  checkPresent(): void {
    this.#present();
  }

  /** Nothing is asked of it any more. */
  close(): void {
    this.#sessions.close();
  }

  /** As SessionPool.idle. */
  idle(signal: AbortSignal): Promise<void> {
    return this.#sessions.idle(signal);
  }

  #logIn(): { anchor: Handle; room: number } {
    const { flags, maxSessionCount } = this.#present();
    const anchor = this.cryptoki.C_OpenSession(this.#slot, CKF_SERIAL_SESSION);
    try {
      if (needsLogin(flags)) this.#enterPin(anchor, flags);
      return { anchor, room: maxSessionCount };
    } catch (error) {
      this.#quietly(() => this.cryptoki.C_CloseSession(anchor));
      throw error;
    }
  }

  #enterPin(session: Handle, flags: number): void {
    this.#refuseLastTry(flags);
    this.#pin.use((pin) => this.#login(session, pin), pinRefusal(this.label));
    if (this.#isLoggedIn(session)) return;
    throw new UpstreamFailure('unreachable', `token ${this.label}: the login did not hold`);
  }

  /** A restarted child does not know what was refused before it: the token's own count is what keeps it from being locked by us. */
  #refuseLastTry(flags: number): void {
    const way = 'log in once with the right PIN by another tool, or let its security officer set a new one';
    if ((flags & TOKEN.USER_PIN_LOCKED) !== 0)
      throw new UpstreamFailure(
        'unauthenticated',
        `token ${this.label}: its PIN is locked; let its security officer set a new one`,
      );
    if ((flags & TOKEN.USER_PIN_FINAL_TRY) !== 0)
      throw new UpstreamFailure(
        'unauthenticated',
        `token ${this.label}: one more wrong PIN would lock it; none is tried; ${way}`,
      );
  }

  #login(session: Handle, pin: string): void {
    try {
      this.cryptoki.C_Login(session, CKU_USER, pin);
    } catch (error) {
      if (returnValue(error) !== USER_ALREADY_LOGGED_IN) throw error;
    }
  }

  #isLoggedIn(session: Handle): boolean {
    return LOGGED_IN_STATES.includes(this.cryptoki.C_GetSessionInfo(session).state);
  }

  #present(): ReturnType<Cryptoki['C_GetTokenInfo']> {
    const info = this.cryptoki.C_GetTokenInfo(this.#slot);
    if (trimLabel(info.label) === this.label) return info;
    throw new UpstreamFailure('unreachable', `token ${this.label} is no longer in its slot`);
  }

  #mechanismFlags(mechanism: number): number {
    try {
      return this.cryptoki.C_GetMechanismInfo(this.#slot, mechanism).flags;
    } catch (error) {
      if (returnValue(error) === MECHANISM_INVALID) return 0;
      throw error;
    }
  }

  /** What is closed may be gone already. */
  #quietly(close: () => void): void {
    try {
      close();
    } catch (error) {
      if (returnValue(error) === undefined) throw error;
    }
  }
}

function needsLogin(flags: number): boolean {
  return (flags & TOKEN.LOGIN_REQUIRED) !== 0;
}

function pinRefusal(label: string): (thrown: unknown) => UpstreamFailure | undefined {
  return (thrown) => {
    const failure = failureOf(`token ${label}`, 'login', thrown);
    return failure.class === 'unauthenticated' ? failure : undefined;
  };
}
