import test from 'ava';
import { AUDITOR, CUSTODIAN, makeApi, makeCall, OPERATOR, STRANGER, USER } from './parts.ts';

const operator = makeCall(OPERATOR);

test('a store as one file, from the operator’s socket', async (t) => {
  const api = await makeApi(t);
  const { upstream, store } = await api.call('BackupKeystore', {}, operator);
  t.is(upstream, 'store');
  t.is(store.toString('latin1', 0, 16), 'SQLite format 3\0');
  const named = await api.call('BackupKeystore', { upstream: 'store', max_bytes: 64 * 1024 * 1024 }, operator);
  t.is(named.store.length, store.length);
});

test('a store that is larger than its caller takes: how large, and the ways out', async (t) => {
  const api = await makeApi(t);
  const { length } = (await api.call('BackupKeystore', {}, operator)).store;
  t.is((await api.call('BackupKeystore', { max_bytes: length }, operator)).store.length, length);
  const failure = await api.failure('BackupKeystore', { max_bytes: length - 1 }, operator);
  t.like(failure, { reason: 'MESSAGE_TOO_LARGE', metadata: { upstream: 'store' } });
  t.is(
    failure.message,
    `the keystore of upstream store has ${length} bytes, the caller takes ${length - 1}; ` +
      '`dekctl keystore backup` takes 64 MiB (max_bytes), and once dekd is stopped its directory can be copied',
  );
});

test('an upstream that is not there, a limit over the limit', async (t) => {
  const api = await makeApi(t);
  const elsewhere = await api.failure('BackupKeystore', { upstream: 'kms' }, operator);
  t.like(elsewhere, { reason: 'INVALID_REQUEST', metadata: { field: 'upstream' } });
  const over = await api.failure('BackupKeystore', { max_bytes: 64 * 1024 * 1024 + 1 }, operator);
  t.like(over, { reason: 'INVALID_REQUEST', metadata: { field: 'max_bytes' } });
});

test('only an operator of the agent as a whole', async (t) => {
  const api = await makeApi(t);
  for (const uid of [USER, CUSTODIAN, AUDITOR, STRANGER, 0]) {
    t.is((await api.failure('BackupKeystore', {}, makeCall(uid))).reason, 'POLICY_DENIED', `uid ${uid}`);
  }
});
