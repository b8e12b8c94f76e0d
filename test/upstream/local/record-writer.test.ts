import test from 'ava';
import { createKey, freeKey, hmac } from '../../../src/crypto/native.ts';
import { createSchema, openDatabase, readRows } from '../../../src/upstream/local/database.ts';
import { recordBytes } from '../../../src/upstream/local/record-checker.ts';
import { RecordWriter } from '../../../src/upstream/local/record-writer.ts';
import { KEKS, PARTITIONS, VERSIONS } from '../../../src/upstream/local/records.ts';
import { kekRecord, makePlace, versionRecord } from './fixture.ts';

const STORE = '0123456789abcdef';

test('records are added, replaced and removed, each with its MAC, and the manifest keeps pace', (t) => {
  const { connection } = openDatabase(makePlace(t).directory);
  createSchema(connection);
  const recordMac = createKey('raw');
  t.teardown(() => freeKey(recordMac));
  const writer = new RecordWriter(connection, STORE, recordMac, new Map());
  const partition = { kek: 'orders', keyName: 'orders', pairs: '[["a","b"]]', disabledAt: 1, disabledBy: 'uid 1' };
  writer.write(KEKS, [kekRecord('orders'), kekRecord('carts')]);
  writer.write(VERSIONS, [versionRecord('orders'), versionRecord('orders', 2, { state: 'decrypt-only' })]);
  writer.write(PARTITIONS, [partition, { ...partition, keyName: 'carts' }]);
  writer.write(KEKS, [kekRecord('carts', { state: 'archived' })]);
  writer.remove(PARTITIONS, [partition]);

  const expected = new Map<string, string>();
  for (const table of [KEKS, VERSIONS, PARTITIONS]) {
    for (const columns of readRows(connection, table.select)) {
      const row = columns.slice(0, -1);
      const mac = hmac(recordMac, recordBytes(table.name, STORE, row));
      t.deepEqual(Buffer.from(columns.at(-1) as Uint8Array), mac);
      expected.set(table.idOf(row), mac.toString('hex'));
    }
  }
  t.is(expected.size, 5);
  t.deepEqual(new Map([...writer.manifest].sort()), new Map([...expected].sort()));
  t.deepEqual(readRows(connection, 'SELECT state FROM kek ORDER BY name'), [['archived'], ['active']]);
  connection.close();
});
