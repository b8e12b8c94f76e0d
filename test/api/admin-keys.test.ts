import test from 'ava';
import { DekdError } from '../../src/errors.ts';
import { AUDITOR, CUSTODIAN, makeApi, makeCall, OPERATOR, STRANGER, USER } from './parts.ts';

test('CreateKey makes a KEK; whether it is usable depends on configuration and profile', async (t) => {
  const production = await makeApi(t);
  const made = await production.call('CreateKey', { key: 'fresh', labels: { team: 'payments' } }, makeCall(CUSTODIAN));
  t.like(made, { key: 'fresh', kek_version: '1', usable: false });
  t.regex(made.kek, /^local:[0-9a-f]{16}\/fresh$/);
  t.is((await production.failure('Encrypt', { key: 'fresh' })).reason, 'POLICY_DENIED');

  const development = await makeApi(t, 'development');
  t.true((await development.call('CreateKey', { key: 'fresh' }, makeCall(0))).usable);
  t.is((await development.call('Encrypt', { key: 'fresh' }, makeCall(0))).key, 'fresh');
});

test('CreateKey: a name that exists, one that is none, an upstream that is not there, callers who may not', async (t) => {
  const api = await makeApi(t);
  const custodian = makeCall(CUSTODIAN);
  t.is((await api.failure('CreateKey', { key: 'orders' }, custodian)).reason, 'KEY_EXISTS');
  for (const key of ['', 'a b', '.a', 'k'.repeat(129)]) {
    t.like(await api.failure('CreateKey', { key }, custodian), {
      reason: 'INVALID_REQUEST',
      metadata: { field: 'key' },
    });
  }
  const elsewhere = await api.failure('CreateKey', { key: 'fresh', upstream: 'kms' }, custodian);
  t.like(elsewhere, { reason: 'INVALID_REQUEST', metadata: { field: 'upstream' } });
  t.regex(elsewhere.message, /there is: store/);
  for (const uid of [USER, OPERATOR, AUDITOR, STRANGER, 0]) {
    t.is((await api.failure('CreateKey', { key: 'fresh' }, makeCall(uid))).reason, 'POLICY_DENIED', `uid ${uid}`);
  }
});

test('ListKeys shows each caller the keys of its rules', async (t) => {
  const api = await makeApi(t);
  const list = async (uid: number) => {
    const { keys } = await api.call('ListKeys', {}, makeCall(uid));
    return keys.map(({ key }: { key: string }) => key);
  };
  for (const uid of [OPERATOR, CUSTODIAN, AUDITOR]) t.deepEqual(await list(uid), ['carts', 'orders', 'tenants']);
  for (const uid of [USER, STRANGER]) {
    t.is((await api.failure('ListKeys', {}, makeCall(uid))).reason, 'POLICY_DENIED');
  }
});

test('RotateKey: a new KEK version and a new DEK; what was encrypted before opens', async (t) => {
  const api = await makeApi(t);
  const { ciphertext } = await api.call('Encrypt', { key: 'orders', plaintext: Buffer.from('old') });
  const rotated = await api.call('RotateKey', { key: 'orders' }, makeCall(OPERATOR));
  t.like(rotated, { key: 'orders', kek_version: '2', retired_deks: '1' });
  const { ciphertext: after } = await api.call('Encrypt', { key: 'orders' });
  t.notDeepEqual(after.subarray(8, 40), ciphertext.subarray(8, 40));
  t.is((await api.call('Decrypt', { ciphertext })).plaintext.toString(), 'old');
  // Also when its DEK is no longer in memory: the old KEK version unwraps it.
  for (const dek of [...(api.keyrings.byName('orders')?.all() ?? [])]) api.keyrings.byName('orders')?.remove(dek);
  t.is((await api.call('Decrypt', { ciphertext })).plaintext.toString(), 'old');
  t.like(await api.call('RotateKey', { key: 'carts' }, makeCall(OPERATOR)), { kek_version: '2', retired_deks: '0' });
});

test('RotateKey: every key under the KEK can read what it encrypts afterwards, also when the version before is archived', async (t) => {
  const recipients = [{ upstream: 'store', kek: 'local:first', role: 'authority' }];
  const allow = [
    { uid: USER, roles: ['user'] },
    { uid: OPERATOR, roles: ['operator'] },
  ];
  const both = { first: { recipients, allow }, second: { recipients, allow } };
  const api = await makeApi(t, 'production', both, { max_versions: 1 });
  const sealed = async (key: string) => (await api.call('Encrypt', { key, plaintext: Buffer.from('mine') })).ciphertext;
  const before = [await sealed('first'), await sealed('second')];
  t.like(await api.call('RotateKey', { key: 'first' }, makeCall(OPERATOR)), { kek_version: '2', retired_deks: '1' });
  for (const key of ['first', 'second']) {
    const { plaintext } = await api.call('Decrypt', { ciphertext: await sealed(key) });
    t.is(plaintext.toString(), 'mine', key);
  }
  for (const ciphertext of before) t.is((await api.failure('Decrypt', { ciphertext })).reason, 'KEY_ARCHIVED');
});

test('RotateKey whose new DEK can’t be had says that the KEK has its new version', async (t) => {
  const api = await makeApi(t);
  const keyring = api.keyrings.byName('orders');
  if (keyring === undefined) return t.fail();
  keyring.rotate = () => Promise.reject(new DekdError('SECRET_MEMORY_EXHAUSTED', 'no slot is left'));
  const failure = await api.failure('RotateKey', { key: 'orders' }, makeCall(OPERATOR));
  t.is(failure.reason, 'SECRET_MEMORY_EXHAUSTED');
  t.regex(
    failure.message,
    /^no slot is left; KEK local:.*\/orders is at version 2 now, the DEKs in memory go on until their time is over$/,
  );
});

test('RotateKey: only operators, and an unknown key looks like one that may not be rotated', async (t) => {
  const api = await makeApi(t);
  for (const uid of [USER, CUSTODIAN, AUDITOR, STRANGER]) {
    t.is((await api.failure('RotateKey', { key: 'orders' }, makeCall(uid))).reason, 'POLICY_DENIED', `uid ${uid}`);
  }
  for (const key of ['hidden', 'absent']) {
    t.is((await api.failure('RotateKey', { key }, makeCall(OPERATOR))).reason, 'POLICY_DENIED');
  }
});

test('who may see every key hears KEY_NOT_FOUND', async (t) => {
  const api = await makeApi(t, 'development');
  for (const [rpc, request] of [
    ['Encrypt', { key: 'absent' }],
    ['GenerateDataKey', { key: 'absent' }],
    ['DescribeKey', { key: 'absent' }],
    ['RotateKey', { key: 'absent' }],
  ] as const) {
    const failure = await api.failure(rpc, request, makeCall(0));
    t.like(failure, { reason: 'KEY_NOT_FOUND', metadata: { key: 'absent' } });
    t.regex(failure.message, /dekctl keys list/);
  }
});
