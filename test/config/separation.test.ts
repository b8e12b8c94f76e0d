import test from 'ava';
import type { ParsedConfig } from '../../src/config/schema.ts';
import { separationProblems } from '../../src/config/separation.ts';
import { base, type Fields, key, problemsOf, RULES, recipient } from './parse.ts';

const WHY = 'production wants different people (nobody creates and uses, or rotates and destroys)';

/** Problems of rules on keys, each on the KEK of its name unless it says otherwise. */
function problems(keys: Readonly<Record<string, Fields>>, admin: readonly Fields[] = []): string[] {
  return problemsOf(base({ keys, admin }));
}

test('one id, one of user, operator and custodian on a key: in one rule, and in several', (t) => {
  const allow = (...rules: Fields[]) => problems({ orders: key('orders', { allow: [...rules, ...RULES] }) });
  t.deepEqual(allow(), []);
  t.deepEqual(allow({ uid: 7, roles: ['user', 'operator', 'custodian'] }), [
    `keys.orders.allow[0].roles: uid 7 holds user and operator and custodian on one key; ${WHY}`,
  ]);
  t.deepEqual(
    allow({ gid: 7, roles: ['operator'] }, { gid: 7, roles: ['auditor'] }, { gid: 7, roles: ['custodian'] }),
    [`keys.orders.allow[2].roles: gid 7 holds operator and custodian on one key; ${WHY}`],
  );
  t.is(
    allow({ uid: 7, roles: ['operator', 'custodian'] }, { uid: 7, roles: ['auditor'] }).length,
    1,
    'told where it begins',
  );
  t.deepEqual(allow({ uid: 7, roles: ['user', 'auditor'] }, { gid: 7, roles: ['operator', 'auditor'] }), []);
});

test('different keys may be served by one id in different roles', (t) => {
  const mixed = (role: string) => [
    { uid: 7, roles: [role] },
    { gid: 5, roles: ['custodian'] },
  ];
  t.deepEqual(problems({ a: key('a', { allow: mixed('user') }), b: key('b', { allow: mixed('operator') }) }), []);
});

test('keys that share a KEK are one: who changes it through one key changes it for all', (t) => {
  const allow = (role: string, ...more: Fields[]) => [{ uid: 7, roles: [role] }, ...more];
  const shared = (here: string, there: string) =>
    problems({ a: key('x', { allow: allow(here) }), b: key('x', { allow: allow(there) }) });
  t.deepEqual(shared('user', 'operator'), [
    `keys.b.allow[0].roles: uid 7 holds operator here and user on key a, which has the same KEK; ${WHY}`,
  ]);
  t.deepEqual(shared('custodian', 'operator'), [
    `keys.b.allow[0].roles: uid 7 holds operator here and custodian on key a, which has the same KEK; ${WHY}`,
  ]);
  t.deepEqual(shared('operator', 'operator'), []);
  t.deepEqual(shared('auditor', 'operator'), []);
});

test('a KEK is the same by its full reference, and for recovery it is not acted on', (t) => {
  const full = { upstream: 'store', kek: 'local:0123456789abcdef/x', role: 'authority' };
  const one = key('x', { allow: [{ uid: 7, roles: ['user'] }] });
  const operated = (recipients: Fields[]) => key('y', { recipients, allow: [{ uid: 7, roles: ['operator'] }] });
  t.is(problems({ one, two: operated([full]) }).length, 1);
  t.deepEqual(problems({ one, two: operated([recipient('y'), recipient('x', 'recovery')]) }), []);
});

test('a contradiction inside one key is told once', (t) => {
  const both = key('x', { allow: [{ uid: 7, roles: ['user', 'operator'] }] });
  t.is(problems({ a: both, b: key('x') }).length, 1);
});

test('admin: who makes KEKs or copies the keystore uses no key, and nobody does both', (t) => {
  const orders = key('orders');
  t.deepEqual(problems({ orders }, [{ uid: 1000, roles: ['custodian'] }]), [
    'keys.orders.allow[0].roles: uid 1000 uses this key and is custodian in admin; production wants different people (nobody creates and uses)',
  ]);
  t.deepEqual(problems({ orders }, [{ uid: 1000, roles: ['operator', 'auditor'] }]), [
    'keys.orders.allow[0].roles: uid 1000 uses this key and is operator in admin; production wants different people (nobody uses keys and copies the keystore)',
  ]);
  t.deepEqual(
    problems({ orders }, [
      { uid: 9, roles: ['operator'] },
      { uid: 9, roles: ['auditor'] },
      { uid: 9, roles: ['custodian'] },
      { uid: 9, roles: ['auditor'] },
    ]),
    [
      'admin[2].roles: uid 9 holds operator and custodian in admin; production wants different people (nobody makes KEKs and copies the keystore)',
    ],
  );
  t.deepEqual(
    problems({ orders }, [
      { uid: 1000, roles: ['auditor'] },
      { gid: 1000, roles: ['custodian'] },
      { uid: 2001, roles: ['custodian'] },
      { uid: 2000, roles: ['operator'] },
    ]),
    [],
    'auditors, groups, and the same role on keys and in admin',
  );
});

test('development lets everybody hold everything', (t) => {
  const everything = [{ uid: 7, roles: ['user', 'operator', 'custodian'] }];
  const fields = base({
    profile: 'development',
    keys: { a: key('x', { allow: everything }), b: key('x', { allow: everything }) },
    admin: [{ uid: 7, roles: ['operator', 'custodian'] }],
  });
  t.deepEqual(problemsOf(fields), []);
});

test('thousands of keys on one KEK cost time in line with their number', (t) => {
  const keys = Object.fromEntries(
    Array.from({ length: 20_000 }, (_, index) => [
      `k${index}`,
      { recipients: [recipient('x')], allow: [{ uid: index, roles: ['user'] }] },
    ]),
  );
  // Compared with each other they would take longer than a test may.
  t.deepEqual(separationProblems({ keys, admin: [] } as unknown as ParsedConfig), []);
});
