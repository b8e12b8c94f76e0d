import test from 'ava';
import { AUDITOR, CUSTODIAN, makeApi, makeCall, OPERATOR, STRANGER, USER } from './parts.ts';

test('a key’s public facts, before and after it is used', async (t) => {
  const api = await makeApi(t);
  const before = await api.call('DescribeKey', { key: 'tenants' });
  t.like(before, {
    key: 'tenants',
    state: 'KEY_STATE_ACTIVE',
    suite: 'SUITE_XAES_256_GCM',
    ttl: { seconds: '300', nanos: 0 },
    grace: { seconds: '3600', nanos: 0 },
    rotate_after: { seconds: '86400', nanos: 0 },
    partition_by: ['tenant'],
    partitions: '0',
    encrypting_deks: '0',
    decrypting_deks: '0',
    oldest_encrypting_dek_age: null,
  });
  t.like(before.recipients[0], { upstream: 'store', role: 'RECIPIENT_ROLE_AUTHORITY', origin_unproven: false });
  t.regex(before.recipients[0].kek, /^local:[0-9a-f]{16}\/tenants$/);
  for (const tenant of ['acme', 'bolt']) await api.call('Encrypt', { key: 'tenants', encryption_context: { tenant } });
  const after = await api.call('DescribeKey', { key: 'tenants' });
  t.like(after, { partitions: '2', encrypting_deks: '2', decrypting_deks: '0' });
  t.true(Number(after.oldest_encrypting_dek_age.seconds) < 60);
  t.true(Math.abs(Number(after.as_of.seconds) - Date.now() / 1_000) < 60);
});

test('a recipient whose origin is unproven is shown as one', async (t) => {
  const api = await makeApi(t);
  const [recipient] = api.keyrings.byName('orders')!.options.recipients;
  Object.defineProperty(recipient!.kek.upstream, 'allowsUnprovenOrigin', { value: true });
  t.true((await api.call('DescribeKey', { key: 'orders' })).recipients[0].origin_unproven);
});

test('every role of the key may ask; nobody else', async (t) => {
  const api = await makeApi(t);
  for (const uid of [USER, OPERATOR, CUSTODIAN, AUDITOR]) {
    t.is((await api.call('DescribeKey', { key: 'orders' }, makeCall(uid))).key, 'orders');
  }
  t.is((await api.failure('DescribeKey', { key: 'orders' }, makeCall(STRANGER))).reason, 'POLICY_DENIED');
  t.is((await api.failure('DescribeKey', { key: 'hidden' })).reason, 'POLICY_DENIED');
  t.like(await api.failure('DescribeKey', { key: '' }), { reason: 'INVALID_REQUEST', metadata: { field: 'key' } });
});
