import test from 'ava';
import { describeRecord, KEKS, type KekRecord, PARTITIONS, VERSIONS } from '../../../src/upstream/local/records.ts';

test('a KEK becomes a row and the same KEK again', (t) => {
  const kek: KekRecord = {
    name: 'orders',
    state: 'active',
    stateBefore: null,
    createdAt: 1_790_000_000_000,
    changedAt: 1_790_000_000_001,
    changedBy: 'uid 2001',
    labels: new Map([
      ['team', 'payments "and" \u0000 more'],
      ['__proto__', ''],
    ]),
    deletion: null,
  };
  const request = { requestedBy: ['uid 2001'], waitingPeriodMs: 7 * 86_400_000, requestedAt: 5, at: null };
  const pending = {
    ...kek,
    state: 'pending-deletion' as const,
    stateBefore: 'archived' as const,
    deletion: { ...request, requestedBy: ['uid 2001', 'uid 2002'], at: 6 },
  };
  for (const record of [kek, { ...kek, deletion: request }, pending]) {
    t.deepEqual(KEKS.fromRow(KEKS.toRow(record)), record);
  }
});

test('a version and a disabled partition become rows and the same again', (t) => {
  const version = {
    kek: 'orders',
    version: 12,
    state: 'active' as const,
    createdAt: 5,
    createdBy: 'uid 2001',
    changedAt: 6,
    changedBy: 'rotation schedule',
    wrappedKey: new Uint8Array(72),
  };
  t.deepEqual(VERSIONS.fromRow(VERSIONS.toRow(version)), version);
  const destroyed = { ...version, state: 'destroyed' as const, wrappedKey: null };
  t.deepEqual(VERSIONS.fromRow(VERSIONS.toRow(destroyed)), destroyed);
  const partition = { kek: 'orders', keyName: 'o', pairs: '[["a:b","c"]]', disabledAt: 7, disabledBy: 'uid 2001' };
  t.deepEqual(PARTITIONS.fromRow(PARTITIONS.toRow(partition)), partition);
});

test('ids name a record in the manifest and in messages', (t) => {
  t.is(KEKS.idOf(['orders', 'active']), 'orders');
  const partition = PARTITIONS.idOf(['orders', 'carts', '[["tenant","a:b\n"]]']);
  t.is(
    describeRecord(partition),
    'the disabled partition "[[\\"tenant\\",\\"a:b\\n\\"]]" of key "carts" under KEK "orders"',
  );
  t.is(VERSIONS.idOf(['orders', 12n]), 'orders/12');
  t.is(describeRecord('orders'), 'KEK "orders"');
  t.is(describeRecord('orders/12'), 'KEK "orders" version 12');
  // A name that somebody wrote into the file cannot forge a second line of a log.
  t.is(describeRecord('or\nders/12'), 'KEK "or\\nders" version 12');
});
