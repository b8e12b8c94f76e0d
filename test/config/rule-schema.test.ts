import test from 'ava';
import { USER_RPCS } from '../../src/config/rule-schema.ts';
import { KEY_RPC_ROLES } from '../../src/policy/roles.ts';
import { base, key, parse, problemsOf } from './parse.ts';

test('rules may narrow role user to exactly what the policy gives it', (t) => {
  const given = Object.entries(KEY_RPC_ROLES).filter(([, roles]) => (roles as readonly string[]).includes('user'));
  t.deepEqual([...USER_RPCS].sort() as string[], given.map(([rpc]) => rpc).sort());
});

const withRule = (rule: object) =>
  base({ keys: { orders: key('orders', { allow: [rule, { gid: 5, roles: ['custodian'] }] }) } });

test('archived is a word of its own in a rule, and only then in the configuration', (t) => {
  const rule = (fields: object) => parse(withRule(fields)).keys.get('orders')?.allow[0];
  t.deepEqual(rule({ uid: 1, roles: ['user'], archived: true }), { uid: 1, roles: ['user'], archived: true });
  t.deepEqual(rule({ uid: 1, roles: ['user'], archived: false }), { uid: 1, roles: ['user'] });
  t.deepEqual(rule({ gid: 7, roles: ['user'], rpcs: ['DecryptBatch'], archived: true }), {
    gid: 7,
    roles: ['user'],
    rpcs: ['DecryptBatch'],
    archived: true,
  });
});

const wrong: readonly [rule: object, problem: string][] = [
  [{ uid: 1, roles: ['user'], archived: 'yes' }, 'archived: found "yes", expected true or false'],
  [{ uid: 1, roles: ['auditor'], archived: true }, 'archived: is for role user, which this rule does not give'],
  [
    { uid: 1, roles: ['user'], rpcs: ['Encrypt', 'DescribeKey'], archived: true },
    'archived: opens what decrypts only, and rpcs lists none of Decrypt, DecryptBatch, ReEncrypt',
  ],
];
for (const [rule, problem] of wrong) {
  test(`archived: ${problem}`, (t) => {
    t.deepEqual(problemsOf(withRule(rule)), [`keys.orders.allow[0].${problem}`]);
  });
}

test('rules of admin know neither rpcs nor archived', (t) => {
  for (const field of ['rpcs', 'archived']) {
    const [problem] = problemsOf(base({ admin: [{ uid: 1, roles: ['custodian'], [field]: true }] }));
    t.is(problem, `admin[0].${field}: unknown field; known here: uid, gid, roles`);
  }
});
