import test, { type ExecutionContext } from 'ava';
import {
  type Api,
  AUDITOR,
  CUSTODIAN,
  makeApi,
  makeCall,
  OPERATOR,
  SECOND_CUSTODIAN,
  STRANGER,
  USER,
} from './parts.ts';

const DAY = 86_400;
const days = (count: number) => ({ seconds: String(count * DAY), nanos: 0 });
const operator = makeCall(OPERATOR);
const custodian = makeCall(CUSTODIAN);

async function encrypted(api: Api, key = 'orders'): Promise<Buffer> {
  return (await api.call('Encrypt', { key, plaintext: Buffer.from('text') })).ciphertext;
}

test('DisableKey refuses every use at once, with DEKs in memory too; EnableKey serves again', async (t) => {
  const api = await makeApi(t);
  const ciphertext = await encrypted(api);
  t.deepEqual(await api.call('DisableKey', { key: 'orders' }, operator), {
    state: 'KEY_STATE_DISABLED',
    purged_deks: '1',
  });
  t.deepEqual([...(api.keyrings.byName('orders')?.all() ?? [])], []);
  for (const [rpc, request] of [
    ['Encrypt', { key: 'orders' }],
    ['GenerateDataKey', { key: 'orders' }],
    ['Decrypt', { ciphertext }],
    ['Encrypt', { key: 'orders', dry_run: true }],
  ] as const) {
    t.is((await api.failure(rpc, request)).reason, 'KEY_DISABLED', rpc);
  }
  t.is((await api.call('DescribeKey', { key: 'orders' })).state, 'KEY_STATE_DISABLED');
  t.is((await api.call('Encrypt', { key: 'carts' })).key, 'carts');
  t.deepEqual(await api.call('DisableKey', { key: 'orders' }, operator), {
    state: 'KEY_STATE_DISABLED',
    purged_deks: '0',
  });
  t.deepEqual(await api.call('EnableKey', { key: 'orders' }, custodian), { state: 'KEY_STATE_ACTIVE' });
  t.is((await api.call('Decrypt', { ciphertext })).plaintext.toString(), 'text');
  await encrypted(api);
});

test('ArchiveKey: decrypts for who may use archived keys, encrypts for nobody; disabled and enabled it is archived again', async (t) => {
  const reader = 1001;
  const api = await makeApi(t, 'production', {
    records: {
      recipients: [{ upstream: 'store', kek: 'local:records', role: 'authority' }],
      allow: [
        { uid: USER, roles: ['user'] },
        { uid: reader, roles: ['user'], archived: true },
        { uid: OPERATOR, roles: ['operator'] },
        { uid: CUSTODIAN, roles: ['custodian'] },
      ],
    },
  });
  const ciphertext = await encrypted(api, 'records');
  t.deepEqual(await api.call('ArchiveKey', { key: 'records' }, custodian), { state: 'KEY_STATE_ARCHIVED' });
  const use = async () => {
    t.is((await api.failure('Encrypt', { key: 'records' }, makeCall(reader))).reason, 'KEY_ARCHIVED');
    t.is((await api.failure('Decrypt', { ciphertext })).reason, 'KEY_ARCHIVED');
    t.is((await api.call('Decrypt', { ciphertext }, makeCall(reader))).plaintext.toString(), 'text');
  };
  await use();
  await api.call('FlushKeyring', { key: 'records' }, operator);
  await use();
  await api.call('DisableKey', { key: 'records' }, operator);
  t.is((await api.failure('Decrypt', { ciphertext }, makeCall(reader))).reason, 'KEY_DISABLED');
  t.deepEqual(await api.call('EnableKey', { key: 'records' }, custodian), { state: 'KEY_STATE_ARCHIVED' });
  await use();
  t.deepEqual(await api.call('EnableKey', { key: 'records' }, custodian), { state: 'KEY_STATE_ACTIVE' });
  t.is((await api.call('Decrypt', { ciphertext })).plaintext.toString(), 'text');
});

test('deletion takes two custodians; either may stop it, which leaves the key disabled', async (t) => {
  const api = await makeApi(t);
  const ciphertext = await encrypted(api);
  const first = await api.call('ScheduleKeyDeletion', { key: 'orders', waiting_period: days(7) }, custodian);
  t.like(first, {
    state: 'KEY_STATE_ACTIVE',
    in_effect: false,
    deletion_at: null,
    custodians_needed: 2,
    waiting_period: days(7),
  });
  t.deepEqual(first.requested_by, [`uid ${CUSTODIAN}`]);
  t.false((await api.call('ScheduleKeyDeletion', { key: 'orders', waiting_period: days(7) }, custodian)).in_effect);
  t.is((await api.call('Decrypt', { ciphertext })).plaintext.toString(), 'text');

  const other = await api.failure('ScheduleKeyDeletion', { key: 'orders' }, makeCall(SECOND_CUSTODIAN));
  t.like(other, { reason: 'INVALID_REQUEST', metadata: { field: 'waiting_period' } });
  t.regex(other.message, /uid 2001 asked to delete .* after 7 days/);

  const before = Date.now() / 1_000;
  const second = await api.call(
    'ScheduleKeyDeletion',
    { key: 'orders', waiting_period: days(7) },
    makeCall(SECOND_CUSTODIAN),
  );
  t.like(second, { state: 'KEY_STATE_PENDING_DELETION', in_effect: true });
  t.deepEqual(second.requested_by, [`uid ${CUSTODIAN}`, `uid ${SECOND_CUSTODIAN}`]);
  t.true(Math.abs(Number(second.deletion_at.seconds) - (before + 7 * DAY)) < 60);
  for (const [rpc, request] of [
    ['Encrypt', { key: 'orders' }],
    ['Decrypt', { ciphertext }],
  ] as const) {
    t.is((await api.failure(rpc, request)).reason, 'KEY_PENDING_DELETION', rpc);
  }
  t.is((await api.failure('EnableKey', { key: 'orders' }, custodian)).reason, 'KEY_PENDING_DELETION');

  t.deepEqual(await api.call('CancelKeyDeletion', { key: 'orders' }, makeCall(SECOND_CUSTODIAN)), {
    state: 'KEY_STATE_DISABLED',
  });
  t.is((await api.failure('Decrypt', { ciphertext })).reason, 'KEY_DISABLED');
  await api.call('EnableKey', { key: 'orders' }, custodian);
  t.is((await api.call('Decrypt', { ciphertext })).plaintext.toString(), 'text');
});

test('in the development profile one custodian ends a key', async (t) => {
  const api = await makeApi(t, 'development');
  const scheduled = await api.call('ScheduleKeyDeletion', { key: 'orders' }, custodian);
  t.like(scheduled, { in_effect: true, custodians_needed: 1, waiting_period: days(30) });
});

test('a waiting period under 7 or over 30 days, and hostile ones', async (t) => {
  const api = await makeApi(t);
  for (const period of [
    { seconds: 0 },
    { seconds: 7 * DAY - 1, nanos: 999_999_999 },
    { seconds: 30 * DAY, nanos: 1_000_000 },
    { seconds: -7 * DAY },
    { seconds: '9223372036854775807', nanos: 2_147_483_647 },
    { seconds: '-9223372036854775808', nanos: -2_147_483_648 },
  ]) {
    const failure = await api.failure('ScheduleKeyDeletion', { key: 'orders', waiting_period: period }, custodian);
    t.like(failure, { reason: 'INVALID_REQUEST', metadata: { field: 'waiting_period' } }, JSON.stringify(period));
  }
});

test('who may not: the same answer for a key that is there, one that is hidden and one that is not', async (t) => {
  const api = await makeApi(t);
  const rights = {
    DisableKey: OPERATOR,
    EnableKey: CUSTODIAN,
    ArchiveKey: CUSTODIAN,
    ScheduleKeyDeletion: CUSTODIAN,
    CancelKeyDeletion: CUSTODIAN,
  };
  for (const [rpc, may] of Object.entries(rights)) {
    for (const uid of [USER, OPERATOR, CUSTODIAN, AUDITOR, STRANGER, 0].filter((one) => one !== may)) {
      t.is((await api.failure(rpc, { key: 'orders' }, makeCall(uid))).reason, 'POLICY_DENIED', `${rpc} by ${uid}`);
    }
    for (const key of ['hidden', 'absent']) {
      const { reason, message } = await api.failure(rpc, { key }, makeCall(may));
      t.is(reason, 'POLICY_DENIED');
      t.is(message, `uid ${may} (gid ${may}) may not call ${rpc} on key "${key}"`);
    }
    t.like(await api.failure(rpc, { key: '' }, makeCall(may)), {
      reason: 'INVALID_REQUEST',
      metadata: { field: 'key' },
    });
  }
});

const LENT = [{ upstream: 'store', kek: 'local:lent', role: 'authority' }];
/** Every call that changes a KEK, and who of the fixture may make it on the one key alone. */
const CHANGES = {
  RotateKey: OPERATOR,
  DisableKey: OPERATOR,
  EnableKey: SECOND_CUSTODIAN,
  ArchiveKey: SECOND_CUSTODIAN,
  ScheduleKeyDeletion: SECOND_CUSTODIAN,
  CancelKeyDeletion: SECOND_CUSTODIAN,
};
const OTHER_KEYS = {
  'as recipient': { recipients: LENT },
  'in decrypt_with': {
    recipients: [{ upstream: 'store', kek: 'local:other', role: 'authority' }],
    decrypt_with: [{ upstream: 'store', kek: 'local:lent' }],
  },
};
for (const [how, other] of Object.entries(OTHER_KEYS)) {
  test(`a KEK that another key names too, ${how}, is changed only by who may on both`, async (t) => {
    const both = [{ uid: CUSTODIAN, roles: ['custodian'] }];
    const one = [
      { uid: OPERATOR, roles: ['operator'] },
      { uid: SECOND_CUSTODIAN, roles: ['custodian'] },
      { uid: USER, roles: ['user'] },
    ];
    const api = await makeApi(t, 'production', {
      lent: { recipients: LENT, allow: [...both, ...one] },
      other: { ...other, allow: both },
    });
    for (const [rpc, uid] of Object.entries(CHANGES)) {
      const denied = await api.failure(rpc, { key: 'lent' }, makeCall(uid));
      t.is(denied.reason, 'POLICY_DENIED', rpc);
      const text = `uid ${uid} (gid ${uid}) may not call ${rpc} on every key that names KEK local:`;
      t.true(denied.message.startsWith(text) && denied.message.endsWith('/lent'), denied.message);
    }
    const { keks } = await api.call('KeyAdmin/DescribeKey', { key: 'lent' }, custodian);
    t.like(keks[0], { state: 'KEY_STATE_ACTIVE', versions: { length: 1 } });
    t.is((await api.call('Encrypt', { key: 'lent' })).key, 'lent');
    t.like(await api.call('ArchiveKey', { key: 'lent' }, custodian), { state: 'KEY_STATE_ARCHIVED' });
    t.is((await api.failure('Encrypt', { key: 'lent' })).reason, 'KEY_ARCHIVED');
  });
}

test('a transition that is not allowed names both states and the way out', async (t) => {
  const api = await makeApi(t);
  await api.call('DisableKey', { key: 'orders' }, operator);
  const failure = await api.failure('ArchiveKey', { key: 'orders' }, custodian);
  t.is(failure.reason, 'KEY_DISABLED');
  t.regex(failure.message, /KEK orders is disabled: disabled → archived is not allowed; enable it first/);
});

const RETIRED = {
  recipients: [{ upstream: 'store', kek: 'local:renewed', role: 'authority' }],
  decrypt_with: [{ upstream: 'store', kek: 'local:retiring' }],
};

/** A key whose former KEK stands only in decrypt_with, and what that wrapped; `retiring` is a key of another operator. */
async function retired(t: ExecutionContext) {
  const custodians = [CUSTODIAN, SECOND_CUSTODIAN].map((uid) => ({ uid, roles: ['custodian'] }));
  const allow = [{ uid: USER, roles: ['user'] }, { uid: OPERATOR, roles: ['operator'] }, ...custodians];
  const api = await makeApi(t, 'production', {
    renewed: { ...RETIRED, allow },
    retiring: { recipients: [{ upstream: 'store', kek: 'local:retiring', role: 'authority' }], allow: custodians },
  });
  const states = async () => {
    const { keks } = await api.call('KeyAdmin/DescribeKey', { key: 'renewed' }, custodian);
    return keks.map(({ state }: { state: string }) => state.replace('KEY_STATE_', ''));
  };
  return { api, states };
}

test('a retired KEK that only decrypts ends without the key that has it', async (t) => {
  const { api, states } = await retired(t);
  const request = { key: 'renewed', kek: 'local:retiring' };
  t.like(await api.call('ArchiveKey', request, custodian), { state: 'KEY_STATE_ACTIVE' });
  t.deepEqual(await states(), ['ACTIVE', 'ARCHIVED']);
  t.is((await api.failure('Encrypt', { key: 'retiring' }, makeCall(OPERATOR))).reason, 'POLICY_DENIED');
  await api.call('EnableKey', request, custodian);
  t.deepEqual(await states(), ['ACTIVE', 'ACTIVE']);
  t.like(await api.call('ScheduleKeyDeletion', request, custodian), { in_effect: false });
  t.like(await api.call('ScheduleKeyDeletion', request, makeCall(SECOND_CUSTODIAN)), {
    in_effect: true,
    state: 'KEY_STATE_ACTIVE',
  });
  t.deepEqual(await states(), ['ACTIVE', 'PENDING_DELETION']);
  await encrypted(api, 'renewed');
  await api.call('CancelKeyDeletion', request, custodian);
  t.deepEqual(await states(), ['ACTIVE', 'DISABLED']);
  t.is((await api.call('KeyAdmin/DescribeKey', { key: 'retiring' }, custodian)).key.state, 'KEY_STATE_DISABLED');
});

test('one KEK of a key needs the same right on every key that names it, and must be one of the key', async (t) => {
  const { api, states } = await retired(t);
  const denied = await api.failure('DisableKey', { key: 'renewed', kek: 'local:retiring' }, operator);
  t.is(denied.reason, 'POLICY_DENIED');
  t.regex(denied.message, /on every key that names KEK local:.*\/retiring$/);
  t.like(await api.call('DisableKey', { key: 'renewed', kek: 'local:renewed' }, operator), {
    state: 'KEY_STATE_DISABLED',
  });
  const absent = await api.failure('EnableKey', { key: 'renewed', kek: 'local:orders' }, custodian);
  t.like(absent, { reason: 'INVALID_REQUEST', metadata: { field: 'kek' } });
  t.regex(
    absent.message,
    /is no KEK of key renewed in a local upstream; write one of: local:.*renewed, local:.*retiring$/,
  );
  t.is((await api.failure('EnableKey', { key: 'absent', kek: 'local:x' }, custodian)).reason, 'POLICY_DENIED');
  t.deepEqual(await states(), ['DISABLED', 'ACTIVE']);
});
