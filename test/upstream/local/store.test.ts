import { createHmac, hkdfSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { DatabaseSync, SQLInputValue } from 'node:sqlite';
import test, { type ExecutionContext } from 'ava';
import { openLocal } from '../../../src/upstream/local/open.ts';
import { edit, kekRecord, makePlace, makeStore, openPlace, openStore, type Place } from './fixture.ts';

/** Opens an edited store: refused with a message that has all of `parts`, and the file left exactly as it was found. */
async function refusedAs(t: ExecutionContext, place: Place, ...parts: string[]): Promise<void> {
  const before = readFileSync(place.database);
  const error = await t.throwsAsync(openLocal('store', place.options), { name: 'DekdError' });
  t.is((error as unknown as { reason: string }).reason, 'UPSTREAM_FAULT');
  for (const part of [`upstream store: keystore ${place.directory}: `, ...parts]) {
    t.true(error?.message.includes(part), `${error?.message} has no ${part}`);
  }
  t.deepEqual(readFileSync(place.database), before);
}

function run(sql: string, ...values: SQLInputValue[]): (connection: DatabaseSync) => void {
  return (connection) => {
    const { changes } = connection.prepare(sql).run(...values);
    if (changes === 0) throw new Error('the edit changed no row, so the test would prove nothing');
  };
}

const EDITS: readonly { name: string; sql: string; record: string }[] = [
  { name: 'KEK state', sql: `UPDATE kek SET state = 'archived' WHERE name = 'orders'`, record: 'KEK "orders"' },
  { name: 'KEK time', sql: `UPDATE kek SET created_at = created_at - 1 WHERE name = 'orders'`, record: 'KEK "orders"' },
  {
    name: 'KEK labels',
    sql: `UPDATE kek SET labels = '[["team","fraud"]]' WHERE name = 'orders'`,
    record: 'KEK "orders"',
  },
  {
    name: 'KEK labels, by a space',
    sql: `UPDATE kek SET labels = labels || ' ' WHERE name = 'orders'`,
    record: 'KEK "orders"',
  },
  { name: 'KEK MAC', sql: `UPDATE kek SET mac = zeroblob(32) WHERE name = 'orders'`, record: 'KEK "orders"' },
  { name: 'KEK name', sql: `UPDATE kek SET name = 'stolen' WHERE name = 'carts'`, record: 'KEK "stolen"' },
  {
    name: 'version state',
    sql: `UPDATE kek_version SET state = 'archived' WHERE version = 2`,
    record: 'KEK "orders" version 2',
  },
  {
    name: 'version time',
    sql: 'UPDATE kek_version SET created_at = 0 WHERE version = 2',
    record: 'KEK "orders" version 2',
  },
  {
    name: 'version number',
    sql: 'UPDATE kek_version SET version = 3 WHERE version = 2',
    record: 'KEK "orders" version 3',
  },
  {
    name: 'version MAC',
    sql: 'UPDATE kek_version SET mac = zeroblob(32) WHERE version = 2',
    record: 'KEK "orders" version 2',
  },
  {
    name: 'version key, by another one',
    sql: `UPDATE kek_version SET wrapped_key = (SELECT wrapped_key FROM kek_version WHERE kek = 'carts') WHERE version = 2`,
    record: 'KEK "orders" version 2',
  },
];

for (const { name, sql, record } of EDITS) {
  test(`an edited ${name} is refused by name`, async (t) => {
    const place = await makeStore(t);
    edit(place, run(sql));
    await refusedAs(t, place, `the record of ${record} was changed outside dekd`);
  });
}

test('a version moved to another KEK is refused by name', async (t) => {
  const place = await makeStore(t);
  edit(place, (connection) => {
    run(`DELETE FROM kek_version WHERE kek = 'carts'`)(connection);
    run(`UPDATE kek_version SET kek = 'carts' WHERE version = 2`)(connection);
  });
  await refusedAs(t, place, 'the record of KEK "carts" version 2 was changed outside dekd');
});

test('a KEK record copied under another name is refused by name', async (t) => {
  const place = await makeStore(t);
  edit(
    place,
    run(`INSERT INTO kek SELECT 'double', state, state_before, created_at, changed_at, changed_by, labels, deletion_by,
    deletion_waiting_ms, deletion_requested_at, deletion_at, mac FROM kek WHERE name = 'carts'`),
  );
  await refusedAs(t, place, 'the record of KEK "double" was changed outside dekd');
});

test('removed records are refused by name', async (t) => {
  const version = await makeStore(t);
  edit(version, run('DELETE FROM kek_version WHERE version = 2'));
  await refusedAs(t, version, 'the record of KEK "orders" version 2 is missing: it was removed outside dekd');

  const kek = await makeStore(t);
  edit(kek, run(`DELETE FROM kek WHERE name = 'carts'`));
  await refusedAs(t, kek, 'the record of KEK "carts" is missing');

  const both = await makeStore(t);
  edit(both, (connection) => {
    run(`DELETE FROM kek_version WHERE kek = 'carts'`)(connection);
    run(`DELETE FROM kek WHERE name = 'carts'`)(connection);
  });
  await refusedAs(t, both, 'the record of KEK "carts" is missing');
});

test('one record put back from an older copy is refused by name', async (t) => {
  const place = await makeStore(t);
  let older: Record<string, SQLInputValue> = {};
  edit(place, (connection) => {
    older = connection.prepare(`SELECT * FROM kek_version WHERE version = 2`).get() as Record<string, SQLInputValue>;
  });
  const upstream = await openPlace(t, place.options);
  await upstream.rotateKek('local:orders', 'uid 2001');
  await upstream.close();
  // Version 2 is active again, so version 3 has to go: a rotation undone, each remaining record genuine.
  edit(place, (connection) => {
    run('DELETE FROM kek_version WHERE version = 3')(connection);
    const columns = ['state', 'changed_at', 'changed_by', 'mac'] as const;
    const sql = `UPDATE kek_version SET ${columns.map((column) => `${column} = ?`).join(', ')} WHERE version = 2`;
    run(sql, ...columns.map((column) => older[column]!))(connection);
  });
  await refusedAs(t, place, 'the record of KEK "orders" version 2 is not the one in the store record', 'older copy');
});

test('a record that was once removed and is put back is refused by name', async (t) => {
  const place = await makeStore(t);
  let head: Record<string, SQLInputValue> = {};
  edit(place, (connection) => {
    head = connection.prepare('SELECT manifest, mac FROM store').get() as Record<string, SQLInputValue>;
  });
  const upstream = await openPlace(t, place.options);
  await upstream.createKek('later', new Map(), 'uid 2001');
  await upstream.close();
  // The store record of yesterday does not know what was made today.
  edit(place, run('UPDATE store SET manifest = ?, mac = ?', head['manifest']!, head['mac']!));
  await refusedAs(t, place, 'the record of KEK "later" is not in the store record: it was added outside dekd');
});

test('an edited store record is refused', async (t) => {
  for (const sql of [
    'UPDATE store SET created_at = created_at + 1',
    `UPDATE store SET store_id = '0123456789abcdef'`,
    'UPDATE store SET mac = zeroblob(32)',
    'UPDATE store SET root_key_id = zeroblob(32)',
    `UPDATE store SET manifest = '[]'`,
    `UPDATE store SET manifest = 'not even JSON'`,
  ]) {
    const place = await makeStore(t);
    edit(place, run(sql));
    await refusedAs(t, place, 'the store record was changed outside dekd; put back a backup of the directory');
  }
  const place = await makeStore(t);
  edit(place, run('DELETE FROM store'));
  await refusedAs(t, place, 'the store record is missing');
});

test('records of another store under the same root key do not fit', async (t) => {
  const place = await makeStore(t);
  const other = makePlace(t);
  const upstream = await openPlace(t, { ...place.options, directory: other.directory });
  await upstream.createKek('orders', new Map(), 'uid 2001');
  await upstream.close();
  let row: Record<string, SQLInputValue> = {};
  edit(other, (connection) => {
    row = connection.prepare('SELECT wrapped_key, mac FROM kek_version').get() as Record<string, SQLInputValue>;
  });
  const sql = `UPDATE kek_version SET wrapped_key = ?, mac = ? WHERE kek = 'orders' AND version = 1`;
  edit(place, run(sql, row['wrapped_key']!, row['mac']!));
  await refusedAs(t, place, 'the record of KEK "orders" version 1 was changed outside dekd');
});

test('another root key is told from an edited record', async (t) => {
  const place = await makeStore(t);
  const { rootKeyFile } = makePlace(t);
  const wrong = { ...place, options: { ...place.options, rootKey: { file: rootKeyFile } } };
  await refusedAs(
    t,
    wrong,
    `this root key (id ${rootKeyId(readFileSync(rootKeyFile)).subarray(0, 8).toString('hex')})`,
    `is not the store's (id ${rootKeyId(readFileSync(place.rootKeyFile)).subarray(0, 8).toString('hex')})`,
  );
});

test('ids and MACs are those of docs/upstreams/local.md, computed by other code', async (t) => {
  const place = await makeStore(t);
  const rootKey = readFileSync(place.rootKeyFile);
  edit(place, (connection) => {
    const store = connection.prepare('SELECT * FROM store').get() as Record<string, never>;
    t.deepEqual(Buffer.from(store['root_key_id']!), rootKeyId(rootKey));
    const id = store['store_id']!;
    const head = [
      'store',
      2n,
      id,
      store['root_key_id']!,
      'raw',
      null,
      BigInt(store['created_at']!),
      store['manifest']!,
    ];
    t.deepEqual(Buffer.from(store['mac']!), recordMac(rootKey, head));

    const manifest: Record<string, string> = {};
    for (const row of connection.prepare('SELECT * FROM kek').all() as Record<string, never>[]) {
      const times = [BigInt(row['created_at']!), BigInt(row['changed_at']!)];
      const deletion = [null, null, null, null];
      const fields = ['kek', id, row['name']!, row['state']!, null, ...times, row['changed_by']!, row['labels']!];
      t.deepEqual(Buffer.from(row['mac']!), recordMac(rootKey, [...fields, ...deletion]));
      manifest[row['name']!] = Buffer.from(row['mac']!).toString('hex');
    }
    for (const row of connection.prepare('SELECT * FROM kek_version').all() as Record<string, never>[]) {
      const version = BigInt(row['version']!);
      const made = [BigInt(row['created_at']!), row['created_by']!];
      const changed = [BigInt(row['changed_at']!), row['changed_by']!];
      const fields = ['kek_version', id, row['kek']!, version, row['state']!, ...made, ...changed, row['wrapped_key']!];
      t.deepEqual(Buffer.from(row['mac']!), recordMac(rootKey, fields));
      manifest[`${row['kek']!}/${version}`] = Buffer.from(row['mac']!).toString('hex');
    }
    t.deepEqual(Object.fromEntries(JSON.parse(store['manifest']!) as [string, string][]), manifest);
    t.is(Object.keys(manifest).length, 5);
  });
});

test('the root key is nowhere in the keystore', async (t) => {
  const place = await makeStore(t);
  const rootKey = readFileSync(place.rootKeyFile);
  const file = readFileSync(place.database);
  for (const label of ['', 'kek-wrap', 'record-mac', 'root-key-id']) {
    const key = label === '' ? rootKey : derive(rootKey, label);
    for (const text of [key, key.toString('hex'), key.toString('base64')]) t.is(file.indexOf(text), -1, label);
  }
  t.true(file.includes(rootKeyId(rootKey)));
});

const SALT = 'dekd keystore v1';

function derive(rootKey: Buffer, label: string): Buffer {
  return Buffer.from(hkdfSync('sha256', rootKey, SALT, label, 32));
}

function rootKeyId(rootKey: Buffer): Buffer {
  return createHmac('sha256', derive(rootKey, 'root-key-id')).update(SALT).digest();
}

function recordMac(rootKey: Buffer, fields: readonly (string | bigint | Uint8Array | null)[]): Buffer {
  const mac = createHmac('sha256', derive(rootKey, 'record-mac')).update(u32(fields.length));
  for (const field of fields) {
    if (typeof field === 'string')
      mac
        .update(Buffer.of(2))
        .update(u32(Buffer.byteLength(field)))
        .update(field);
    else if (typeof field === 'bigint') {
      const bytes = Buffer.alloc(8);
      bytes.writeBigInt64BE(field);
      mac.update(Buffer.of(1)).update(u32(8)).update(bytes);
    } else if (field === null) mac.update(Buffer.of(0)).update(u32(0));
    else mac.update(Buffer.of(3)).update(u32(field.length)).update(field);
  }
  return mac.digest();
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

test('a change whose first record does not fit is not taken for one that is on the disk', (t) => {
  const place = makePlace(t);
  const { store, database } = openStore(t, place);
  store.write({ keks: [kekRecord('first')] });
  const { page_count: pages } = database.connection.prepare('PRAGMA page_count').get() as { page_count: number };
  database.connection.exec(`PRAGMA max_page_count = ${pages}`);
  const labels = new Map([['note', 'x'.repeat(20_000)]]);
  t.throws(() => store.write({ keks: [kekRecord('large', { labels })] }), { message: /full/ });
  t.is(store.kek('large'), undefined);
  store.close();
  const again = openStore(t, place).store;
  t.deepEqual(again.names(), ['first']);
});
