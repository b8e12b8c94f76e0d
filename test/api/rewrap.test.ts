import test from 'ava';
import { parseEnvelope } from '../../src/crypto/envelope.ts';
import { CUSTODIAN, makeApi, makeCall, OPERATOR, STRANGER, USER } from './parts.ts';

const request = { key: 'tenants', plaintext: Buffer.from('hello'), encryption_context: { tenant: 'acme' } };

test('after a rotation: the new KEK version, the same payload, and it opens; once is enough', async (t) => {
  const api = await makeApi(t);
  const operator = makeCall(OPERATOR);
  const { ciphertext } = await api.call('Encrypt', request);
  t.deepEqual(await api.call('Rewrap', { ciphertext }, operator), { ciphertext, changed: false });
  await api.call('RotateKey', { key: 'tenants' }, operator);
  const { ciphertext: made, changed } = await api.call('Rewrap', { ciphertext }, operator);
  t.true(changed);
  const [before, after] = [parseEnvelope(ciphertext), parseEnvelope(made)];
  t.deepEqual(made.subarray(after.sealedOffset), ciphertext.subarray(before.sealedOffset));
  t.notDeepEqual(after.block, before.block);
  const opened = await api.call('Decrypt', { ciphertext: made, encryption_context: { tenant: 'acme' } });
  t.is(opened.plaintext.toString(), 'hello');
  t.deepEqual(await api.call('Rewrap', { ciphertext: made }, operator), { ciphertext: made, changed: false });
});

test('for operators of the key alone', async (t) => {
  const api = await makeApi(t);
  const { ciphertext } = await api.call('Encrypt', request);
  for (const uid of [USER, CUSTODIAN, STRANGER]) {
    t.is((await api.failure('Rewrap', { ciphertext }, makeCall(uid))).reason, 'POLICY_DENIED');
  }
});

test('what is no envelope, and what is of no key here', async (t) => {
  const api = await makeApi(t);
  const operator = makeCall(OPERATOR);
  t.like(await api.failure('Rewrap', { ciphertext: Buffer.alloc(0) }, operator), {
    reason: 'INVALID_REQUEST',
    metadata: { field: 'ciphertext' },
  });
  t.is((await api.failure('Rewrap', { ciphertext: Buffer.alloc(99) }, operator)).reason, 'INVALID_CIPHERTEXT');
  const { ciphertext } = await (await makeApi(t)).call('Encrypt', request);
  t.is((await api.failure('Rewrap', { ciphertext }, operator)).reason, 'INVALID_CIPHERTEXT');
});

test('an envelope that would no longer fit into an answer', async (t) => {
  const api = await makeApi(t);
  const { ciphertext } = await api.call('Encrypt', request);
  const padded = Buffer.concat([ciphertext, Buffer.alloc(4 * 1024 * 1024 - ciphertext.length)]);
  t.is((await api.failure('Rewrap', { ciphertext: padded }, makeCall(OPERATOR))).reason, 'MESSAGE_TOO_LARGE');
});
