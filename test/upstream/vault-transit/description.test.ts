import test from 'ava';
import { describeKey } from '../../../src/upstream/vault-transit/description.ts';

const KEK = 'vault-transit:transit/keys/orders';
const KEY = {
  type: 'aes256-gcm96',
  derived: false,
  soft_deleted: false,
  latest_version: 10,
  keys: { 9: 1_700_000_009, 10: 1_700_000_010 },
};

test('versions ascend by number', (t) => {
  t.deepEqual(describeKey(KEK, KEY), {
    uri: KEK,
    state: 'active',
    versions: [
      { version: '9', state: 'decrypt-only', createdAt: 1_700_000_009_000 },
      { version: '10', state: 'active', createdAt: 1_700_000_010_000 },
    ],
    labels: new Map(),
  });
});

test('HashiCorp Vault, which has no soft deletion, leaves the field out', (t) => {
  const { soft_deleted: _, ...key } = KEY;
  t.is(describeKey(KEK, key)?.state, 'active');
  t.is(describeKey(KEK, { ...KEY, soft_deleted: true })?.state, 'disabled');
});

test('of very many versions the newest are told', (t) => {
  const keys = Object.fromEntries(Array.from({ length: 3_000 }, (_, index) => [index + 1, 1_700_000_000 + index]));
  const versions = describeKey(KEK, { ...KEY, latest_version: 3_000, keys })?.versions;
  t.is(versions?.length, 1_000);
  t.like(versions?.at(-1), { version: '3000', state: 'active' });
  t.is(versions?.[0]?.version, '2001');
});

const strange: readonly unknown[] = [
  undefined,
  null,
  'text',
  {},
  { ...KEY, type: 7 },
  { ...KEY, keys: null },
  { ...KEY, keys: {} },
  { ...KEY, latest_version: '10' },
  { ...KEY, keys: { '01': 1_700_000_000 } },
  { ...KEY, keys: { 1: '2026-11-24T11:35:25Z' } },
  { ...KEY, keys: { 1: -1 } },
  { ...KEY, keys: { 1: 1e300 } },
];
for (const [index, data] of strange.entries()) {
  test(`not an answer of transit: ${index}`, (t) => {
    t.is(describeKey(KEK, data), undefined);
  });
}

test('a key that says nothing of derivation is none to trust', (t) => {
  const { derived: _, ...key } = KEY;
  t.throws(() => describeKey(KEK, key), { name: 'UpstreamFailure', message: /is derived/ });
});
