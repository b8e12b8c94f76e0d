import { randomFillSync } from 'node:crypto';
import { writeSync } from 'node:fs';
import { secretBuffer } from '../../crypto/secret-buffer.ts';
import type { ChildCall, ChildProvider, OpenProvider } from '../child/child-provider.ts';
import { UpstreamFailure } from '../failure.ts';
import { type KekDescription, UNPROVEN_ALGORITHMS, type WrapContext, type WrappedDek } from '../provider.ts';
import { loadPkcs11js } from './binding.ts';
import type { Handle } from './cryptoki.ts';
import { failureOf, KeyAbsent, KeyUnfit, precaution } from './errors.ts';
import type { Key } from './key.ts';
import { Library } from './library.ts';
import { DEK_BYTES, MECHANISMS, type Work, type WrapMechanism } from './mechanisms.ts';
import { Members } from './members.ts';
import { DEFAULT_MAX_SESSIONS, type Pkcs11Options } from './options.ts';
import { Pin } from './pin.ts';
import { givenUp, type Session } from './session-pool.ts';
import { Token } from './token.ts';
import { parsePkcs11Kek } from './uri.ts';

type Operation = 'wrap' | 'unwrap' | 'describe';

/** For calls in the library to return before it is finalized: within the second that a child has to close. */
const CLOSING_MS = 700;

/** Loads the vendor's library and looks at the PIN; the token is first asked by a call. */
export const open: OpenProvider<Pkcs11Options> = async (options, _environment, handover) => {
  const pin = new Pin(options.pin, handover);
  pin.check();
  return new Pkcs11Provider(new Library(await loadPkcs11js(), options), pin, options);
};

/** On a session of its own, with the key as it is known under that session's login. */
type OnSession = <Result>(work: (session: Session, key: Key) => Result | Promise<Result>) => Promise<Result>;

type Use<Result> = (token: Token, onSession: OnSession) => Promise<Result>;

/** KEKs in one or more tokens behind one library. A call settles when the library has returned, which may be long after it was given up. */
export class Pkcs11Provider implements ChildProvider {
  readonly warnings: readonly string[] = [];
  readonly #library: Library;
  readonly #pin: Pin;
  readonly #options: Pkcs11Options;
  readonly #end: (why: string) => void;
  readonly #members: Members;
  #isClosed = false;

  /** `end` ends the process, where nothing else gets out of the library. */
  constructor(library: Library, pin: Pin, options: Pkcs11Options, end: (why: string) => void = endProcess) {
    this.#library = library;
    this.#pin = pin;
    this.#options = options;
    this.#end = end;
    this.#members = new Members({
      slots: (label) => library.slots(label),
      make: (label, slot) => this.#token(label, slot),
    });
  }

  async wrap(kek: string, dek: Uint8Array, context: WrapContext, call: ChildCall): Promise<WrappedDek> {
    return this.#onToken('wrap', kek, call, (token, onSession) =>
      onSession(async (session, key) => {
        const mechanism = this.#mechanismToWrap(kek, token, key);
        const bytes = await mechanism.wrap(workOf(token, session, key, context), viewOf(dek));
        return { kekVersion: '', algorithm: mechanism.algorithm, bytes };
      }),
    );
  }

  async unwrap(kek: string, wrapped: WrappedDek, context: WrapContext, call: ChildCall): Promise<Uint8Array> {
    const mechanism = MECHANISMS.find(({ algorithm }) => algorithm === wrapped.algorithm);
    return this.#onToken('unwrap', kek, call, async (token, onSession) => {
      let login: number | undefined;
      const unwrap = (session: Session, key: Key): Promise<Buffer> => {
        login = session.login;
        const fits = mechanism?.kind === key.kind && wrapped.bytes.length === mechanism.wrappedBytes(key);
        if (mechanism === undefined || !fits || wrapped.kekVersion !== '') throw invalid(kek);
        this.#checkOrigin(mechanism);
        checkAllowed(kek, mechanism, token, key);
        return mechanism.unwrap(workOf(token, session, key, context), viewOf(wrapped.bytes));
      };
      try {
        return await onSession(unwrap);
      } catch (error) {
        // Some libraries say of a wrapped DEK that does not open what they also say of a broken token: then a round trip tells which it is.
        if (mechanism === undefined || precaution(error) !== 'proof') throw error;
        const prove = (session: Session, key: Key) => proves(mechanism, workOf(token, session, key, context));
        if (!(await onSession(prove))) throw error;
        // Where another call logged in anew meanwhile, what ended the login before may have ended this call too.
        if (token.login !== login) return await onSession(unwrap);
        throw invalid(kek, error);
      }
    });
  }

  async describe(kek: string, call: ChildCall): Promise<KekDescription> {
    return this.#onToken('describe', kek, call, (token, onSession) => {
      token.forgetKeys();
      return onSession((_session, key) => {
        const { decrypt, unwrap } = key.allows;
        const mechanism = MECHANISMS.find((candidate) => candidate.kind === key.kind && candidate.offered(token, key));
        const labels = new Map([['token', token.label]]);
        if (mechanism !== undefined) labels.set('wraps-with', mechanism.name);
        if (key.kind === 'rsa') labels.set('origin', 'unproven');
        return { uri: kek, state: decrypt || unwrap ? 'active' : 'disabled', versions: [], labels };
      });
    });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const inTime = AbortSignal.timeout(CLOSING_MS);
    for (const token of this.#members.all) token.close();
    const ends = await Promise.allSettled(this.#members.all.map((token) => token.idle(inTime)));
    if (ends.every(({ status }) => status === 'fulfilled')) this.#finalize();
    else this.#end('a call of the PKCS#11 library does not return: the process ends without it');
  }

  async #onToken<Result>(operation: Operation, kek: string, call: ChildCall, use: Use<Result>): Promise<Result> {
    if (this.#isClosed || call.signal.aborted) throw givenUp();
    try {
      return await this.#onOneOf(operation, kek, call, use);
    } catch (error) {
      throw failureOf(kek, operation, error);
    }
  }

  /** Token after token, until one serves; what one refuses, none is asked again, but for a key that it does not have. */
  async #onOneOf<Result>(operation: Operation, kek: string, call: ChildCall, use: Use<Result>): Promise<Result> {
    const labels = this.#labelsOf(kek);
    const tokens = this.#members.of(labels);
    const failures: UpstreamFailure[] = [];
    for (const token of tokens) {
      try {
        const result = await this.#attempt(token, kek, call, use);
        if (!call.signal.aborted) this.#members.move(token, 'front');
        return result;
      } catch (error) {
        const failure = failureOf(kek, operation, error);
        if (!mayAnotherServe(failure) || call.signal.aborted) throw failure;
        failures.push(failure);
      }
    }
    const failure = noneServed(kek, labels, tokens, failures);
    const isTokens = failure.class === 'unreachable' && !(failure.cause instanceof KeyUnfit);
    if (isTokens) this.#startAnew(tokens);
    throw failure;
  }

  /** Once more after a new login, where the failure may come from a lost one. */
  async #attempt<Result>(token: Token, kek: string, { signal, fresh }: ChildCall, use: Use<Result>): Promise<Result> {
    if (fresh) await token.logOut(signal);
    let { login } = token;
    const onSession: OnSession = (work) =>
      token.use(signal, (session) => {
        login = session.login;
        return work(session, token.key(kek, session));
      });
    try {
      return await use(token, onSession);
    } catch (error) {
      if (precaution(error) !== 'login') throw error;
    }
    token.endLogin(login);
    return use(token, onSession);
  }

  /** Where a KEK names its token, no other is asked for it. */
  #labelsOf(kek: string): readonly string[] {
    const { token } = parsePkcs11Kek(kek);
    return token === undefined ? (this.#options.tokens ?? []) : [token];
  }

  #token(label: string, slot: Handle): Token {
    return new Token({
      label,
      slot,
      cryptoki: this.#library.cryptoki,
      pin: this.#pin,
      maxSessions: this.#options.maxSessions ?? DEFAULT_MAX_SESSIONS,
      events: {
        // The next calls do not wait for what this one waited for in vain.
        onGivenUp: (token) => this.#members.move(token, 'back'),
        onStuck: ({ label }) => {
          if (this.#members.all.every(({ isStuck }) => isStuck)) this.#endOver(label);
        },
      },
    });
  }

  /**
   * No token served: the next call begins with the library's initialization, or, where a call hangs in the library, with a new process. While others
   * are in the library it stays as it is, and whoever fails last of them comes here again.
   */
  #startAnew(tried: readonly Token[]): void {
    if (tried.some(({ isClosed }) => isClosed)) return;
    const hung = this.#members.all.find(({ isHung }) => isHung);
    if (hung !== undefined) this.#endOver(hung.label);
    else if (this.#members.all.every(({ isIdle }) => isIdle)) this.#finalize();
  }

  #finalize(): void {
    for (const token of this.#members.all) token.close();
    this.#members.clear();
    this.#library.finalize();
  }

  #endOver(label: string): void {
    this.#end(`token ${label}: a call of its PKCS#11 library does not return, and no token serves: the process ends`);
  }

  #mechanismToWrap(kek: string, token: Token, key: Key): WrapMechanism {
    const { encrypt, wrap } = key.allows;
    if (!encrypt && !wrap) {
      const options = { scope: 'kek', condition: 'disabled' } as const;
      throw new UpstreamFailure('refused', `${kek}: neither CKA_ENCRYPT nor CKA_WRAP of the key is set`, options);
    }
    const mechanism = MECHANISMS.find((candidate) => candidate.kind === key.kind && candidate.offered(token, key));
    if (mechanism === undefined) {
      const names = MECHANISMS.filter(({ kind }) => kind === key.kind).map(({ name }) => name);
      throw new KeyUnfit(`token ${token.label} offers none of ${names.join(', ')} for this key`);
    }
    this.#checkOrigin(mechanism);
    return mechanism;
  }

  #checkOrigin({ algorithm, name }: WrapMechanism): void {
    if (!UNPROVEN_ALGORITHMS.includes(algorithm) || this.#options.origin === 'unproven') return;
    const why = 'whoever has its public key can make ciphertexts';
    throw new KeyUnfit(`${name}: ${why}; allow that with \`origin: unproven\`, or use an AES key`);
  }
}

function mayAnotherServe({ class: failureClass, cause }: UpstreamFailure): boolean {
  return failureClass === 'unreachable' || failureClass === 'throttled' || cause instanceof KeyAbsent;
}

/** A key is missing when every token that may have it says so: one that is away may be the one that has it. */
function noneServed(
  kek: string,
  labels: readonly string[],
  tokens: readonly Token[],
  failures: readonly UpstreamFailure[],
): UpstreamFailure {
  const last = failures.findLast(({ cause }) => !(cause instanceof KeyAbsent));
  if (last !== undefined) return last;
  const away = labels.filter((label) => !tokens.some((token) => token.label === label));
  const notPresent = `no token ${away.join(', ')} is present`;
  const [first] = failures;
  if (first === undefined) return new UpstreamFailure('unreachable', `${kek}: ${notPresent}`);
  const missing = `there is no such key on ${tokens.map(({ label }) => label).join(', ')}`;
  if (away.length > 0) return new UpstreamFailure('unreachable', `${kek}: ${missing}, and ${notPresent}`);
  if (failures.length === 1) return first;
  const options = { scope: 'kek', condition: 'missing', cause: first } as const;
  return new UpstreamFailure('refused', `${kek}: ${missing}`, options);
}

/** A caller writes the algorithm: one that the key or the token has no use for says nothing of the KEK, unless nothing opens under it any more. */
function checkAllowed(kek: string, mechanism: WrapMechanism, token: Token, key: Key): void {
  const { decrypt, unwrap } = key.allows;
  if ((!decrypt && !unwrap) || mechanism.opens(token, key) || mechanism.offered(token, key)) return;
  throw invalid(kek);
}

/** A key that only decrypts makes no round trip: then the token must be present, have found the key again and begin a decryption. */
async function proves(mechanism: WrapMechanism, work: Work): Promise<boolean> {
  const { token, session, key } = work;
  if (mechanism.offered(token, key)) return roundTrips(mechanism, work);
  token.checkPresent();
  session.isSpent = true;
  mechanism.begin(work);
  return mechanism.opens(token, key);
}

async function roundTrips(mechanism: WrapMechanism, work: Work): Promise<boolean> {
  const probe = randomFillSync(secretBuffer(DEK_BYTES));
  const opened = await mechanism.unwrap(work, await mechanism.wrap(work, probe));
  return opened.equals(probe);
}

function invalid(kek: string, cause?: unknown): UpstreamFailure {
  const why = 'it was changed, or wrapped by another KEK or with another context';
  return new UpstreamFailure('invalid', `the wrapped DEK does not open under ${kek}: ${why}`, { cause });
}

function workOf(token: Token, session: Session, key: Key, { encoded }: WrapContext): Work {
  return { token, session, key, aad: viewOf(encoded) };
}

/** By a signal: an orderly exit waits for every thread of libuv's pool, the one that hangs in the library too. */
function endProcess(why: string): void {
  writeSync(2, `${why}\n`);
  process.kill(process.pid, 'SIGKILL');
}

function viewOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
