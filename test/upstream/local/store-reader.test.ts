import { writeFileSync } from 'node:fs';
import test from 'ava';
import { readRows } from '../../../src/upstream/local/database.ts';
import { kekRecord, makePlace, openStore, versionRecord } from './fixture.ts';

const PARTITION = {
  kek: 'orders',
  keyName: 'orders',
  pairs: '[["tenant","acme"]]',
  disabledAt: 1,
  disabledBy: 'uid 2001',
};

test('a backup is the whole store, and is verified before it is given away', (t) => {
  const place = makePlace(t);
  const { store, database } = openStore(t, place);
  store.write({ keks: [kekRecord('orders')], versions: [versionRecord('orders')], partitions: [PARTITION] });
  const copy = makePlace(t);
  const bytes = store.backup();
  t.is(bytes.subarray(0, 15).toString(), 'SQLite format 3');
  openStore(t, copy).store.close();
  writeFileSync(copy.database, bytes);
  const rootKey = place.options.rootKey;
  const restored = openStore(t, { ...copy, options: { ...copy.options, rootKey } }).store;
  t.is(restored.id, store.id);
  t.deepEqual(restored.kek('orders'), store.kek('orders'));
  // It holds no lock and no transaction.
  store.write({ keks: [kekRecord('carts')] });
  t.deepEqual(readRows(database.connection, 'SELECT name FROM kek ORDER BY name'), [['carts'], ['orders']]);

  database.connection.exec(`UPDATE kek SET changed_by = 'somebody' WHERE name = 'orders'`);
  t.throws(() => store.backup(), { name: 'DekdError', message: /the record of KEK "orders" was changed outside dekd/ });
  database.connection.exec(`UPDATE kek SET changed_by = 'uid 2001' WHERE name = 'orders'`);
  t.true(store.backup().length > 0);
});

test('a backup of a file that was put back while it was open is refused', (t) => {
  const place = makePlace(t);
  const { store, database } = openStore(t, place);
  store.write({ keks: [kekRecord('orders')] });
  const [head] = readRows(database.connection, 'SELECT manifest, mac FROM store');
  store.write({ keks: [kekRecord('carts')] });
  database.connection.prepare('UPDATE store SET manifest = ?, mac = ?').run(...(head as [string, Uint8Array]));
  database.connection.exec(`DELETE FROM kek WHERE name = 'carts'`);
  t.throws(() => store.backup(), { message: /was put back from an older copy while it was open/ });
});

test('a backup of a damaged file is refused', (t) => {
  const place = makePlace(t);
  const { store, database } = openStore(t, place);
  store.write({ keks: [kekRecord('orders')] });
  const sound = database.connection.serialize();
  // The head of the last page: no tree of SQLite's any more.
  const broken = Buffer.from(sound);
  broken.fill(0xff, sound.length - 4096, sound.length - 4088);
  database.connection.serialize = () => new Uint8Array(broken);
  t.throws(() => store.backup(), {
    name: 'DekdError',
    message: /keystore\.db is damaged \([\s\S]+\); put back a backup/,
  });
});
