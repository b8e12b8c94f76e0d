import test from 'ava';
import { base, type Fields, key, RULES, upstream, warningsOf } from './parse.ts';

const READERS = [...RULES, { gid: 1500, roles: ['user'], rpcs: ['Decrypt'], archived: true }];

/** With that upstream, and the key `orders` with rules for what is archived or without. */
function warnings(settings: Fields, allow: readonly Fields[] = READERS): string[] {
  return warningsOf(base({ upstreams: { store: upstream(settings) }, keys: { orders: key('orders', { allow }) } }));
}

test('a configuration that means what it says has no warnings', (t) => {
  t.deepEqual(warningsOf(base()), []);
  const settings = { max_versions: 9, keks: { orders: { expires: '2027-06-30T00:00:00Z', max_versions: 5 } } };
  t.deepEqual(warnings(settings), []);
});

test('a KEK that has expired', (t) => {
  const line =
    'upstreams.store.keks.orders.expires: has passed: the KEK is archived and decrypts only, for rules with archived: true';
  t.deepEqual(warnings({ keks: { orders: { expires: '2026-07-01T00:00:00Z' } } }), [line], 'now is past');
  t.deepEqual(warnings({ keks: { orders: { expires: '2026-07-01T00:00:01Z' } } }), []);
});

test('what will be archived and nobody may read', (t) => {
  const settings = { max_versions: 9, keks: { orders: { expires: '2027-06-30T00:00:00Z', max_versions: 5 } } };
  t.deepEqual(warnings(settings, RULES), [
    'upstreams.store.max_versions: nobody may decrypt what an archived version wrapped for orders: no rule there says archived: true',
    'upstreams.store.keks.orders.expires: nobody may decrypt what the expired KEK wrapped for orders: no rule there says archived: true',
    'upstreams.store.keks.orders.max_versions: nobody may decrypt what an archived version wrapped for orders: no rule there says archived: true',
  ]);
});

test('only keys of that upstream and that KEK are named', (t) => {
  const other = upstream({ directory: '/var/lib/other', max_versions: 3 });
  t.deepEqual(warningsOf(base({ upstreams: { store: upstream(), other } })), []);
  const fields = base({
    upstreams: { store: upstream({ keks: { b: { max_versions: 3 } } }) },
    keys: { a: key('a'), b: key('b'), c: key('b') },
  });
  t.deepEqual(warningsOf(fields), [
    'upstreams.store.keks.b.max_versions: nobody may decrypt what an archived version wrapped for b, c: no rule there says archived: true',
  ]);
});

const custodians: readonly [rules: readonly Fields[], warning: string | undefined][] = [
  [
    [{ uid: 2001, roles: ['custodian'] }],
    'uid 2001 is its only custodian: deletion takes two, so that nobody can delete this key',
  ],
  [
    [
      { uid: 2001, roles: ['custodian'] },
      { uid: 2001, roles: ['custodian', 'auditor'] },
    ],
    'uid 2001 is its only custodian: deletion takes two, so that nobody can delete this key',
  ],
  [[{ uid: 1000, roles: ['user'] }], 'no rule gives role custodian: nobody can enable, archive or delete this key'],
  [
    [
      { uid: 2001, roles: ['custodian'] },
      { uid: 2002, roles: ['custodian'] },
    ],
    undefined,
  ],
  [[{ gid: 2001, roles: ['custodian'] }], undefined],
];
for (const [allow, warning] of custodians) {
  test(`custodians ${JSON.stringify(allow)}: ${warning ?? 'enough'}`, (t) => {
    const expected = warning === undefined ? [] : [`keys.orders.allow: ${warning}`];
    t.deepEqual(warnings({}, allow), expected);
    t.deepEqual(warningsOf(base({ profile: 'development', keys: { orders: key('orders', { allow }) } })), []);
  });
}
