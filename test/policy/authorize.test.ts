import test from 'ava';
import { compilePolicy, type Policy } from '../../src/policy/authorize.ts';
import { ADMIN_RPC_ROLES, type AdminRpc, KEY_RPC_ROLES, type KeyRpc, type Role } from '../../src/policy/roles.ts';
import type { Rule } from '../../src/policy/rule.ts';

const OVERFLOW = 65_534;
const caller = (uid: number, gid = uid, groups: readonly number[] = []) => ({ uid, gid, groups });

// Design section 8, written out once more: a slip in the source's table must not be able to pass.
const U = 'user';
const O = 'operator';
const C = 'custodian';
const A = 'auditor';
const SECTION_8: Readonly<Record<KeyRpc, readonly Role[]>> = {
  Encrypt: [U],
  Decrypt: [U],
  GenerateDataKey: [U],
  GenerateDataKeyWithoutPlaintext: [U],
  ReEncrypt: [U],
  EncryptBatch: [U],
  DecryptBatch: [U],
  DescribeKey: [U, O, C, A],
  AdminDescribeKey: [O, C, A],
  RotateKey: [O],
  DisableKey: [O],
  DisablePartition: [O],
  FlushKeyring: [O],
  WarmKeyring: [O],
  Rewrap: [O],
  EnableKey: [C],
  EnablePartition: [C],
  ArchiveKey: [C],
  ScheduleKeyDeletion: [C],
  CancelKeyDeletion: [C],
  StartDrill: [C],
  StopDrill: [C],
  ListKeys: [O, C, A],
  GetStatus: [O, C, A],
};
const ROLES: readonly Role[] = [U, O, C, A];

function policy(
  keys: Record<string, Rule[]>,
  admin: Rule[] = [],
  profile: 'production' | 'development' = 'production',
): Policy {
  return compilePolicy({ keys: new Map(Object.entries(keys)), admin, profile, ownUid: 999 });
}

const everyRole = policy({
  orders: ROLES.map((role, index) => ({ uid: 100 + index, roles: [role] })),
  other: [{ uid: 200, roles: ['user'] }],
});
for (const rpc of Object.keys(KEY_RPC_ROLES) as KeyRpc[]) {
  for (const [index, role] of ROLES.entries()) {
    const expected = SECTION_8[rpc].includes(role);
    test(`${role} ${expected ? 'may' : 'may not'} call ${rpc}, and only on the key that names it`, (t) => {
      t.is(everyRole.may(caller(100 + index), rpc, 'orders'), expected);
      t.false(everyRole.may(caller(100 + index), rpc, 'other'));
    });
  }
}

for (const uid of [0, 999, 65_534, 4_000_000_000]) {
  test(`uid ${uid}, not named, may do nothing in production`, (t) => {
    for (const rpc of Object.keys(KEY_RPC_ROLES) as KeyRpc[]) t.false(everyRole.may(caller(uid), rpc, 'orders'));
    for (const rpc of Object.keys(ADMIN_RPC_ROLES) as AdminRpc[]) t.false(everyRole.mayAdmin(caller(uid), rpc));
    t.deepEqual(everyRole.visibleKeys(caller(uid)), []);
    t.false(everyRole.seesEveryKey(caller(uid)));
  });
}

test('a key that no rule knows is closed, whatever its name', (t) => {
  for (const key of ['nothing', '', '__proto__', 'constructor']) t.false(everyRole.may(caller(100), 'Encrypt', key));
  t.false(everyRole.may(caller(100), 'constructor' as KeyRpc, 'orders'));
});

test('rules add up: by uid, primary and supplementary group', (t) => {
  const added = policy({
    orders: [
      { uid: 1, roles: ['user'], rpcs: ['Encrypt'] },
      { gid: 50, roles: ['user'], rpcs: ['Decrypt'] },
      { gid: 60, roles: ['auditor'] },
    ],
  });
  const both = caller(1, 50, [60]);
  t.true(added.may(both, 'Encrypt', 'orders'));
  t.true(added.may(both, 'Decrypt', 'orders'));
  t.true(added.may(both, 'ListKeys', 'orders'));
  t.false(added.may(both, 'GenerateDataKey', 'orders'));
  t.false(added.may(caller(1), 'Decrypt', 'orders'));
  t.true(added.may(caller(1), 'DescribeKey', 'orders'));
});

test('roles that exclude each other, met in one caller: production keeps user and auditor, development keeps all', (t) => {
  const keys: Record<string, Rule[]> = {
    orders: [
      { uid: 1, roles: ['user'] },
      { gid: 50, roles: ['operator'] },
      { gid: 60, roles: ['custodian'] },
      { gid: 70, roles: ['auditor'] },
    ],
  };
  const met = caller(1, 50, [70]);
  const strict = policy(keys);
  t.true(strict.may(met, 'Encrypt', 'orders'));
  t.false(strict.may(met, 'RotateKey', 'orders'));
  t.true(strict.may(met, 'ListKeys', 'orders'));
  const operatorAndCustodian = caller(2, 50, [60]);
  t.false(strict.may(operatorAndCustodian, 'RotateKey', 'orders'));
  t.false(strict.may(operatorAndCustodian, 'ArchiveKey', 'orders'));
  t.true(strict.may(caller(2, 50), 'RotateKey', 'orders'));
  const loose = policy(keys, [], 'development');
  t.true(loose.may(met, 'Encrypt', 'orders'));
  t.true(loose.may(met, 'RotateKey', 'orders'));
});

test('what is archived opens per rule, to role user alone, and adds up like the rest', (t) => {
  const keys: Record<string, Rule[]> = {
    orders: [
      { uid: 1, roles: [U] },
      { uid: 2, roles: [U], archived: true },
      { uid: 3, roles: [U], rpcs: ['Decrypt'], archived: true },
      { uid: 4, roles: [U], archived: false },
      { gid: 50, roles: [U], rpcs: ['Decrypt'], archived: true },
      { uid: 5, roles: [O], archived: true },
      { gid: 60, roles: [O] },
    ],
    other: [{ uid: 2, roles: [U] }],
  };
  const strict = policy(keys);
  const may = (who: ReturnType<typeof caller>, key = 'orders') => strict.mayUseArchived(who, key);
  t.deepEqual(
    [1, 2, 3, 4, 5, 6].map((uid) => may(caller(uid))),
    [false, true, true, false, false, false],
  );
  t.true(may(caller(1, 50)), 'through a group');
  t.true(may(caller(2, 60)), 'role user stays with it when roles exclude each other');
  t.false(may(caller(2), 'other'));
  t.false(may(caller(2), 'absent'));
  t.false(may(caller(OVERFLOW, 50)));
  t.false(may(caller(0)), 'root gets nothing for free');
  t.false(strict.may(caller(3), 'Encrypt', 'orders'), 'it gives no call');
  const loose = policy(keys, [], 'development');
  t.true(loose.mayUseArchived(caller(0), 'orders'));
  t.true(loose.mayUseArchived(caller(999), 'orders'));
  t.false(loose.mayUseArchived(caller(1), 'orders'));
});

test('admin rules give what has no key, by role, and nothing on a key', (t) => {
  const admin = policy({ orders: [{ uid: 1, roles: ['user'] }] }, [
    { uid: 2, roles: ['custodian'] },
    { uid: 3, roles: ['operator'] },
    { gid: 44, roles: ['auditor'] },
    { uid: 5, roles: ['user'] },
  ]);
  const allowed = (who: ReturnType<typeof caller>) =>
    (Object.keys(ADMIN_RPC_ROLES) as AdminRpc[]).filter((rpc) => admin.mayAdmin(who, rpc)).sort();
  t.deepEqual(allowed(caller(1)), []);
  t.deepEqual(allowed(caller(2)), ['CreateKey', 'GetStatus', 'ListKeys']);
  t.deepEqual(allowed(caller(3)), ['BackupKeystore', 'GetStatus', 'ListKeys', 'ReloadConfig']);
  t.deepEqual(allowed(caller(4, 44)), ['GetStatus', 'ListKeys']);
  t.deepEqual(allowed(caller(5)), []);
  t.false(admin.may(caller(2), 'DescribeKey', 'orders'));
  t.deepEqual(admin.visibleKeys(caller(2)), []);
});

test('listing: operators, custodians and auditors see their keys only; users see none', (t) => {
  const listing = policy({
    b: [{ uid: 1, roles: ['auditor'] }],
    a: [
      { uid: 1, roles: ['operator'] },
      { uid: 2, roles: ['user'] },
      { uid: 3, roles: ['custodian'] },
    ],
  });
  t.deepEqual(listing.visibleKeys(caller(1)), ['a', 'b']);
  t.true(listing.mayList(caller(1)));
  t.true(listing.seesEveryKey(caller(1)));
  t.deepEqual(listing.visibleKeys(caller(3)), ['a']);
  t.true(listing.mayList(caller(3)));
  t.true(listing.mayAdmin(caller(3), 'GetStatus'));
  t.false(listing.seesEveryKey(caller(3)));
  t.deepEqual(listing.visibleKeys(caller(2)), []);
  t.false(listing.mayList(caller(2)));
});

test('without keys nobody sees every key', (t) => {
  t.false(policy({}).seesEveryKey(caller(1)));
});

test('development: root and dekd itself hold every role on every key, others do not', (t) => {
  const open = policy({ orders: [{ uid: 1, roles: ['user'] }] }, [], 'development');
  for (const uid of [0, 999]) {
    for (const rpc of Object.keys(KEY_RPC_ROLES) as KeyRpc[]) t.true(open.may(caller(uid), rpc, 'orders'));
    for (const rpc of Object.keys(ADMIN_RPC_ROLES) as AdminRpc[]) t.true(open.mayAdmin(caller(uid), rpc));
    t.true(open.seesEveryKey(caller(uid)));
  }
  t.true(open.may(caller(1), 'Encrypt', 'orders'));
  t.false(open.may(caller(1), 'RotateKey', 'orders'));
  t.false(open.may(caller(65_534), 'Encrypt', 'orders'));
});

test('a key added later opens to callers that are connected already, and to nobody else', (t) => {
  const growing = policy({ orders: [{ uid: 1, roles: ['user'] }] });
  const connected = caller(1);
  t.false(growing.may(connected, 'Encrypt', 'invoices'));
  growing.addKey('invoices', [{ uid: 1, roles: ['user'] }]);
  t.true(growing.may(connected, 'Encrypt', 'invoices'));
  t.false(growing.may(caller(2), 'Encrypt', 'invoices'));
});

test('known is whom any rule names, by uid or by group, and in development root and dekd itself', (t) => {
  const options = {
    keys: new Map<string, readonly Rule[]>([
      [
        'orders',
        [
          { uid: 1, roles: [U] },
          { gid: 7, roles: [A] },
        ],
      ],
    ]),
    admin: [{ uid: 2, roles: [C] }] as Rule[],
    ownUid: 4000,
  };
  const production = compilePolicy({ ...options, profile: 'production' });
  const development = compilePolicy({ ...options, profile: 'development' });
  for (const one of [caller(1), caller(2), caller(9, 7), caller(9, 9, [8, 7])]) t.true(production.knows(one));
  for (const one of [caller(0), caller(7, 8), caller(4000), caller(65_534, 7)]) t.false(production.knows(one));
  t.true(development.knows(caller(0)));
  t.true(development.knows(caller(4000)));
  t.false(development.knows(caller(3)));
  production.addKey('new', [{ uid: 3, roles: [U] }]);
  t.true(production.knows(caller(3)));
});

test('roles of `admin` that meet `user` of a key, or each other, through a group shrink to an auditor’s, save in development', (t) => {
  const options = {
    keys: new Map<string, readonly Rule[]>([['orders', [{ gid: 7, roles: [U], rpcs: ['Encrypt'] }]]]),
    admin: [
      { uid: 1, roles: [C] },
      { uid: 2, roles: [O] },
      { gid: 8, roles: [O] },
    ] as Rule[],
    ownUid: 4000,
  };
  const production = compilePolicy({ ...options, profile: 'production' });
  const allowed = (policy: Policy, who: ReturnType<typeof caller>) =>
    (Object.keys(ADMIN_RPC_ROLES) as AdminRpc[]).filter((rpc) => policy.mayAdmin(who, rpc)).sort();
  const SEES = ['GetStatus', 'ListKeys'];
  t.deepEqual(allowed(production, caller(1)), ['CreateKey', ...SEES]);
  t.deepEqual(allowed(production, caller(2, 8)), ['BackupKeystore', ...SEES, 'ReloadConfig']);
  for (const met of [caller(1, 7), caller(1, 1, [7]), caller(2, 7)]) {
    t.deepEqual(allowed(production, met), SEES, 'uses a key');
    t.true(production.may(met, 'Encrypt', 'orders'));
  }
  t.deepEqual(allowed(production, caller(1, 8)), SEES, 'operator and custodian');
  const development = compilePolicy({ ...options, profile: 'development' });
  t.deepEqual(allowed(development, caller(1, 7, [8])), ['BackupKeystore', 'CreateKey', ...SEES, 'ReloadConfig']);
});

test('whoever a rule of `admin` names administers; a key’s roles do not', (t) => {
  const policy = compilePolicy({
    keys: new Map<string, readonly Rule[]>([['orders', [{ uid: 2, roles: [A] }]]]),
    admin: [{ uid: 1, roles: [A] }],
    profile: 'production',
    ownUid: 4000,
  });
  t.deepEqual(
    [1, 2, 3, 0].map((uid) => policy.administers(caller(uid))),
    [true, false, false, false],
  );
});
