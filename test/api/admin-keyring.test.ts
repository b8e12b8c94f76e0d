import test from 'ava';
import { type Api, AUDITOR, CUSTODIAN, makeApi, makeCall, OPERATOR, STRANGER, USER } from './parts.ts';

const operator = makeCall(OPERATOR);
const custodian = makeCall(CUSTODIAN);
const ACME = { tenant: 'acme' };
const BOLT = { tenant: 'bolt' };

const encrypt = async (api: Api, key: string, context: object = {}): Promise<Buffer> =>
  (await api.call('Encrypt', { key, encryption_context: context, plaintext: Buffer.from('text') })).ciphertext;
const held = (api: Api, key: string): number => [...(api.keyrings.byName(key)?.all() ?? [])].length;

test('DisablePartition refuses that partition at once, and no other; EnablePartition serves it again', async (t) => {
  const api = await makeApi(t);
  const acme = await encrypt(api, 'tenants', ACME);
  const bolt = await encrypt(api, 'tenants', BOLT);
  t.deepEqual(await api.call('DisablePartition', { key: 'tenants', partition: ACME }, operator), { purged_deks: '1' });
  t.is(held(api, 'tenants'), 1);
  for (const [rpc, request] of [
    ['Encrypt', { key: 'tenants', encryption_context: ACME }],
    ['Decrypt', { ciphertext: acme, encryption_context: ACME }],
    // From memory of the refusal, too.
    ['Decrypt', { ciphertext: acme, encryption_context: ACME }],
  ] as const) {
    const failure = await api.failure(rpc, request);
    t.is(failure.reason, 'KEY_DISABLED', rpc);
    t.regex(failure.message, /refuses this partition: it is disabled; .* `dekctl partitions enable`$/);
  }
  t.is(
    (await api.call('Decrypt', { ciphertext: bolt, encryption_context: BOLT })).plaintext.toString(),
    'text',
    'the other tenant',
  );
  t.is((await api.call('DescribeKey', { key: 'tenants' })).state, 'KEY_STATE_ACTIVE');
  t.deepEqual(await api.call('EnablePartition', { key: 'tenants', partition: ACME }, custodian), {});
  t.is((await api.call('Decrypt', { ciphertext: acme, encryption_context: ACME })).plaintext.toString(), 'text');
  await encrypt(api, 'tenants', ACME);
});

test('DisablePartition: what was rewrapped a moment ago is not rewrapped from memory', async (t) => {
  const api = await makeApi(t);
  const ciphertext = await encrypt(api, 'tenants', ACME);
  await api.call('RotateKey', { key: 'tenants' }, operator);
  t.true((await api.call('Rewrap', { ciphertext }, operator)).changed);
  await api.call('DisablePartition', { key: 'tenants', partition: ACME }, operator);
  t.is((await api.failure('Rewrap', { ciphertext }, operator)).reason, 'KEY_DISABLED');
});

test('a partition is exactly what the key partitions by', async (t) => {
  const api = await makeApi(t);
  const field = { reason: 'INVALID_REQUEST', metadata: { field: 'partition' } } as const;
  for (const [rpc, caller] of [
    ['DisablePartition', operator],
    ['EnablePartition', custodian],
    ['WarmKeyring', operator],
    ['FlushKeyring', operator],
  ] as const) {
    t.like(await api.failure(rpc, { key: 'tenants', partition: { ...ACME, row: '1' } }, caller), field, rpc);
    t.like(await api.failure(rpc, { key: 'tenants', partition: { tenant: '' } }, caller), field, rpc);
    t.like(await api.failure(rpc, { key: 'tenants', partition: { tenant: 'x'.repeat(257) } }, caller), field, rpc);
    t.like(await api.failure(rpc, { key: 'tenants', partition: { __proto__: null, constructor: 'x' } }, caller), field);
    t.regex(
      (await api.failure(rpc, { key: 'orders', partition: ACME }, caller)).message,
      /^partition: has the entry "tenant", but key orders is not partitioned$/,
    );
    if (rpc !== 'FlushKeyring') t.like(await api.failure(rpc, { key: 'tenants' }, caller), field, rpc);
  }
  t.regex(
    (await api.failure('DisablePartition', { key: 'orders' }, operator)).message,
    /key orders is not partitioned; disable or enable the key itself/,
  );
});

test('FlushKeyring: a partition, a key, every key that the caller may operate', async (t) => {
  const api = await makeApi(t);
  const fill = async () => {
    for (const context of [ACME, BOLT]) await encrypt(api, 'tenants', context);
    for (const key of ['orders', 'carts']) await encrypt(api, key);
    await api.call('Encrypt', { key: 'hidden' }, makeCall(5000));
  };
  await fill();
  t.deepEqual(await api.call('FlushKeyring', { key: 'tenants', partition: ACME }, operator), {
    purged_deks: '1',
    keys: ['tenants'],
  });
  t.is(held(api, 'tenants'), 1);
  t.like(await api.call('FlushKeyring', { key: 'tenants' }, operator), { purged_deks: '1' });
  await fill();
  t.deepEqual(await api.call('FlushKeyring', {}, operator), { purged_deks: '4', keys: ['carts', 'orders', 'tenants'] });
  t.is(held(api, 'hidden'), 1);
  t.like(await api.failure('FlushKeyring', { partition: ACME }, operator), {
    reason: 'INVALID_REQUEST',
    metadata: { field: 'partition' },
  });
});

test('what was flushed is asked of the upstream again', async (t) => {
  const api = await makeApi(t);
  const ciphertext = await encrypt(api, 'orders');
  await api.call('FlushKeyring', { key: 'orders' }, operator);
  t.is((await api.call('Decrypt', { ciphertext })).plaintext.toString(), 'text');
  t.is(api.keyrings.byName('orders')?.counters.decrypt_misses, 1);
});

test('WarmKeyring makes the DEK that the first Encrypt then finds', async (t) => {
  const api = await makeApi(t);
  t.deepEqual(await api.call('WarmKeyring', { key: 'tenants', partition: ACME }, operator), { deks: '1' });
  t.deepEqual(await api.call('WarmKeyring', { key: 'tenants', partition: ACME }, operator), { deks: '0' });
  await encrypt(api, 'tenants', ACME);
  t.like(api.keyrings.byName('tenants')?.counters, { encrypt_hits: 1, encrypt_misses: 0 });
  t.deepEqual(await api.call('WarmKeyring', { key: 'orders' }, operator), { deks: '1' });
  await api.call('DisableKey', { key: 'orders' }, operator);
  t.is((await api.failure('WarmKeyring', { key: 'orders' }, operator)).reason, 'KEY_DISABLED');
});

test('only the role that may, and an unknown key looks like one that may not be operated', async (t) => {
  const api = await makeApi(t);
  const rights = {
    DisablePartition: OPERATOR,
    EnablePartition: CUSTODIAN,
    FlushKeyring: OPERATOR,
    WarmKeyring: OPERATOR,
  };
  for (const [rpc, may] of Object.entries(rights)) {
    for (const uid of [USER, OPERATOR, CUSTODIAN, AUDITOR, STRANGER, 0].filter((one) => one !== may)) {
      const failure = await api.failure(rpc, { key: 'tenants', partition: ACME }, makeCall(uid));
      t.is(failure.reason, 'POLICY_DENIED', `${rpc} by ${uid}`);
    }
    for (const key of ['hidden', 'absent']) {
      t.is((await api.failure(rpc, { key }, makeCall(may))).reason, 'POLICY_DENIED', `${rpc} ${key}`);
    }
  }
  for (const uid of [USER, CUSTODIAN, AUDITOR, STRANGER]) {
    t.is((await api.failure('FlushKeyring', {}, makeCall(uid))).reason, 'POLICY_DENIED', `every key, by ${uid}`);
  }
});
