import test from 'ava';
import { parseVaultKek, resolveVaultKek } from '../../../src/upstream/vault-transit/uri.ts';

const good: readonly [reference: string, mount: string, name: string][] = [
  ['vault-transit:transit/keys/orders', 'transit', 'orders'],
  ['vault-transit:team-a/transit/keys/orders', 'team-a/transit', 'orders'],
  ['vault-transit:a/b/c.d/keys/Orders.2_x-y', 'a/b/c.d', 'Orders.2_x-y'],
  ['vault-transit:keys/keys/k', 'keys', 'k'],
  ['vault-transit:transit/keys/keys/keys', 'transit/keys', 'keys'],
];
for (const [reference, mount, name] of good) {
  test(`${reference} is its own normal form`, (t) => {
    t.deepEqual(parseVaultKek(reference), { mount, name });
    t.is(resolveVaultKek(reference, {}), reference);
  });
}

const bad = [
  '',
  'nonsense',
  'local:orders',
  'vault-transit:',
  'vault-transit:orders',
  'vault-transit:transit/orders',
  'vault-transit:keys/orders',
  'vault-transit:/keys/orders',
  'vault-transit:transit/keys/',
  'vault-transit:/transit/keys/orders',
  'vault-transit:transit//keys/orders',
  'vault-transit:transit/keys/orders/',
  'vault-transit:../sys/keys/orders',
  'vault-transit:a/../b/keys/orders',
  'vault-transit:a/./b/keys/orders',
  'vault-transit:transit/keys/..',
  'vault-transit:transit/keys/-orders',
  'vault-transit:transit/keys/orders.',
  'vault-transit:transit/keys/or%64ers',
  'vault-transit:tran sit/keys/orders',
  'vault-transit:transit?x=/keys/orders',
  'vault-transit:transit#/keys/orders',
  'vault-transit:http://host/v1/transit/keys/orders',
  'vault-transit:transit/keys/orders\n',
  'vault-transit:transit\r\nx: y/keys/orders',
  'vault-transit:trансit/keys/orders',
  'VAULT-TRANSIT:transit/keys/orders',
  `vault-transit:${'a/'.repeat(300)}keys/orders`,
];
for (const reference of bad) {
  test(`${JSON.stringify(reference.slice(0, 60))} is no KEK`, (t) => {
    const error = t.throws(() => parseVaultKek(reference), {
      name: 'DekdError',
      message: /^kek: ".*write vault-transit:MOUNT\/keys\/NAME/s,
    });
    t.true((error?.message.length ?? 0) < 600);
  });
}

test('a KEK lies inside the namespace of the login', (t) => {
  const options = { namespace: 'team-a' };
  for (const mount of ['team-a/transit', 'team-a/below/transit']) {
    t.is(resolveVaultKek(`vault-transit:${mount}/keys/k`, options), `vault-transit:${mount}/keys/k`);
  }
  for (const mount of ['transit', 'team-b/transit', 'team-ab/transit', 'team-a']) {
    t.throws(() => resolveVaultKek(`vault-transit:${mount}/keys/k`, options), {
      message: `kek: vault-transit:${mount}/keys/k lies outside namespace team-a of its upstream; did you mean vault-transit:team-a/${mount}/keys/k?`,
    });
  }
});

test('a long reference is judged in no time', (t) => {
  const startedAtMs = performance.now();
  t.throws(() => parseVaultKek(`vault-transit:${'a'.repeat(100_000)}/keys/`));
  t.throws(() => parseVaultKek(`vault-transit:${'a/'.repeat(255)}\u0000/keys/k`));
  t.true(performance.now() - startedAtMs < 500);
});
