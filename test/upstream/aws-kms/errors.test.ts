import { readFileSync } from 'node:fs';
import test from 'ava';
import {
  CLASSIFICATION,
  CredentialsFailure,
  classify,
  isKmsAnswer,
  REFUSING_STATES,
  stateFailure,
} from '../../../src/upstream/aws-kms/errors.ts';
import { UpstreamFailure } from '../../../src/upstream/failure.ts';

const KEK = 'aws-kms:arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab';
const MESSAGE = 'what the service says, perhaps with a token';

/** As the SDK throws what KMS answered: the body's `__type` stays on it. */
function answer(name: string, httpStatusCode = 400): Error {
  const $metadata = { httpStatusCode, requestId: 'r-1' };
  return Object.assign(new Error(MESSAGE), { name, __type: name, $metadata });
}

for (const [name, line] of Object.entries(CLASSIFICATION)) {
  test(`${name} is ${line.class}`, (t) => {
    for (const operation of ['wrap', 'unwrap', 'describe'] as const) {
      const failure = classify(operation, KEK, answer(name));
      const applies = line.only === undefined || line.only.includes(operation);
      t.is(failure.class, applies ? line.class : 'unreachable');
      t.is(failure.scope, line.scope);
      t.is(failure.condition, line.condition);
      t.is(failure.message, `${operation} with ${KEK}: ${name} (HTTP 400, request r-1)`);
    }
    const recorded = /^https:\/\/github\.com\/localstack\/localstack\/blob\/[0-9a-f]{40}\/.*\.snapshot\.json$/;
    t.regex(line.source, name === 'ValidationException' ? recorded : /^https:\/\/docs\.aws\.amazon\.com\//);
  });
}

test('what KMS does not take of a caller’s bytes and partition puts no KMS out', (t) => {
  const classes = (['wrap', 'unwrap', 'describe'] as const).map((operation) => {
    return classify(operation, KEK, answer('ValidationException')).class;
  });
  t.deepEqual(classes, ['invalid', 'invalid', 'unreachable']);
});

const UNREACHABLE: readonly [what: string, thrown: unknown][] = [
  ['a name that nobody knows', answer('TomorrowsException')],
  ['a name of every object', answer('constructor')],
  [
    'an answer that the SDK cannot read',
    Object.assign(new SyntaxError(MESSAGE), { $metadata: { httpStatusCode: 403 } }),
  ],
  [
    'a gateway that says it in a header only',
    Object.assign(answer('AccessDeniedException', 403), { __type: undefined }),
  ],
  ['a refusal with the status of an outage', answer('DisabledException', 503)],
  ['no address', Object.assign(new Error(MESSAGE), { code: 'ENOTFOUND' })],
  ['TLS', Object.assign(new Error(MESSAGE), { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' })],
  ['a time-out', Object.assign(new Error(MESSAGE), { name: 'TimeoutError', code: 'ETIMEDOUT' })],
  ['no error at all', undefined],
  ['a text', 'AccessDeniedException'],
];

for (const [what, thrown] of UNREACHABLE) {
  test(`unreachable: ${what}`, (t) => {
    const failure = classify('unwrap', KEK, thrown);
    t.is(failure.class, 'unreachable');
    t.false(failure.message.includes(MESSAGE));
    t.false(isKmsAnswer(thrown) && failure.scope !== undefined);
  });
}

test('too many requests for whatever stands before KMS is throttled', (t) => {
  const thrown = Object.assign(new SyntaxError(MESSAGE), { $metadata: { httpStatusCode: 429 } });
  t.is(classify('wrap', KEK, thrown).class, 'throttled');
});

test('credentials that were not to be had are unauthenticated, whatever STS said', (t) => {
  for (const cause of [answer('AccessDenied', 403), answer('AccessDeniedException'), new Error(MESSAGE), undefined]) {
    const failure = classify('unwrap', KEK, new CredentialsFailure('no credentials', { cause }));
    t.is(failure.class, 'unauthenticated');
    t.is(failure.scope, undefined);
    t.regex(failure.message, /: no credentials: /);
    t.false(failure.message.includes(MESSAGE));
  }
});

test('what was classified stays', (t) => {
  const failure = new UpstreamFailure('invalid', 'x');
  t.is(classify('unwrap', KEK, failure), failure);
});

test('of the key states only those of a person who took the key away refuse', (t) => {
  for (const [state, condition] of Object.entries(REFUSING_STATES)) {
    const failure = stateFailure(KEK, state);
    t.like(failure, { class: 'refused', scope: 'kek', condition });
  }
  for (const state of ['Enabled', 'Creating', 'PendingImport', 'Unavailable', 'constructor', undefined]) {
    t.is(stateFailure(KEK, state).class, 'unreachable');
  }
});

test('docs/upstreams/aws-kms.md has the same table', (t) => {
  const page = readFileSync(new URL('../../../docs/upstreams/aws-kms.md', import.meta.url), 'utf8');
  const rows = [...page.matchAll(/^\| `(\w+)` \| ([a-z]+)(?: \((\w+)(?:, ([a-z-]+))?\))? \| \[.*\]\((\S+)\) \|$/gm)];
  const documented = rows.map(([, name, failureClass, scope, condition, source]) => {
    return { name, class: failureClass, scope, condition, source };
  });
  const coded = Object.entries(CLASSIFICATION).map(([name, line]) => {
    return { name, class: line.class, scope: line.scope, condition: line.condition, source: line.source };
  });
  t.deepEqual(documented, coded);
});
