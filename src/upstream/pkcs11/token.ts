import { UpstreamFailure } from '../failure.ts';
import { CKF_SERIAL_SESSION, CKU_USER, type Cryptoki, type Handle, LOGGED_IN_STATES, TOKEN } from './cryptoki.ts';
import { failureOf, KeyAbsent, MECHANISM_INVALID, returnValue, USER_ALREADY_LOGGED_IN } from './errors.ts';
import { findKey, type Key } from './key.ts';
import { trimLabel } from './library.ts';
import type { Pin } from './pin.ts';

/** How this token wants AES-GCM's parameters: found out by the first call (aes-gcm.ts). */
export interface GcmHabits {
  layout?: number;
  nonce?: 'agent' | 'token';
}

/**
 * A token in a slot: its login, its sessions and the keys found on it. Calls are synchronous, so that one session is enough for all of them; a
 * second one stays idle and holds the login, because the end of a token's last session logs out.
 */
export class Token {
  readonly label: string;
  readonly cryptoki: Cryptoki;
  readonly gcm: GcmHabits = {};
  readonly #slot: Handle;
  readonly #pin: Pin;
  #anchor: Handle | undefined;
  #session: Handle | undefined;
  readonly #keys = new Map<string, Key>();
  readonly #offers = new Map<number, number>();

  constructor(label: string, slot: Handle, cryptoki: Cryptoki, pin: Pin) {
    this.label = label;
    this.cryptoki = cryptoki;
    this.#slot = slot;
    this.#pin = pin;
  }

  /** Logged in. Throws what the library throws, and UpstreamFailure *unauthenticated*. */
  session(): Handle {
    this.#anchor ??= this.#logIn();
    this.#session ??= this.cryptoki.C_OpenSession(this.#slot, CKF_SERIAL_SESSION);
    return this.#session;
  }

  /** Throws KeyAbsent. */
  key(uri: string): Key {
    const known = this.#keys.get(uri);
    if (known !== undefined) return known;
    const session = this.session();
    const key = findKey(this.cryptoki, session, uri);
    if (key === undefined) {
      // A token whose files or whose connection went away finds nothing either.
      this.checkPresent();
      throw new KeyAbsent(`there is no such key on the token ${this.label}`);
    }
    // A key that may not wrap now may be allowed to later: no refusal comes from memory.
    if (key.allows.encrypt || key.allows.wrap) this.#keys.set(uri, key);
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

  /** After an error: it may have left an operation active, and a handle may be stale. The login stays. */
  endOperation(): void {
    this.forgetKeys();
    const session = this.#session;
    this.#session = undefined;
    if (session !== undefined) this.#quietly(() => this.cryptoki.C_CloseSession(session));
  }

  /** The next call logs in again. */
  reset(): void {
    this.endOperation();
    this.#offers.clear();
    if (this.#anchor === undefined) return;
    this.#anchor = undefined;
    this.#quietly(() => this.cryptoki.C_CloseAllSessions(this.#slot));
  }

  #logIn(): Handle {
    const flags = this.checkPresent();
    const anchor = this.cryptoki.C_OpenSession(this.#slot, CKF_SERIAL_SESSION);
    try {
      if ((flags & TOKEN.LOGIN_REQUIRED) !== 0) this.#enterPin(anchor, flags);
      return anchor;
    } catch (error) {
      this.#quietly(() => this.cryptoki.C_CloseSession(anchor));
      throw error;
    }
  }

  #enterPin(session: Handle, flags: number): void {
    this.#refuseLastTry(flags);
    this.#pin.use((pin) => this.#login(session, pin), pinRefusal(this.label));
    if (LOGGED_IN_STATES.includes(this.cryptoki.C_GetSessionInfo(session).state)) return;
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

  /** The token's flags. Throws when it is not there, or is another. */
  checkPresent(): number {
    const { label, flags } = this.cryptoki.C_GetTokenInfo(this.#slot);
    if (trimLabel(label) === this.label) return flags;
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

function pinRefusal(label: string): (thrown: unknown) => UpstreamFailure | undefined {
  return (thrown) => {
    const failure = failureOf(`token ${label}`, 'login', thrown);
    return failure.class === 'unauthenticated' ? failure : undefined;
  };
}
