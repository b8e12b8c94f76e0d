// Who may do what, with real processes of different users: the kernel says who they are.
import { chmodSync } from 'node:fs';
import type { ExecutionContext } from 'ava';
import { startAgent } from '../helpers/agent-process.ts';
import { type Call, type Caller, type Callers, type CallOutcome, callersAt } from '../helpers/callers.ts';
import { keyConfig, makePlace } from '../helpers/place.ts';
import { requireRoot } from '../helpers/require-root.ts';
import { test } from '../helpers/serial.ts';

const WHY = 'its callers are processes of other users';
const DENIED = 7;
const APP: Caller = { uid: 21_000 };
const OPERATOR: Caller = { uid: 22_000 };
const CUSTODIAN: Caller = { uid: 22_001 };
const AUDITOR: Caller = { uid: 22_002 };
const WRITERS = 23_000;
const OVERFLOW_ID = 65_534;

/** A production agent: `orders` is the application's, `secret` is somebody else's; both have their KEK. */
async function production(t: ExecutionContext, adminMode = '0666') {
  const place = makePlace(t);
  chmodSync(place.directory, 0o755);
  place.configure({
    profile: 'production',
    listen: {
      agent: { path: place.agentSocket, mode: '0666' },
      admin: { path: place.adminSocket, mode: adminMode },
    },
    keys: {
      orders: keyConfig('orders', {
        allow: [
          { uid: APP.uid, roles: ['user'] },
          { gid: WRITERS, roles: ['user'], rpcs: ['Encrypt'] },
          { uid: OPERATOR.uid, roles: ['operator'] },
          { uid: AUDITOR.uid, roles: ['auditor'] },
        ],
      }),
      secret: keyConfig('secret', { allow: [{ uid: 21_001, roles: ['user'] }] }),
    },
    admin: [{ uid: CUSTODIAN.uid, roles: ['custodian'] }],
  });
  const agent = await startAgent(t, place);
  return { agent, callers: callersAt(t, place) };
}

function codes(outcomes: readonly CallOutcome[]): number[] {
  return outcomes.map(({ code }) => code);
}

async function makeKeks(t: ExecutionContext, { admin }: Callers): Promise<void> {
  const made = await admin(CUSTODIAN, ['CreateKey', { key: 'orders' }], ['CreateKey', { key: 'secret' }]);
  t.deepEqual(codes(made), [0, 0]);
}

const ENCRYPT: Call = ['Encrypt', { key: 'orders', plaintext: Buffer.from('mine') }];

test('who is named may, who is not may not; root and the agent’s own user get nothing for free', async (t) => {
  if (!requireRoot(t, WHY)) return;
  const { callers } = await production(t);
  const { data } = callers;
  await makeKeks(t, callers);
  const [encrypted, described] = await data(APP, ENCRYPT, ['DescribeKey', { key: 'orders' }]);
  t.is(encrypted?.code, 0);
  t.is(described?.message.key, 'orders');
  const decrypt: Call = ['Decrypt', { ciphertext: encrypted?.message.ciphertext }];
  t.is((await data(APP, decrypt))[0]?.message.plaintext.toString(), 'mine');
  for (const caller of [
    { uid: 0 },
    { uid: 21_001 },
    { uid: 24_000 },
    OPERATOR,
    CUSTODIAN,
    { uid: OVERFLOW_ID, groups: [WRITERS] },
  ]) {
    for (const { code, reason, text } of await data(caller, ENCRYPT, decrypt)) {
      t.deepEqual([code, reason], [DENIED, 'POLICY_DENIED'], `uid ${caller.uid}`);
      t.regex(
        text,
        new RegExp(
          `^uid ${caller.uid} \\(gid ${caller.uid}\\) may not call \\w+( on key "orders"|: no rule names it)$`,
        ),
      );
    }
  }
  t.deepEqual(codes(await data(OPERATOR, ['DescribeKey', { key: 'orders' }])), [0]);
});

test('a key that the caller may not see, and one that does not exist, look the same', async (t) => {
  if (!requireRoot(t, WHY)) return;
  const { callers } = await production(t);
  const { data } = callers;
  await makeKeks(t, callers);
  const owner = { uid: 21_001 };
  const [secret] = await data(owner, ['Encrypt', { key: 'secret', plaintext: Buffer.from('theirs') }]);
  const ciphertext: Buffer = secret?.message.ciphertext;
  const absent = Buffer.from(ciphertext);
  absent.write('absent', absent.indexOf('secret'));
  for (const rpc of ['Encrypt', 'GenerateDataKey', 'GenerateDataKeyWithoutPlaintext', 'DescribeKey']) {
    const answers = await data(APP, [rpc, { key: 'secret' }], [rpc, { key: 'absent' }]);
    sameDenial(t, answers);
  }
  sameDenial(t, await data(APP, ['Decrypt', { ciphertext }], ['Decrypt', { ciphertext: absent }]));
  sameDenial(
    t,
    await data(APP, ['Encrypt', { key: 'secret', dry_run: true }], ['Encrypt', { key: 'absent', dry_run: true }]),
  );
});

function sameDenial(t: ExecutionContext, answers: readonly CallOutcome[]): void {
  const [hidden, absent] = answers.map((answer) => ({ ...answer, text: answer.text.replace(/secret|absent/, 'NAME') }));
  t.like(hidden, { code: DENIED, reason: 'POLICY_DENIED' });
  t.deepEqual(hidden, absent);
}

test('a rule for a group reaches its members, supplementary groups too, and no further than it says', async (t) => {
  if (!requireRoot(t, WHY)) return;
  const { callers } = await production(t);
  const { data } = callers;
  await makeKeks(t, callers);
  const members: Caller[] = [
    { uid: 24_000, gid: WRITERS },
    { uid: 24_001, groups: [WRITERS] },
  ];
  for (const caller of members) {
    const [encrypted] = await data(caller, ENCRYPT);
    t.is(encrypted?.code, 0);
    const decrypt: Call = ['Decrypt', { ciphertext: encrypted?.message.ciphertext }];
    const narrowed = await data(
      caller,
      decrypt,
      ['GenerateDataKey', { key: 'orders' }],
      ['DescribeKey', { key: 'orders' }],
    );
    t.deepEqual(codes(narrowed), [DENIED, DENIED, 0]);
    t.deepEqual(codes(await data(APP, decrypt)), [0]);
  }
  t.deepEqual(codes(await data({ uid: 24_001, groups: [WRITERS + 1] }, ENCRYPT)), [DENIED]);
});

test('the admin socket: each role its calls, each caller its keys', async (t) => {
  if (!requireRoot(t, WHY)) return;
  const { callers } = await production(t);
  const { data, admin } = callers;
  await makeKeks(t, callers);
  const [encrypted] = await data(APP, ENCRYPT);
  const list: Call = ['ListKeys', {}];
  const rotate: Call = ['RotateKey', { key: 'orders' }];
  const create: Call = ['CreateKey', { key: 'fresh' }];
  const status: Call = ['GetStatus', {}];
  t.deepEqual(codes(await admin(APP, list, rotate, create, status)), [DENIED, DENIED, DENIED, DENIED]);
  t.deepEqual(codes(await admin({ uid: 0 }, list, rotate, create, status)), [DENIED, DENIED, DENIED, DENIED]);
  t.deepEqual(codes(await admin(OPERATOR, list, rotate, create, status)), [0, 0, DENIED, 0]);
  t.deepEqual(codes(await admin(AUDITOR, list, rotate, create, status)), [0, DENIED, DENIED, 0]);
  t.deepEqual(codes(await admin(OPERATOR, ['RotateKey', { key: 'secret' }], ['RotateKey', { key: 'absent' }])), [
    DENIED,
    DENIED,
  ]);
  const names = ({ message }: CallOutcome) => message.keys.map(({ key }: { key: string }) => key);
  t.deepEqual((await admin(AUDITOR, list, status)).map(names), [['orders'], ['orders']]);
  t.deepEqual((await admin(CUSTODIAN, list)).map(names), [[]]);
  const [fresh] = await admin(CUSTODIAN, create);
  // In production only the configuration makes a key out of a KEK.
  t.like(fresh, { code: 0, message: { key: 'fresh', usable: false } });
  t.is(
    (await data(APP, ['Decrypt', { ciphertext: encrypted?.message.ciphertext }]))[0]?.message.plaintext.toString(),
    'mine',
  );
});

test('who may not open the admin socket’s file does not even reach it', async (t) => {
  if (!requireRoot(t, WHY)) return;
  const { callers } = await production(t, '0600');
  const { data, admin } = callers;
  const [refused] = await admin(CUSTODIAN, ['ListKeys', {}]);
  t.is(refused?.code, 14);
  t.is(refused?.reason, '');
  t.deepEqual(codes(await data(APP, ['DescribeKey', { key: 'orders' }])), [0]);
});

test('production without its KEK: told at the start, refused with the way out, served once a custodian makes it', async (t) => {
  if (!requireRoot(t, WHY)) return;
  const { agent, callers } = await production(t);
  const { data } = callers;
  t.regex(
    agent.stderr(),
    /keys\.orders: its KEK local:orders does not exist yet; a custodian makes it with `dekctl keys create orders`/,
  );
  const [early] = await data(APP, ENCRYPT);
  t.like(early, { code: DENIED, reason: 'UPSTREAM_REFUSED' });
  t.regex(
    early?.text ?? '',
    /key orders: upstream store has no such KEK; a custodian makes it with `dekctl keys create orders`/,
  );
  await makeKeks(t, callers);
  t.is((await data(APP, ENCRYPT))[0]?.code, 0, 'what was remembered is forgotten');
});
