import test from 'ava';
import { ARCHIVED_BIT, KEY_RPC_BITS } from '../../src/policy/roles.ts';
import { compileRule, keyMask, matches, OVERFLOW_ID } from '../../src/policy/rule.ts';

const uid = compileRule({ uid: 1000, roles: ['user'] });
const gid = compileRule({ gid: 500, roles: ['user'] });

const table: readonly [string, typeof uid, { uid: number; gid: number; groups: number[] }, boolean][] = [
  ['the uid', uid, { uid: 1000, gid: 1, groups: [] }, true],
  ['another uid', uid, { uid: 1001, gid: 1000, groups: [1000] }, false],
  ['the primary group', gid, { uid: 7, gid: 500, groups: [] }, true],
  ['a supplementary group', gid, { uid: 7, gid: 1, groups: [2, 500] }, true],
  ['neither', gid, { uid: 500, gid: 1, groups: [2] }, false],
  ['the overflow uid by its group', gid, { uid: OVERFLOW_ID, gid: 500, groups: [500] }, false],
  [
    'the overflow uid by name',
    compileRule({ uid: OVERFLOW_ID, roles: ['user'] }),
    { uid: OVERFLOW_ID, gid: 1, groups: [] },
    false,
  ],
  [
    'the overflow gid by name',
    compileRule({ gid: OVERFLOW_ID, roles: ['user'] }),
    { uid: 7, gid: OVERFLOW_ID, groups: [] },
    false,
  ],
  ['root by a rule on uid 0', compileRule({ uid: 0, roles: ['user'] }), { uid: 0, gid: 0, groups: [] }, true],
  ['a rule about nobody', compileRule({ roles: ['user'] }), { uid: -1, gid: -1, groups: [-1] }, false],
];
for (const [who, rule, caller, expected] of table) {
  test(`matches: ${who}: ${expected}`, (t) => {
    t.is(matches(rule, caller), expected);
  });
}

test('rpcs narrow role user, keep DescribeKey, and give nothing that user has not', (t) => {
  const rule = compileRule({ uid: 1, roles: ['user'], rpcs: ['Encrypt', 'RotateKey', 'constructor'] });
  t.is(rule.userMask, KEY_RPC_BITS.Encrypt | KEY_RPC_BITS.DescribeKey);
});

test('rpcs do not narrow other roles', (t) => {
  const rule = compileRule({ uid: 1, roles: ['operator'], rpcs: ['Encrypt'] });
  t.is(rule.userMask, 0);
  t.not(keyMask(rule.roles) & KEY_RPC_BITS.RotateKey, 0);
});

test('archived rides on role user', (t) => {
  const rule = compileRule({ uid: 1, roles: ['user'], rpcs: ['Decrypt'], archived: true });
  t.is(rule.userMask, KEY_RPC_BITS.Decrypt | KEY_RPC_BITS.DescribeKey | ARCHIVED_BIT);
  t.is(compileRule({ uid: 1, roles: ['operator'], archived: true }).userMask, 0);
});
