import test, { type ExecutionContext } from 'ava';
import { adminDescribeKey } from '../../src/api/admin-describe-key.ts';
import type { Administration } from '../../src/api/administration.ts';
import { describeKeks } from '../../src/daemon/describe-keks.ts';
import { DekdError } from '../../src/errors.ts';
import { makeWorld } from '../keyring/world.ts';
import { AUDITOR, CUSTODIAN, makeApi, makeCall, OPERATOR, SECOND_CUSTODIAN, STRANGER, USER } from './parts.ts';

const auditor = makeCall(AUDITOR);

test('a key with every version of its KEK', async (t) => {
  const api = await makeApi(t);
  await api.call('CreateKey', { key: 'labelled', labels: { team: 'payments' } }, makeCall(CUSTODIAN));
  await api.call('RotateKey', { key: 'orders' }, makeCall(OPERATOR));
  const { key, keks } = await api.call('KeyAdmin/DescribeKey', { key: 'orders' }, auditor);
  t.like(key, { key: 'orders', state: 'KEY_STATE_ACTIVE', suite: 'SUITE_XAES_256_GCM' });
  t.is(keks.length, 1);
  t.like(keks[0], {
    upstream: 'store',
    role: 'RECIPIENT_ROLE_AUTHORITY',
    state: 'KEY_STATE_ACTIVE',
    deletion: null,
    expires_at: null,
    next_rotation_at: null,
    problem: '',
  });
  t.regex(keks[0].kek, /^local:[0-9a-f]{16}\/orders$/);
  const [old, present] = keks[0].versions;
  t.like(old, { version: '1', state: 'KEK_VERSION_STATE_DECRYPT_ONLY', destroyed_at: null, destroyed_by: '' });
  t.like(present, { version: '2', state: 'KEK_VERSION_STATE_ACTIVE', created_by: `uid ${OPERATOR}` });
  t.is(keks[0].state_changed_by, 'uid 2001');
  t.deepEqual(keks[0].state_changed_at, old.created_at);
  t.true(Math.abs(Number(present.created_at.seconds) - Date.now() / 1_000) < 60);
  t.true(Number(present.age.seconds) < 60);
});

test('who asked for a deletion, and when it takes place', async (t) => {
  const api = await makeApi(t);
  const deletion = async () => {
    const { key, keks } = await api.call('KeyAdmin/DescribeKey', { key: 'orders' }, auditor);
    return [key.state, keks[0].deletion];
  };
  await api.call('ScheduleKeyDeletion', { key: 'orders' }, makeCall(CUSTODIAN));
  const [state, asked] = await deletion();
  t.is(state, 'KEY_STATE_ACTIVE');
  t.like(asked, { waiting_period: { seconds: '2592000', nanos: 0 }, deletion_at: null });
  t.deepEqual(asked.requested_by, ['uid 2001']);
  await api.call('ScheduleKeyDeletion', { key: 'orders' }, makeCall(SECOND_CUSTODIAN));
  const [ending, scheduled] = await deletion();
  t.is(ending, 'KEY_STATE_PENDING_DELETION');
  t.true(Math.abs(Number(scheduled.deletion_at.seconds) - Date.now() / 1_000 - 2_592_000) < 60);
});

test('who made a KEK and who changed its state last, and when', async (t) => {
  const api = await makeApi(t);
  const kek = async () => (await api.call('KeyAdmin/DescribeKey', { key: 'orders' }, auditor)).keks[0];
  const before = await kek();
  await api.call('ScheduleKeyDeletion', { key: 'orders' }, makeCall(SECOND_CUSTODIAN));
  t.is((await kek()).state_changed_by, 'uid 2001', 'a request changes no state');
  await api.call('DisableKey', { key: 'orders' }, makeCall(OPERATOR));
  const disabled = await kek();
  t.like(disabled, { state: 'KEY_STATE_DISABLED', state_changed_by: `uid ${OPERATOR}` });
  t.true(Number(disabled.state_changed_at.seconds) >= Number(before.state_changed_at.seconds));
  t.is(disabled.versions[0].created_by, 'uid 2001');
});

test('an operator, custodian or auditor of the key may ask; its user, who would learn labels and names, may not', async (t) => {
  const api = await makeApi(t);
  for (const uid of [OPERATOR, CUSTODIAN, AUDITOR]) {
    t.is((await api.call('KeyAdmin/DescribeKey', { key: 'orders' }, makeCall(uid))).key.key, 'orders');
  }
  for (const uid of [USER, STRANGER]) {
    t.is((await api.failure('KeyAdmin/DescribeKey', { key: 'orders' }, makeCall(uid))).reason, 'POLICY_DENIED');
  }
  for (const key of ['hidden', 'absent']) {
    t.is((await api.failure('KeyAdmin/DescribeKey', { key }, auditor)).reason, 'POLICY_DENIED');
  }
  t.like(await api.failure('KeyAdmin/DescribeKey', { key: 'a b' }, auditor), { metadata: { field: 'key' } });
});

test('who asks in a loop at an upstream that is paid for is stopped at half of what misses may cost', async (t) => {
  const api = await makeApi(t);
  const limits = { perSecond: 1, burst: 20 };
  const world = makeWorld(t, { perPrincipal: limits, perKey: limits }, 'vault-transit');
  const { ring } = world.key();
  const parts = {
    ...api,
    keyrings: Object.create(api.keyrings, { byName: { value: () => ring } }),
    administration: Object.create(api.administration, {
      describeKeks: {
        value: (_: unknown, signal: AbortSignal) => describeKeks(ring, new Map(), signal),
      },
    }),
  };
  const describe = () => adminDescribeKey({ key: 'orders' }, auditor, parts);
  for (let count = 0; count < 10; count++) await describe();
  for (let count = 0; count < 20; count++) {
    t.is((await t.throwsAsync(describe(), { instanceOf: DekdError })).reason, 'QUOTA_EXCEEDED');
  }
  t.is(world.upstream.count('describe'), 10);
});

test('its disabled partitions: which, by whom and when', async (t) => {
  const api = await makeApi(t);
  const kek = async () => (await api.call('KeyAdmin/DescribeKey', { key: 'tenants' }, auditor)).keks[0];
  t.like(await kek(), { disabled_partitions: [], disabled_partition_count: 0 });
  const acme = { key: 'tenants', partition: { tenant: 'acme' } };
  await api.call('DisablePartition', acme, makeCall(OPERATOR));
  const { disabled_partitions: partitions, disabled_partition_count: count } = await kek();
  t.is(count, 1);
  t.is(partitions.length, 1);
  t.like(partitions[0], { ...acme, disabled_by: `uid ${OPERATOR}` });
  t.true(Math.abs(Number(partitions[0].disabled_at.seconds) - Date.now() / 1_000) < 60);
  await api.call('EnablePartition', acme, makeCall(CUSTODIAN));
  t.like(await kek(), { disabled_partitions: [], disabled_partition_count: 0 });
});

/** What an auditor is shown of these partitions of [key, tenant] under the KEK of `tenants`. */
async function shown(t: ExecutionContext, partitions: readonly (readonly [key: string, tenant: string])[]) {
  const api = await makeApi(t);
  const [kek] = await api.administration.describeKeks(api.keyrings.byName('tenants')!, auditor.signal);
  const disabledPartitions = partitions.map(([keyName, tenant]) => {
    return { keyName, pairs: new Map([['tenant', tenant]]), disabledAt: 1, disabledBy: 'uid 1' };
  });
  const described = { ...kek!, description: { ...kek!.description!, disabledPartitions } };
  const administration: Administration = Object.create(api.administration, {
    describeKeks: { value: async () => [described] },
  });
  const answer = await adminDescribeKey({ key: 'tenants' }, auditor, { ...api, administration });
  const { keks } = answer as { keks: { disabled_partitions: { key: string }[]; disabled_partition_count: number }[] };
  return { keys: keks[0]!.disabled_partitions.map(({ key }) => key), count: keks[0]!.disabled_partition_count };
}

test('disabled partitions of keys that the caller may not describe stay hidden', async (t) => {
  const all = [
    ['hidden', 'secret'],
    ['orders', 'acme'],
    ['absent', 'secret'],
    ['tenants', 'acme'],
  ] as const;
  t.deepEqual(await shown(t, all), { keys: ['orders', 'tenants'], count: 2 });
});

test('many disabled partitions: the first 1,000, and how many there are', async (t) => {
  const { keys, count } = await shown(
    t,
    Array.from({ length: 1_001 }, (_, index) => ['tenants', `tenant-${index}`]),
  );
  t.is(keys.length, 1_000);
  t.is(count, 1_001);
});

test('long disabled partitions: as many as the answer has room for', async (t) => {
  const { keys, count } = await shown(
    t,
    Array.from({ length: 40 }, () => ['tenants', 'x'.repeat(8_000)]),
  );
  t.is(keys.length, 32);
  t.is(count, 40);
});
