import test from 'ava';
import { describeRecord, KEKS, VERSIONS } from '../../../src/upstream/local/records.ts';

test('a record becomes a row and the same record again', (t) => {
  const kek = {
    name: 'orders',
    state: 'pending-deletion' as const,
    createdAt: 1_790_000_000_000,
    labels: new Map([
      ['team', 'payments "and" \u0000 more'],
      ['__proto__', ''],
    ]),
  };
  t.deepEqual(KEKS.fromRow(KEKS.toRow(kek)), kek);
  const version = {
    kek: 'orders',
    version: 12,
    state: 'active' as const,
    createdAt: 5,
    wrappedKey: new Uint8Array(72),
  };
  t.deepEqual(VERSIONS.fromRow(VERSIONS.toRow(version)), version);
  const destroyed = { ...version, state: 'destroyed' as const, wrappedKey: null };
  t.deepEqual(VERSIONS.fromRow(VERSIONS.toRow(destroyed)), destroyed);
});

test('ids name a record in the manifest and in messages', (t) => {
  t.is(KEKS.idOf(['orders', 'active']), 'orders');
  t.is(VERSIONS.idOf(['orders', 12n]), 'orders/12');
  t.is(describeRecord('orders'), 'KEK "orders"');
  t.is(describeRecord('orders/12'), 'KEK "orders" version 12');
  // A name that somebody wrote into the file cannot forge a second line of a log.
  t.is(describeRecord('or\nders/12'), 'KEK "or\\nders" version 12');
});
