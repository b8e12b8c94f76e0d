// What one person alone must not do, with real processes of different users: who deletes, who reads what is archived, and which rules
// production refuses.
import { chmodSync } from 'node:fs';
import type { ExecutionContext } from 'ava';
import { type Agent, runAgent, startAgent } from '../helpers/agent-process.ts';
import { type Call, type Caller, type Callers, type CallOutcome, callersAt } from '../helpers/callers.ts';
import { keyConfig, makePlace, type Place } from '../helpers/place.ts';
import { requireRoot } from '../helpers/require-root.ts';
import { test } from '../helpers/serial.ts';

const WHY = 'its callers are processes of other users';
const DENIED = 7;
const FAILED_PRECONDITION = 9;
const DAY_S = 86_400;
const CUSTODIANS = 23_000;
const READERS = 23_001;

const APP: Caller = { uid: 21_000 };
const OPERATOR: Caller = { uid: 22_000 };
const FIRST: Caller = { uid: 22_001 };
const SECOND: Caller = { uid: 22_002 };
/** A custodian by group alone, and the first one by group as well. */
const MEMBER: Caller = { uid: 22_003, groups: [CUSTODIANS] };
const FIRST_AS_MEMBER: Caller = { ...FIRST, gid: CUSTODIANS };

function place(t: ExecutionContext): Place {
  const made = makePlace(t);
  chmodSync(made.directory, 0o755);
  made.configure({
    profile: 'production',
    listen: {
      agent: { path: made.agentSocket, mode: '0666' },
      admin: { path: made.adminSocket, mode: '0666' },
    },
    keys: {
      orders: keyConfig('orders', {
        allow: [
          { uid: APP.uid, roles: ['user'] },
          { gid: READERS, roles: ['user'], rpcs: ['Decrypt', 'DecryptBatch', 'ReEncrypt'], archived: true },
          { uid: OPERATOR.uid, roles: ['operator'] },
          { uid: FIRST.uid, roles: ['custodian'] },
          { uid: SECOND.uid, roles: ['custodian'] },
          { gid: CUSTODIANS, roles: ['custodian'] },
        ],
      }),
    },
    admin: [{ uid: FIRST.uid, roles: ['custodian'] }],
  });
  return made;
}

const ENCRYPT: Call = ['Encrypt', { key: 'orders', plaintext: Buffer.from('mine') }];
const SCHEDULE: Call = ['ScheduleKeyDeletion', { key: 'orders' }];
const CANCEL: Call = ['CancelKeyDeletion', { key: 'orders' }];

interface Used extends Callers {
  readonly made: Place;
  readonly agent: Agent;
  /** Of `orders`. */
  readonly ciphertext: Buffer;
}

/** A production agent whose key, made by the first custodian, has encrypted once. */
async function startUsed(t: ExecutionContext): Promise<Used> {
  const made = place(t);
  const agent = await startAgent(t, made);
  const { data, admin } = callersAt(t, made);
  t.is((await admin(FIRST, ['CreateKey', { key: 'orders' }]))[0]?.code, 0);
  const [encrypted] = await data(APP, ENCRYPT);
  t.is(encrypted?.code, 0, encrypted?.text);
  return { made, agent, data, admin, ciphertext: encrypted?.message.ciphertext };
}

function refusedAs(t: ExecutionContext, outcome: CallOutcome | undefined, reason: string): void {
  t.like(outcome, { code: FAILED_PRECONDITION, reason });
}

test('a key is deleted by two custodians: the first asks, the second one’s call takes effect', async (t) => {
  if (!requireRoot(t, WHY)) return;
  const { data, admin, ciphertext } = await startUsed(t);
  const decrypt: Call = ['Decrypt', { ciphertext }];
  for (const caller of [FIRST, FIRST, FIRST_AS_MEMBER]) {
    const [asked] = await admin(caller, SCHEDULE);
    t.like(asked, { code: 0 });
    t.like(
      asked?.message,
      { in_effect: false, state: 'KEY_STATE_ACTIVE', deletion_at: null },
      'once, whoever’s group it is',
    );
  }
  t.is((await data(APP, ENCRYPT))[0]?.code, 0, 'a request changes nothing');
  const [other] = await admin(SECOND, [
    'ScheduleKeyDeletion',
    { key: 'orders', waiting_period: { seconds: 7 * DAY_S } },
  ]);
  t.like(other, { code: 3, reason: 'INVALID_REQUEST' }, 'not what the first asked for');
  t.is((await data(APP, ENCRYPT))[0]?.code, 0);

  const askedAtS = Date.now() / 1000;
  const [taken] = await admin(SECOND, SCHEDULE);
  t.like(taken?.message, { in_effect: true, state: 'KEY_STATE_PENDING_DELETION' });
  t.true(Math.abs(Number(taken?.message.deletion_at.seconds) - askedAtS - 30 * DAY_S) < 60);
  for (const outcome of await data(APP, ENCRYPT, decrypt)) refusedAs(t, outcome, 'KEY_PENDING_DELETION');

  // Either custodian takes it back; a disabled key is what is left, for a custodian to enable.
  t.like((await admin(FIRST, CANCEL))[0], { code: 0, message: { state: 'KEY_STATE_DISABLED' } });
  refusedAs(t, (await data(APP, decrypt))[0], 'KEY_DISABLED');
  t.is((await admin(OPERATOR, ['EnableKey', { key: 'orders' }]))[0]?.code, DENIED);
  t.is((await admin(SECOND, ['EnableKey', { key: 'orders' }]))[0]?.code, 0);
  t.is((await data(APP, decrypt))[0]?.message.plaintext.toString(), 'mine');
});

test('a request for deletion outlives the agent, can be withdrawn, and a custodian by group is a second one', async (t) => {
  if (!requireRoot(t, WHY)) return;
  const { made, agent, data, admin } = await startUsed(t);
  t.like((await admin(FIRST, SCHEDULE))[0]?.message, { in_effect: false });
  await agent.stop();
  await startAgent(t, made);
  t.like((await admin(FIRST, SCHEDULE))[0]?.message, { in_effect: false }, 'still the same one');
  t.like((await admin(SECOND, CANCEL))[0], { code: 0, message: { state: 'KEY_STATE_ACTIVE' } });
  t.like((await admin(MEMBER, SCHEDULE))[0]?.message, { in_effect: false }, 'withdrawn: the next one is the first');
  t.is((await data(APP, ENCRYPT))[0]?.code, 0);
  t.like((await admin(FIRST, SCHEDULE))[0]?.message, { in_effect: true });
});

test('an archived key decrypts, for rules that say so alone, and encrypts for nobody', async (t) => {
  if (!requireRoot(t, WHY)) return;
  const { data, admin, ciphertext } = await startUsed(t);
  const decrypt: Call = ['Decrypt', { ciphertext }];
  const batch: Call = ['DecryptBatch', { items: [{ ciphertext }] }];
  const reader: Caller = { uid: 21_001, groups: [READERS] };
  t.like((await admin(SECOND, ['ArchiveKey', { key: 'orders' }]))[0], { message: { state: 'KEY_STATE_ARCHIVED' } });
  // From memory, and once more from the keystore.
  for (const round of ['cached', 'flushed']) {
    for (const outcome of await data(APP, ENCRYPT, decrypt)) refusedAs(t, outcome, 'KEY_ARCHIVED');
    const [refused] = await data(APP, batch);
    t.is(refused?.message.results[0].status.code, FAILED_PRECONDITION, round);
    const [opened, inBatch] = await data(reader, decrypt, batch);
    t.is(opened?.message?.plaintext.toString(), 'mine', `${round}: ${opened?.text}`);
    t.is(inBatch?.message.results[0].response?.plaintext.toString(), 'mine', round);
    t.is((await admin(OPERATOR, ['FlushKeyring', { key: 'orders' }]))[0]?.code, 0);
  }
  t.like((await data(reader, ENCRYPT))[0], { code: DENIED, reason: 'POLICY_DENIED' });
  t.is((await admin(SECOND, ['EnableKey', { key: 'orders' }]))[0]?.code, 0);
  t.is((await data(APP, decrypt))[0]?.message.plaintext.toString(), 'mine');
});

const refused: readonly [why: string, changes: Readonly<Record<string, unknown>>, line: RegExp][] = [
  [
    'a rule on a pid',
    { allow: [{ pid: 1, roles: ['user'] }] },
    /keys\.orders\.allow\[0\]\.pid: rules on pid are refused/,
  ],
  [
    'a rule on uid 65534',
    { allow: [{ uid: 65_534, roles: ['user'] }] },
    /allow\[0\]\.uid: found 65534, expected a user number/,
  ],
  [
    'a rule on gid 65534',
    { allow: [{ gid: 65_534, roles: ['user'] }] },
    /allow\[0\]\.gid: found 65534, expected a group number/,
  ],
  [
    'user and operator',
    { allow: [{ uid: 7, roles: ['user', 'operator'] }] },
    /uid 7 holds user and operator on one key/,
  ],
  [
    'operator and custodian in two rules',
    {
      allow: [
        { gid: 7, roles: ['operator'] },
        { gid: 7, roles: ['custodian'] },
      ],
    },
    /allow\[1\]\.roles: gid 7 holds operator and custodian on one key/,
  ],
];
for (const [why, changes, line] of refused) {
  test(`production refuses ${why}`, async (t) => {
    const made = makePlace(t, { profile: 'production', keys: { orders: keyConfig('orders', changes) }, admin: [] });
    const { code, stderr } = await runAgent(t, made);
    t.is(code, 2);
    t.regex(stderr, line);
    t.is(stderr.trimEnd().split('\n').length, 1);
  });
}

test('the development profile opens every role to root, and to nobody else whom no rule names', async (t) => {
  if (!requireRoot(t, WHY)) return;
  const made = makePlace(t, { keys: { default: keyConfig('default', { allow: [{ uid: 21_000, roles: ['user'] }] }) } });
  chmodSync(made.directory, 0o755);
  await startAgent(t, made);
  for (const socket of [made.agentSocket, made.adminSocket]) chmodSync(socket, 0o666);
  const { data, admin } = callersAt(t, made);
  const root: Caller = { uid: 0 };
  const key = { key: 'default' };
  t.is((await data(root, ['Encrypt', { ...key, plaintext: Buffer.from('x') }]))[0]?.code, 0);
  const offices: Call[] = [
    ['RotateKey', key],
    ['DisableKey', key],
    ['EnableKey', key],
    ['CreateKey', { key: 'fresh' }],
  ];
  t.deepEqual(
    (await admin(root, ...offices)).map(({ code }) => code),
    [0, 0, 0, 0],
  );
  for (const caller of [{ uid: 21_000 }, { uid: 24_000 }]) {
    t.deepEqual(
      (await admin(caller, ...offices)).map(({ reason }) => reason),
      offices.map(() => 'POLICY_DENIED'),
    );
  }
  // One custodian is enough here.
  t.like((await admin(root, ['ScheduleKeyDeletion', key]))[0]?.message, { in_effect: true });
});
