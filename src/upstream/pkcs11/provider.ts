import { randomFillSync } from 'node:crypto';
import { secretBuffer } from '../../crypto/secret-buffer.ts';
import { DekdError } from '../../errors.ts';
import type { ChildCall, ChildProvider, OpenProvider } from '../child/child-provider.ts';
import { UpstreamFailure } from '../failure.ts';
import { type KekDescription, UNPROVEN_ALGORITHMS, type WrapContext, type WrappedDek } from '../provider.ts';
import type { Cryptoki } from './cryptoki.ts';
import { failureOf, KeyUnfit, precaution } from './errors.ts';
import type { Key } from './key.ts';
import { Library } from './library.ts';
import { DEK_BYTES, MECHANISMS, type Work, type WrapMechanism } from './mechanisms.ts';
import type { Pkcs11Options } from './options.ts';
import { Pin } from './pin.ts';
import { Token } from './token.ts';
import { parsePkcs11Kek } from './uri.ts';

type Operation = 'wrap' | 'unwrap' | 'describe';

/** Loads the vendor's library and looks at the PIN; the token is first asked by a call. */
export const open: OpenProvider<Pkcs11Options> = async (options, _environment, handover) => {
  const pin = new Pin(options.pin, handover);
  pin.check();
  return new Pkcs11Provider(new Library(await loadPkcs11js(), options), pin, options);
};

/** By a name that no compiler follows: it may be missing where it could not be compiled, and dekd without HSMs needs no compiler for C++. */
const PACKAGE: string = 'pkcs11js';

async function loadPkcs11js(): Promise<Cryptoki> {
  try {
    const { default: pkcs11js } = (await import(PACKAGE)) as { default: { PKCS11: new () => Cryptoki } };
    return new pkcs11js.PKCS11();
  } catch (error) {
    throw new DekdError(
      'INVALID_REQUEST',
      'the package pkcs11js is not there, or was not compiled; install a C++ compiler, python3 and make, then run: npm install pkcs11js@2',
      {
        cause: error,
      },
    );
  }
}

/** KEKs in one or more tokens behind one library. Calls are synchronous: a call that hangs ends with its process. */
export class Pkcs11Provider implements ChildProvider {
  readonly warnings: readonly string[] = [];
  readonly #library: Library;
  readonly #pin: Pin;
  readonly #options: Pkcs11Options;
  /** By label, the one that served last in front. */
  readonly #members = new Map<string, Token[]>();
  #closed = false;

  constructor(library: Library, pin: Pin, options: Pkcs11Options) {
    this.#library = library;
    this.#pin = pin;
    this.#options = options;
  }

  async wrap(kek: string, dek: Uint8Array, context: WrapContext, call: ChildCall): Promise<WrappedDek> {
    return this.#onToken('wrap', kek, call, (token, key) => {
      const mechanism = this.#mechanismToWrap(kek, token, key);
      const bytes = mechanism.wrap(workOf(token, key, context), viewOf(dek));
      return { kekVersion: '', algorithm: mechanism.algorithm, bytes };
    });
  }

  async unwrap(kek: string, wrapped: WrappedDek, context: WrapContext, call: ChildCall): Promise<Uint8Array> {
    return this.#onToken('unwrap', kek, call, (token, key) => {
      const mechanism = MECHANISMS.find(({ algorithm }) => algorithm === wrapped.algorithm);
      const fits = mechanism?.kind === key.kind && wrapped.bytes.length === mechanism.wrappedBytes(key);
      if (mechanism === undefined || !fits || wrapped.kekVersion !== '') throw invalid(kek);
      this.#checkOrigin(mechanism);
      checkAllowed(kek, mechanism, token, key);
      return unwrapOrProve(kek, mechanism, workOf(token, key, context), viewOf(wrapped.bytes));
    });
  }

  async describe(kek: string, call: ChildCall): Promise<KekDescription> {
    return this.#onToken('describe', kek, call, (token, key) => {
      const { decrypt, unwrap } = key.allows;
      const mechanism = MECHANISMS.find((candidate) => candidate.kind === key.kind && candidate.offered(token, key));
      const labels = new Map([['token', token.label]]);
      if (mechanism !== undefined) labels.set('wraps-with', mechanism.name);
      if (key.kind === 'rsa') labels.set('origin', 'unproven');
      return { uri: kek, state: decrypt || unwrap ? 'active' : 'disabled', versions: [], labels };
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#forgetTokens();
  }

  /** Token after token, until one serves; what one refuses, none is asked again. */
  #onToken<Result>(
    operation: Operation,
    kek: string,
    call: ChildCall,
    use: (token: Token, key: Key) => Result,
  ): Result {
    if (this.#closed || call.signal.aborted) throw new UpstreamFailure('unreachable', 'the call was given up');
    let last: UpstreamFailure | undefined;
    try {
      for (const token of this.#tokensOf(kek)) {
        try {
          if (operation === 'describe') token.forgetKeys();
          const result = this.#attempt(token, kek, call.fresh, use);
          this.#toFront(token);
          return result;
        } catch (error) {
          last = failureOf(kek, operation, error);
          if (last.class !== 'unreachable' && last.class !== 'throttled') throw last;
        }
      }
    } catch (error) {
      throw failureOf(kek, operation, error);
    }
    if (last?.class !== 'throttled' && !(last?.cause instanceof KeyUnfit)) this.#forgetTokens();
    throw last ?? new UpstreamFailure('unreachable', `${kek}: no such token is present`);
  }

  /** Once more after a new login, where the failure may come from a lost one. */
  #attempt<Result>(token: Token, kek: string, fresh: boolean, use: (token: Token, key: Key) => Result): Result {
    if (fresh) token.reset();
    try {
      return use(token, token.key(kek));
    } catch (error) {
      token.endOperation();
      if (precaution(error) !== 'login') throw error;
    }
    token.reset();
    try {
      return use(token, token.key(kek));
    } catch (error) {
      token.endOperation();
      throw error;
    }
  }

  #tokensOf(kek: string): readonly Token[] {
    const labels = this.#options.tokens ?? [parsePkcs11Kek(kek).token ?? ''];
    const group = labels.join('\0');
    const known = this.#members.get(group) ?? [];
    if (known.length > 0) return [...known];
    const tokens = labels.flatMap((label) =>
      this.#library.slots(label).map((slot) => new Token(label, slot, this.#library.cryptoki, this.#pin)),
    );
    // Agents begin at different tokens, and a child that was killed over one that hangs does not begin there for ever.
    const first = Math.floor(Math.random() * tokens.length);
    this.#members.set(group, [...tokens.slice(first), ...tokens.slice(0, first)]);
    return [...(this.#members.get(group) ?? [])];
  }

  #toFront(token: Token): void {
    for (const members of this.#members.values()) {
      const at = members.indexOf(token);
      if (at > 0) members.unshift(...members.splice(at, 1));
    }
  }

  /** No token serves: the next call begins with the library's initialization. */
  #forgetTokens(): void {
    this.#members.clear();
    this.#library.finalize();
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

/** Some libraries say of a wrapped DEK that does not open what they also say of a broken token: then a round trip tells which it is. */
function unwrapOrProve(kek: string, mechanism: WrapMechanism, work: Work, wrapped: Buffer): Buffer {
  try {
    return mechanism.unwrap(work, wrapped);
  } catch (error) {
    if (precaution(error) !== 'proof') throw error;
    work.token.endOperation();
    if (!proves(kek, mechanism, { ...work, session: work.token.session() })) throw error;
    throw invalid(kek, error);
  }
}

/** A caller writes the algorithm: one that the key or the token has no use for says nothing of the KEK, unless nothing opens under it any more. */
function checkAllowed(kek: string, mechanism: WrapMechanism, token: Token, key: Key): void {
  const { decrypt, unwrap } = key.allows;
  if ((!decrypt && !unwrap) || mechanism.opens(token, key) || mechanism.offered(token, key)) return;
  throw invalid(kek);
}

/** A key that only decrypts makes no round trip: then the token must be present, find the key again and begin a decryption. */
function proves(kek: string, mechanism: WrapMechanism, work: Work): boolean {
  const { token } = work;
  if (mechanism.offered(token, work.key)) return roundTrips(mechanism, work);
  token.checkPresent();
  const key = token.key(kek);
  mechanism.begin({ ...work, key });
  token.endOperation();
  return mechanism.opens(token, key);
}

function roundTrips(mechanism: WrapMechanism, work: Work): boolean {
  const probe = randomFillSync(secretBuffer(DEK_BYTES));
  return mechanism.unwrap(work, mechanism.wrap(work, probe)).equals(probe);
}

function invalid(kek: string, cause?: unknown): UpstreamFailure {
  const why = 'it was changed, or wrapped by another KEK or with another context';
  return new UpstreamFailure('invalid', `the wrapped DEK does not open under ${kek}: ${why}`, { cause });
}

function workOf(token: Token, key: Key, context: WrapContext): Work {
  return { token, key, session: token.session(), aad: viewOf(context.encoded) };
}

function viewOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
