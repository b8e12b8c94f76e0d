import { readFileSync } from 'node:fs';
import test from 'ava';
import { failureOf, isPermissionDenied, LINES } from '../../../src/upstream/vault-transit/errors.ts';
import type { HttpAnswer } from '../../../src/upstream/vault-transit/http.ts';

const answer = (status: number, body: unknown): HttpAnswer => ({
  from: 'https://vault:8200',
  status,
  location: undefined,
  retryAfter: undefined,
  body: Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)),
});
const errors = (...texts: string[]) => ({ errors: texts });

/** As seen on the wire: OpenBao 2.7.2, and Vault where its documentation shows another. */
const seen: readonly [call: 'key' | 'read' | 'login', status: number, text: string, meaning: string][] = [
  ['key', 400, 'encryption key not found', 'refused kek missing'],
  ['key', 400, 'key type ecdsa-p256 not supported for this operation', 'refused kek missing'],
  ['read', 400, 'encryption key not found', 'refused kek missing'],
  ['key', 400, 'refusing to use soft-deleted key', 'refused kek disabled'],
  [
    'key',
    400,
    "missing 'context' for key derivation; the key was created using a derived key, which means additional, per-request information must be included in order to perform operations with the key",
    'refused kek',
  ],
  ['key', 400, "'[0].associated_data' provided for non-AEAD cipher suite rsa-2048", 'refused kek'],
  ['key', 400, 'ciphertext or signature version is disallowed by policy (too old)', 'refused version'],
  ['key', 400, 'invalid ciphertext: version is too new', 'invalid'],
  ['key', 400, 'cipher: message authentication failed', 'invalid'],
  ['key', 400, 'chacha20poly1305: message authentication failed', 'invalid'],
  ['key', 400, 'invalid ciphertext: no prefix', 'invalid'],
  ['key', 400, 'invalid ciphertext: could not decode base64', 'invalid'],
  ['key', 400, 'invalid ciphertext: version number could not be decoded', 'invalid'],
  ['key', 400, 'invalid ciphertext length', 'invalid'],
  ['key', 403, '1 error occurred:\n\t* permission denied\n\n', 'refused access'],
  ['key', 403, 'permission denied', 'refused access'],
  ['key', 403, '2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n', 'refused access'],
  ['key', 429, 'request path "transit/encrypt/k1": rate limit quota exceeded', 'throttled'],
  ['key', 503, 'Vault is sealed', 'unreachable'],
  ['key', 404, 'no handler for route "x/decrypt/k1". route entry not found.', 'unreachable'],
  ['key', 400, 'failed to decode JSON input: unexpected EOF', 'unreachable'],
  ['key', 500, '1 error occurred:\n\t* refusing to use soft-deleted key\n\n', 'unreachable'],
  ['key', 412, 'required index state not present', 'unreachable'],
  ['key', 400, 'invalid role or secret ID', 'unreachable'],
  ['key', 400, 'not an encryption key not found', 'unreachable'],
  ['login', 400, 'invalid role or secret ID', 'unauthenticated'],
  ['login', 400, 'missing secret_id', 'unauthenticated'],
  ['login', 400, 'invalid role name "x"', 'unauthenticated'],
  ['login', 403, 'permission denied', 'unauthenticated'],
  ['login', 403, 'service account name not authorized', 'unauthenticated'],
  ['login', 429, 'request path "auth/approle/login": rate limit quota exceeded', 'throttled'],
  ['login', 400, 'encryption key not found', 'unreachable'],
  ['login', 500, 'lookup failed', 'unreachable'],
];
for (const [call, status, text, meaning] of seen) {
  test(`${call}: ${status} ${JSON.stringify(text.slice(0, 60))} is ${meaning}`, (t) => {
    const failure = failureOf(call, answer(status, errors(text)), 'decrypt under K');
    t.is([failure.class, failure.scope, failure.condition].filter((part) => part !== undefined).join(' '), meaning);
    t.true(failure.message.startsWith(`decrypt under K: HTTP ${status} from https://vault:8200: `), failure.message);
  });
}

test('a read of a key that is not there has no text, and only a read', (t) => {
  t.like(failureOf('read', answer(404, errors()), 'x'), { class: 'refused', scope: 'kek', condition: 'missing' });
  for (const call of ['key', 'login'] as const) t.is(failureOf(call, answer(404, errors()), 'x').class, 'unreachable');
});

test('only the form of Vault is believed', (t) => {
  const bodies = [
    '<html>',
    '',
    'null',
    '[]',
    '"permission denied"',
    '{}',
    '{"errors":"permission denied"}',
    '{"errors":[7]}',
    '{"errors":[null]}',
  ];
  for (const body of bodies) {
    for (const status of [400, 403, 404, 429]) {
      t.is(failureOf('read', answer(status, body), 'x').class, 'unreachable');
      t.false(isPermissionDenied(answer(status, body)));
    }
  }
  t.true(isPermissionDenied(answer(403, errors('permission denied'))));
  t.false(isPermissionDenied(answer(400, errors('permission denied'))));
});

test('an error of any length becomes a message of some length', (t) => {
  t.true(failureOf('key', answer(400, errors('x'.repeat(10_000))), 'x').message.length < 300);
});

test('each line has an answer above that means it', (t) => {
  for (const line of LINES) {
    if (line.status === 404) continue;
    const met = seen.some(([call, status, text]) => {
      const failure = failureOf(call, answer(status, errors(text)), 'x');
      return (
        call === line.call && status === line.status && failure.class === line.class && failure.scope === line.scope
      );
    });
    t.true(met, `${line.call} ${line.status} ${line.text}`);
  }
});

test('docs/upstreams/vault-transit.md has this table', (t) => {
  const page = readFileSync(new URL('../../../docs/upstreams/vault-transit.md', import.meta.url), 'utf8');
  const rows = page
    .split('\n')
    .filter((line) => /^\| (key|read|login) \| \d{3} \|/.test(line))
    .map((line) => line.split(' | ').map((cell) => cell.replace(/^\| | \|$/g, '')));
  const coded = LINES.map((line) => [
    line.call,
    String(line.status),
    line.what,
    [line.class, line.scope === undefined ? '' : `, ${line.scope}`].join(''),
    line.source,
  ]);
  t.deepEqual(rows, coded);
});
