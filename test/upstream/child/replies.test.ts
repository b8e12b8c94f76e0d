import test from 'ava';
import {
  failureOf,
  parseCallReply,
  parseDescription,
  parseOpenReply,
  parseUnwrapped,
  parseWrapped,
} from '../../../src/upstream/child/replies.ts';

const REFUSED = { name: 'ReplyError' } as const;
const NOT_OBJECTS = [undefined, null, 1, 'x', [], true];

const wrapped = { kekVersion: '1', algorithm: 5, bytes: 'AAECAw==' };
const version = { version: '1', state: 'active', createdAt: 1 };
const description = { state: 'active', versions: [version], labels: [['team', 'a\nb']] };

test('the answer to open', (t) => {
  t.deepEqual(parseOpenReply({ ready: ['a'] }), { ready: ['a'] });
  t.deepEqual(parseOpenReply({ problem: 'x' }), { problem: 'x' });
  const failure = { class: 'unreachable', message: 'x' };
  t.deepEqual(parseOpenReply({ failure }), { failure } as never);
  for (const bad of [
    ...NOT_OBJECTS,
    {},
    { ready: true },
    { ready: Array(17).fill('x') },
    { ready: [], problem: 'x' },
  ]) {
    t.throws(() => parseOpenReply(bad), REFUSED, JSON.stringify(bad));
  }
});

test('the answer to a call', (t) => {
  t.deepEqual(parseCallReply({ id: 1, ok: {} }), { id: 1, ok: {} });
  const bad = [0, -1, 1.5, 2 ** 53, '1', null].map((id) => ({ id, ok: {} }));
  const failures = [
    { class: 'fatal', message: '' },
    { class: 'refused' },
    { class: 'refused', message: '', scope: 'all' },
  ];
  const more = [{ id: 1 }, { id: 1, ok: {}, failure: failures[0] }, { id: 1, ok: {}, more: 1 }];
  for (const reply of [...NOT_OBJECTS, ...bad, ...more, ...failures.map((failure) => ({ id: 1, failure }))]) {
    t.throws(() => parseCallReply(reply), REFUSED, JSON.stringify(reply));
  }
});

test('a wrapped DEK', (t) => {
  t.deepEqual(parseWrapped(wrapped), { kekVersion: '1', algorithm: 5, bytes: Buffer.from([0, 1, 2, 3]) });
  for (const change of [
    { algorithm: 256 },
    { algorithm: -1 },
    { algorithm: 0.5 },
    { kekVersion: 1 },
    { kekVersion: 'x'.repeat(1025) },
    { bytes: 'AAE' },
    { bytes: 'not base64!' },
    { bytes: 'A'.repeat(24_000) },
    { more: 1 },
  ]) {
    t.throws(() => parseWrapped({ ...wrapped, ...change }), REFUSED, JSON.stringify(change).slice(0, 80));
  }
});

test('an unwrapped DEK says nothing but that it is there', (t) => {
  t.notThrows(() => parseUnwrapped({}));
  for (const bad of [...NOT_OBJECTS, { dek: 'AAAA' }]) t.throws(() => parseUnwrapped(bad), REFUSED);
});

test('a description is of the KEK that was asked for', (t) => {
  const { uri, state, versions, labels } = parseDescription(description, 'vault-transit:transit/keys/a');
  t.is(uri, 'vault-transit:transit/keys/a');
  t.is(state, 'active');
  t.deepEqual(versions, [version] as never);
  t.deepEqual([...labels], [['team', 'a b']]);
  const deletion = { requestedBy: ['uid 1'], waitingPeriodMs: 1 };
  t.deepEqual(parseDescription({ ...description, deletion }, 'x').deletion, { ...deletion, at: undefined });
  for (const change of [
    { uri: 'other' },
    { state: 'fine' },
    { versions: [{ ...version, state: 'odd' }] },
    { versions: [{ ...version, createdAt: -1 }] },
    { versions: Array(1001).fill(version) },
    { labels: [['a']] },
    { labels: { a: 'b' } },
    { expiresAt: '2030' },
    { deletion: {} },
  ]) {
    t.throws(() => parseDescription({ ...description, ...change }, 'x'), REFUSED, JSON.stringify(change).slice(0, 80));
  }
});

test('a failure keeps what it says, scrubbed', (t) => {
  const failure = failureOf({
    class: 'refused',
    scope: 'version',
    condition: 'disabled',
    message: 'a\nb',
    retryAfterMs: 5,
  });
  const { class: failureClass, scope, condition, message, retryAfterMs } = failure;
  t.deepEqual(
    { failureClass, scope, condition, message, retryAfterMs },
    { failureClass: 'refused', scope: 'version', condition: 'disabled', message: 'a b', retryAfterMs: 5 },
  );
  t.is(failureOf({ class: 'unreachable', scope: 'kek', message: '' }).scope, undefined, 'only a refusal has a scope');
});

test('what is refused is not quoted', (t) => {
  const error = t.throws(() => parseWrapped({ ...wrapped, bytes: 'secret!' }), REFUSED);
  t.notRegex(JSON.stringify({ ...error, message: error!.message, cause: error!.cause }), /secret/);
});
