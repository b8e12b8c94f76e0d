import { createHmac, hkdfSync } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { createKey, dekId, freeKey } from '../../../src/crypto/native.ts';
import { encodeFields, type Field } from '../../../src/upstream/local/fields.ts';
import { openLocal } from '../../../src/upstream/local/open.ts';
import { SCHEMA_VERSION } from '../../../src/upstream/local/schema.ts';
import { SCHEMA_1 } from '../../../src/upstream/local/schema-1.ts';
import { live, wrapContext } from '../../contract/upstream-context.ts';
import { edit, makePlace, makeStore, openPlace, type Place } from './fixture.ts';

const CONTEXT = wrapContext({ 'dekd:key': 'orders' });

/** `orders` (two versions) and `carts` as schema 1 had them, with DEKs that their versions wrapped. */
async function makeStore1(t: ExecutionContext) {
  const place = await makeStore(t);
  const dek = createKey('dek');
  t.teardown(() => freeKey(dek));
  const upstream = await openPlace(t, place.options);
  const kek = upstream.resolve('local:orders');
  const wrapped = await upstream.wrap(kek, dek, CONTEXT, live());
  await upstream.close();
  downgrade(place);
  return { place, kek, wrapped, dek };
}

/** Writes the store as schema 1 did, with MACs made by other code from the format of that time. */
function downgrade(place: Place): void {
  const recordMac = Buffer.from(
    hkdfSync('sha256', readFileSync(place.rootKeyFile), 'dekd keystore v1', 'record-mac', 32),
  );
  const mac = (fields: Field[]) => createHmac('sha256', recordMac).update(encodeFields(fields)).digest();
  edit(place, (connection) => {
    const rows = (sql: string) => {
      const statement = connection.prepare(sql);
      statement.setReadBigInts(true);
      statement.setReturnArrays(true);
      return statement.all() as unknown as Field[][];
    };
    const [store = []] = rows('SELECT store_id, root_key_id, created_at FROM store');
    const keks = rows('SELECT name, state, created_at, labels FROM kek ORDER BY name');
    const versions = rows('SELECT kek, version, state, created_at, wrapped_key FROM kek_version ORDER BY kek, version');
    connection.exec('DROP TABLE disabled_partition; DROP TABLE kek_version; DROP TABLE kek; DROP TABLE store');
    for (const statement of SCHEMA_1) connection.exec(statement);
    connection.exec('PRAGMA user_version = 1');
    const manifest: [string, string][] = [];
    for (const row of keks) {
      const recordMac = mac(['kek', store[0]!, ...row]);
      connection.prepare('INSERT INTO kek VALUES (?, ?, ?, ?, ?)').run(...row, recordMac);
      manifest.push([String(row[0]), recordMac.toString('hex')]);
    }
    for (const row of versions) {
      const recordMac = mac(['kek_version', store[0]!, ...row]);
      connection.prepare('INSERT INTO kek_version VALUES (?, ?, ?, ?, ?, ?)').run(...row, recordMac);
      manifest.push([`${row[0]}/${row[1]}`, recordMac.toString('hex')]);
    }
    const head = [...store, JSON.stringify(manifest)];
    const sql = 'INSERT INTO store VALUES (1, ?, ?, ?, ?, ?)';
    connection.prepare(sql).run(...head, mac(['store', 1n, ...head]));
  });
}

test('a store of schema 1 is migrated when it is opened, and keeps everything', async (t) => {
  const { place, kek, wrapped, dek } = await makeStore1(t);
  for (let round = 0; round < 2; round++) {
    const upstream = await openPlace(t, place.options);
    t.deepEqual(upstream.warnings, []);
    const orders = await upstream.describe(kek, live());
    t.is(orders.state, 'active');
    t.deepEqual([...orders.labels], [['team', 'payments']]);
    t.deepEqual(
      orders.versions.map(({ version, state }) => `${version} ${state}`),
      ['1 decrypt-only', '2 active'],
    );
    t.is(orders.stateChangedBy, 'migration from schema 1');
    t.is(orders.versions[1]?.createdBy, 'migration from schema 1');
    t.deepEqual(
      (await upstream.listKeks()).map(({ name }) => name),
      ['carts', 'orders'],
    );
    const again = await upstream.unwrap(kek, wrapped, CONTEXT, live());
    t.deepEqual(dekId(again), dekId(dek));
    freeKey(again);
    await upstream.close();
  }
  edit(place, (connection) => {
    t.is(Number(connection.prepare('PRAGMA user_version').get()?.['user_version']), SCHEMA_VERSION);
  });
});

test('a store of schema 1 that was edited is refused by name and stays as it is', async (t) => {
  const EDITS: [sql: string, problem: string][] = [
    [`UPDATE kek SET labels = '[]' WHERE name = 'orders'`, 'KEK "orders" was changed outside dekd'],
    ['UPDATE kek_version SET created_at = 0 WHERE version = 2', 'KEK "orders" version 2 was changed outside dekd'],
    [`DELETE FROM kek_version WHERE kek = 'carts'`, 'KEK "carts" version 1 is missing'],
    [`UPDATE store SET manifest = '[]'`, 'the store record was changed outside dekd'],
    ['DELETE FROM store', 'the store record is missing'],
    ['DROP INDEX one_active_version', 'its tables were changed outside dekd'],
  ];
  for (const [sql, problem] of EDITS) {
    const { place } = await makeStore1(t);
    edit(place, (connection) => connection.exec(sql));
    const before = readFileSync(place.database);
    const error = await t.throwsAsync(openLocal('store', place.options), { name: 'DekdError' });
    t.true(error?.message.includes(problem), error?.message);
    t.deepEqual(readFileSync(place.database), before);
    t.false(existsSync(`${place.database}-journal`));
  }
});

test('a store of schema 1 under another root key is refused', async (t) => {
  const { place } = await makeStore1(t);
  const { rootKeyFile } = makePlace(t);
  await t.throwsAsync(openLocal('store', { ...place.options, rootKey: { file: rootKeyFile } }), {
    name: 'DekdError',
    message: /this root key \(id [0-9a-f]{16}\) is not the store's \(id [0-9a-f]{16}\)/,
  });
});
