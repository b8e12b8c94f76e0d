import { type FailureClass, type KekCondition, type RefusalScope, UpstreamFailure } from '../failure.ts';

// What a PKCS#11 return value means. Sources: PKCS #11 v3.0 (OASIS Standard, 15 June 2020), section 5.1 "Function return values"; what libraries
// really answer was seen on SoftHSM 2.6.1, kryoptic 1.5.2 and opencryptoki 3.8.1. docs/upstreams/pkcs11.md shows this table.

export interface Meaning {
  readonly name: string;
  readonly class: FailureClass;
  readonly scope?: RefusalScope;
  readonly condition?: KekCondition;
  /**
   * What comes before it counts. `login`: a new login, and the key is looked for again, for the session or handle may be what is gone. `proof`: when
   * a round trip with the same key works, the token is well and the wrapped DEK is not (*invalid*). `unwrap`: it counts for an unwrap only.
   */
  readonly first?: 'login' | 'proof' | 'unwrap';
  readonly source: string;
}

const SESSION = 'v3.0 5.1.2: the session is gone, or another was';
const TOKEN = 'v3.0 5.1.3: the token is gone, was exchanged or fails';
const UNIVERSAL = 'v3.0 5.1.1: any function may fail so';
const OTHER = 'v3.0 5.1.6';

/** By return value. Whatever is not here is *unreachable*. */
export const MEANINGS: ReadonlyMap<number, Meaning> = new Map<number, Meaning>([
  [
    0x68,
    refused(
      'CKR_KEY_FUNCTION_NOT_PERMITTED',
      'disabled',
      `${OTHER}: an attribute of the key (CKA_DECRYPT …) forbids it`,
    ),
  ],
  [0xa0, unauthenticated('CKR_PIN_INCORRECT', `${OTHER}: not the PIN of the token`)],
  [0xa1, unauthenticated('CKR_PIN_INVALID', `${OTHER}: has characters that no PIN has`)],
  [0xa2, unauthenticated('CKR_PIN_LEN_RANGE', `${OTHER}: too long or too short`)],
  [0xa3, unauthenticated('CKR_PIN_EXPIRED', `${OTHER}: the PIN must be changed`)],
  [0xa4, unauthenticated('CKR_PIN_LOCKED', `${OTHER}: after too many wrong PINs`)],
  [0x102, unauthenticated('CKR_USER_PIN_NOT_INITIALIZED', `${OTHER}: the user has no PIN yet`)],
  [0xb1, { name: 'CKR_SESSION_COUNT', class: 'throttled', source: `${OTHER}: the token has no session left` }],
  [
    0x82,
    login(
      'CKR_OBJECT_HANDLE_INVALID',
      `${OTHER}: seen when the key is gone, after a logout, and when the token is gone`,
    ),
  ],
  [0x60, login('CKR_KEY_HANDLE_INVALID', `${OTHER}: as above`)],
  [0xf0, login('CKR_UNWRAPPING_KEY_HANDLE_INVALID', `${OTHER}: as above`)],
  [0x113, login('CKR_WRAPPING_KEY_HANDLE_INVALID', `${OTHER}: as above`)],
  [0x101, login('CKR_USER_NOT_LOGGED_IN', `${OTHER}: somebody logged out, or the token was reset`)],
  [0xb0, login('CKR_SESSION_CLOSED', SESSION)],
  [0xb3, login('CKR_SESSION_HANDLE_INVALID', SESSION)],
  [0x90, login('CKR_OPERATION_ACTIVE', `${OTHER}: an earlier operation was not ended`)],
  [0x190, login('CKR_CRYPTOKI_NOT_INITIALIZED', `${OTHER}: the library was finalized`)],
  [0x32, login('CKR_DEVICE_REMOVED', TOKEN)],
  [0xe0, login('CKR_TOKEN_NOT_PRESENT', TOKEN)],
  [0x05, proof('CKR_GENERAL_ERROR', `${UNIVERSAL}; SoftHSM gives it for a tampered wrap and for missing files`)],
  [0x06, proof('CKR_FUNCTION_FAILED', `${UNIVERSAL}; opencryptoki gives it for a tampered OAEP`)],
  [0x30, proof('CKR_DEVICE_ERROR', `${TOKEN}; kryoptic gives it for a tampered OAEP`)],
  [0x40, invalid('CKR_ENCRYPTED_DATA_INVALID')],
  [0x41, invalid('CKR_ENCRYPTED_DATA_LEN_RANGE')],
  [0x42, invalid('CKR_AEAD_DECRYPT_FAILED')],
  [0x110, invalid('CKR_WRAPPED_KEY_INVALID')],
  [0x112, invalid('CKR_WRAPPED_KEY_LEN_RANGE')],
]);

/** Of C_…Init, for parameters in another layout than the library wants: the next one is tried. */
export const PARAMETERS_REFUSED: readonly number[] = [0x07, 0x71];
export const MECHANISM_INVALID = 0x70;
export const SESSION_COUNT = 0xb1;
export const USER_ALREADY_LOGGED_IN = 0x100;

/** The key was not found where it should be. It counts only after a new login on a token that is present. */
export class KeyAbsent extends Error {
  override readonly name = 'KeyAbsent';
}

/** A session is logged in no more, so that what it does not find may be there. */
export class LoginLost extends Error {
  override readonly name = 'LoginLost';
}

/** The key or the token is not set up for what is asked: nothing that a new login or another try could change. */
export class KeyUnfit extends Error {
  override readonly name = 'KeyUnfit';
}

/** What a library answered, when that is what was thrown: pkcs11js writes `CKR_NAME:code`, or puts the code apart. */
export function returnValue(thrown: unknown): number | undefined {
  if (!(thrown instanceof Error) || thrown instanceof UpstreamFailure) return undefined;
  const { code } = thrown as { code?: unknown };
  if (typeof code === 'number' && code > 0) return code;
  const [, text] = /^\w+:(\d+)/.exec(thrown.message) ?? [];
  return text === undefined ? undefined : Number(text);
}

/** What a call that failed needs before its failure counts. */
export function precaution(thrown: unknown): Meaning['first'] {
  if (thrown instanceof KeyAbsent || thrown instanceof LoginLost) return 'login';
  return MEANINGS.get(returnValue(thrown) ?? 0)?.first;
}

/** After the precautions. */
export function failureOf(
  what: string,
  operation: 'wrap' | 'unwrap' | 'describe' | 'login',
  thrown: unknown,
): UpstreamFailure {
  if (thrown instanceof UpstreamFailure) return thrown;
  if (thrown instanceof KeyAbsent) {
    return new UpstreamFailure('refused', `${what}: ${thrown.message}`, {
      scope: 'kek',
      condition: 'missing',
      cause: thrown,
    });
  }
  if (thrown instanceof KeyUnfit || thrown instanceof LoginLost)
    return new UpstreamFailure('unreachable', `${what}: ${thrown.message}`, { cause: thrown });
  const value = returnValue(thrown);
  if (value === undefined) {
    return new UpstreamFailure('unreachable', `${what}: the PKCS#11 library failed in an unknown way`, {
      cause: thrown,
    });
  }
  const meaning = MEANINGS.get(value);
  const message = `${what}: ${operation} failed with ${meaning?.name ?? 'return value'} (0x${value.toString(16)})`;
  const counts = meaning !== undefined && (meaning.first !== 'unwrap' || operation === 'unwrap');
  return new UpstreamFailure(counts ? meaning.class : 'unreachable', message, {
    ...(counts && meaning.scope !== undefined && { scope: meaning.scope }),
    ...(counts && meaning.condition !== undefined && { condition: meaning.condition }),
    cause: thrown,
  });
}

function refused(name: string, condition: KekCondition, source: string): Meaning {
  return { name, class: 'refused', scope: 'kek', condition, source };
}

function unauthenticated(name: string, source: string): Meaning {
  return { name, class: 'unauthenticated', source };
}

function login(name: string, source: string): Meaning {
  return { name, class: 'unreachable', first: 'login', source };
}

function proof(name: string, source: string): Meaning {
  return { name, class: 'unreachable', first: 'proof', source };
}

function invalid(name: string): Meaning {
  return {
    name,
    class: 'invalid',
    first: 'unwrap',
    source: `${OTHER}: the wrapped DEK was changed, or is another KEK's`,
  };
}
