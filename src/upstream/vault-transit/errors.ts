import { type FailureClass, type KekCondition, type RefusalScope, UpstreamFailure } from '../failure.ts';
import { type HttpAnswer, retryAfterMs } from './http.ts';

// What an answer of Vault or OpenBao means. Whatever is not on a line below is `unreachable`: another status or text, a proxy's page, an answer
// that is no JSON. docs/upstreams/vault-transit.md shows this table; a test compares the two.

export interface Line {
  /** `key`: encrypt, decrypt or a read of the key; `read`: only the last; `login`: a login or the renewal of a token. */
  readonly call: 'key' | 'read' | 'login';
  readonly status: number;
  /** What the error's text must be, as a whole. */
  readonly text: RegExp;
  readonly class: FailureClass;
  readonly scope?: RefusalScope;
  readonly condition?: KekCondition;
  readonly what: string;
  /** Where it is documented, or whose answer it is. */
  readonly source: string;
}

const TRANSIT = 'OpenBao 2.7.2, builtin/logical/transit';
const KEYSUTIL = 'OpenBao 2.7.2, sdk/helper/keysutil/policy.go';

/** Vault from 1.13 on adds its second reason for a dead token. */
const DENIED = /^permission denied(?:; invalid token)?$/;

export const LINES: readonly Line[] = [
  {
    call: 'key',
    status: 400,
    text: /^encryption key not found$/,
    class: 'refused',
    scope: 'kek',
    condition: 'missing',
    what: 'decrypt: there is no such key, or it was deleted',
    source: `${TRANSIT}/path_decrypt.go`,
  },
  {
    call: 'key',
    status: 400,
    text: /^key type ecdsa-p256 not supported for this operation$/,
    class: 'refused',
    scope: 'kek',
    condition: 'missing',
    what: 'encrypt with a token that may create keys: there is no such key, and none is made',
    source: `${TRANSIT}/path_encrypt.go`,
  },
  {
    call: 'read',
    status: 404,
    text: /^$/,
    class: 'refused',
    scope: 'kek',
    condition: 'missing',
    what: 'a read of the key: there is none (an empty list of errors)',
    source: 'API documentation, HTTP status codes: 404; sdk/logical/response_util.go',
  },
  {
    call: 'key',
    status: 400,
    text: /^refusing to use soft-deleted key$/,
    class: 'refused',
    scope: 'kek',
    condition: 'disabled',
    what: 'the key is soft-deleted',
    source: 'OpenBao API documentation, transit: soft delete key',
  },
  {
    call: 'key',
    status: 400,
    text: /^missing 'context' for key derivation;/,
    class: 'refused',
    scope: 'kek',
    what: 'the key is derived: it is no KEK for dekd',
    source: KEYSUTIL,
  },
  {
    call: 'key',
    status: 400,
    text: /^'\[0\]\.associated_data' provided for non-AEAD cipher suite /,
    class: 'refused',
    scope: 'kek',
    what: 'the key cannot bind associated data (RSA, signing keys): it is no KEK for dekd',
    source: `${TRANSIT}/path_encrypt.go, path_decrypt.go`,
  },
  {
    call: 'key',
    status: 400,
    text: /^ciphertext or signature version is disallowed by policy \(too old\)$/,
    class: 'refused',
    scope: 'version',
    what: 'the version lies below `min_decryption_version`',
    source: 'API documentation, transit: update key configuration; keysutil ErrTooOld',
  },
  {
    call: 'key',
    status: 400,
    text: /^invalid ciphertext: version is too new$/,
    class: 'invalid',
    what: 'the key never had such a version: only a ciphertext can say so, and any caller can make one',
    source: KEYSUTIL,
  },
  {
    call: 'key',
    status: 400,
    text: /^(?:cipher|chacha20poly1305): message authentication failed$/,
    class: 'invalid',
    what: 'wrong context, altered, or wrapped by another key: one text for all',
    source: 'Go, crypto/cipher and x/crypto/chacha20poly1305, errOpen',
  },
  {
    call: 'key',
    status: 400,
    text: /^invalid ciphertext(?:: (?!version is too new$).*| length)?$/,
    class: 'invalid',
    what: 'no ciphertext of the transit engine',
    source: KEYSUTIL,
  },
  {
    call: 'key',
    status: 403,
    text: DENIED,
    class: 'refused',
    scope: 'access',
    what: 'while `auth/token/lookup-self` answers 200 to the same token; else the token is dead: *unauthenticated*',
    source: 'API documentation, HTTP status codes: 403; auth/token: lookup a token (self)',
  },
  {
    call: 'key',
    status: 429,
    text: /rate limit quota exceeded$/,
    class: 'throttled',
    what: 'a rate limit quota',
    source: 'API documentation, sys/quotas/rate-limit',
  },
  {
    call: 'login',
    status: 400,
    text: /^(?:invalid role or secret ID|missing secret_id|missing role_id|invalid role name ".*"|missing jwt|missing role)$/,
    class: 'unauthenticated',
    what: 'the login is refused: wrong role, secret id or service account token',
    source: 'OpenBao 2.7.2, builtin/credential/approle, kubernetes',
  },
  {
    call: 'login',
    status: 403,
    text: /^.*$/s,
    class: 'unauthenticated',
    what: 'the login or renewal is refused: revoked, expired, no such auth method, service account not allowed',
    source: 'API documentation, HTTP status codes: 403',
  },
  {
    call: 'login',
    status: 429,
    text: /rate limit quota exceeded$/,
    class: 'throttled',
    what: 'a rate limit quota',
    source: 'API documentation, sys/quotas/rate-limit',
  },
];

/** The failure that an answer without success is. `what` begins the message: `vault-transit: encrypt under KEK …`. */
export function failureOf(call: Line['call'], answer: HttpAnswer, what: string): UpstreamFailure {
  const text = errorText(answer);
  if (text === undefined) {
    return new UpstreamFailure(
      'unreachable',
      `${what}: HTTP ${answer.status} from ${answer.from}, and not in the form of Vault`,
    );
  }
  const line = LINES.find((each) => covers(each, call) && each.status === answer.status && each.text.test(text));
  const message = `${what}: HTTP ${answer.status} from ${answer.from}: ${text === '' ? 'no error text' : text}`;
  if (line === undefined) return new UpstreamFailure('unreachable', message);
  const pause = line.class === 'throttled' ? retryAfterMs(answer) : undefined;
  return new UpstreamFailure(line.class, message, {
    ...(line.scope === undefined ? {} : { scope: line.scope }),
    ...(line.condition === undefined ? {} : { condition: line.condition }),
    ...(pause === undefined ? {} : { retryAfterMs: pause }),
  });
}

function covers(line: Line, call: Line['call']): boolean {
  return line.call === call || (line.call === 'key' && call === 'read');
}

/** 403 in Vault's own words. A proxy's 403 is none: it says nothing of a key or a token. */
export function isPermissionDenied(answer: HttpAnswer): boolean {
  return answer.status === 403 && DENIED.test(errorText(answer) ?? '');
}

const MAX_TEXT_LENGTH = 200;

/** The texts of `{"errors": [TEXT, …]}`, without what go-multierror puts round them; empty for none; undefined for any other body. */
function errorText({ body }: HttpAnswer): string | undefined {
  const errors = parseJson(body)?.['errors'];
  if (!Array.isArray(errors) || !errors.every((error) => typeof error === 'string')) return undefined;
  return errors.flatMap(reasons).join('; ').slice(0, MAX_TEXT_LENGTH);
}

/** go-multierror: `2 errors occurred:`, and each on a line of its own that begins with a tab and a star. */
function reasons(error: string): string[] {
  const [head = '', ...items] = error.trim().split('\n\t* ');
  return /^\d+ errors? occurred:$/.test(head) ? items : [error.trim()];
}

/** A JSON object, or undefined for anything else. */
export function parseJson(body: Buffer): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(body.toString());
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}
