import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import test, { type ExecutionContext } from 'ava';
import { checkKeystore, refuseDamaged } from '../../../src/upstream/local/check.ts';
import { openDatabase } from '../../../src/upstream/local/database.ts';
import { edit, makePlace, makeStore, openPlace, type Place, runChild } from './fixture.ts';

const check = (place: Place) => checkKeystore(place.directory, place.options.rootKey);

/** As `KEK "orders" version 2: was changed`, in order. */
function damagesOf(t: ExecutionContext, place: Place): string[] {
  const before = readFileSync(place.database);
  const { damages } = check(place);
  t.deepEqual(readFileSync(place.database), before);
  return damages.map(({ what, problem }) => `${what}: ${problem}`);
}

/** The bytes of every file of the directory, and when each was changed. */
const contents = ({ directory }: Place) =>
  readdirSync(directory)
    .sort()
    .map((name) => [name, readFileSync(`${directory}/${name}`), statSync(`${directory}/${name}`).mtimeMs] as const);

test('a sound store: what is in it, and nothing is changed', async (t) => {
  const place = await makeStore(t);
  const upstream = await openPlace(t, place.options);
  await upstream.changeKek('local:carts', 'disable', 'uid 2001');
  await upstream.changePartition('local:orders', 'orders', new Map([['tenant', 'acme']]), 'disable', 'uid 2001');
  const storeId = upstream.resolve('local:orders').slice('local:'.length, -'/orders'.length);
  await upstream.close();
  chmodSync(place.database, 0o400);
  const before = contents(place);
  const { keks, createdAt, disabledPartitions, ...facts } = check(place);
  t.deepEqual(contents(place), before);
  t.like(facts, { storeId, rootKeyKdf: 'raw', damages: [] });
  const pairs = new Map([['tenant', 'acme']]);
  t.is(disabledPartitions.length, 1);
  t.like(disabledPartitions[0], { kek: 'orders', keyName: 'orders', pairs, disabledBy: 'uid 2001' });
  t.regex(facts.rootKeyId, /^[0-9a-f]{16}$/);
  t.true(createdAt > 1_700_000_000_000);
  t.deepEqual(
    keks.map(({ name, state, versions }) => [name, state, versions.map((one) => `${one.version} ${one.state}`)]),
    [
      ['carts', 'disabled', ['1 active']],
      ['orders', 'active', ['1 decrypt-only', '2 active']],
    ],
  );
  t.notThrows(() => refuseDamaged('here', { ...facts, keks, createdAt, disabledPartitions }, 'nothing was done'));
});

test('no slot of secret memory stays taken, here and when the root key is changed', async (t) => {
  const place = await makeStore(t);
  for (const name of ['wrong.key', 'next.key']) {
    writeFileSync(join(dirname(place.directory), name), randomBytes(32), { mode: 0o600 });
  }
  t.deepEqual(runChild('tools leave slots', place.options), {
    outcomes: ['ok', 'refused', 'refused', 'refused', 'refused', 'ok', 'ok'],
    left: 0,
  });
});

test('every damage is named, not only the first', async (t) => {
  const place = await makeStore(t);
  edit(place, (connection) => {
    connection.exec(`
      UPDATE kek SET labels = '[]' WHERE name = 'orders';
      UPDATE kek_version SET created_at = 1 WHERE kek = 'orders' AND version = 1;
      DELETE FROM kek_version WHERE kek = 'carts';
      INSERT INTO disabled_partition VALUES ('orders', 'orders', '[]', 1, 'uid 1', zeroblob(32));
      CREATE TRIGGER quiet AFTER INSERT ON kek BEGIN UPDATE kek SET state = 'active'; END;
      DROP INDEX one_active_version;
    `);
  });
  t.deepEqual(damagesOf(t, place), [
    'keystore.db: has tables that were changed outside dekd (missing: CREATE UNIQUE INDEX one_active_version ON kek_version)',
    'keystore.db: has tables that were changed outside dekd (added: CREATE TRIGGER quiet AFTER INSERT ON kek BEGIN UPDATE kek SET state)',
    'the record of KEK "orders": was changed outside dekd',
    'the record of KEK "orders" version 1: was changed outside dekd',
    'the record of the disabled partition "[]" of key "orders" under KEK "orders": was changed outside dekd',
    'the record of KEK "carts" version 1: cannot be read, or is missing',
  ]);
  t.throws(() => refuseDamaged('/backups/x', check(place), 'nothing was restored'), {
    name: 'DekdError',
    message:
      /^keystore \/backups\/x: is damaged; nothing was restored:\n(keystore\.db .*\n){2}the record of KEK "orders" was(.*\n){2}/,
  });
});

test('removed and added records are told apart when the file is sound', async (t) => {
  const place = await makeStore(t);
  edit(place, (connection) => {
    connection.exec(`DELETE FROM kek_version WHERE kek = 'carts'; DELETE FROM kek WHERE name = 'carts'`);
  });
  t.deepEqual(damagesOf(t, place), [
    'the record of KEK "carts": is missing: it was removed outside dekd',
    'the record of KEK "carts" version 1: is missing: it was removed outside dekd',
  ]);
});

test('a table that cannot be read: every record that is lost with it', async (t) => {
  const place = await makeStore(t);
  const page = rootPage(place, 'kek_version');
  const bytes = readFileSync(place.database);
  bytes.fill(0xa5, (page - 1) * 4096, page * 4096);
  writeFileSync(place.database, bytes);
  t.deepEqual(damagesOf(t, place), [
    'keystore.db: cannot be read to its end (database disk image is malformed)',
    'the record of KEK "orders" version 1: cannot be read, or is missing',
    'the record of KEK "orders" version 2: cannot be read, or is missing',
    'the record of KEK "carts" version 1: cannot be read, or is missing',
  ]);
});

test('damage that no query meets is found by SQLite itself', async (t) => {
  const place = await makeStore(t);
  const page = rootPage(place, 'one_active_version');
  const bytes = readFileSync(place.database);
  bytes.fill(0x41, page * 4096 - 8, page * 4096);
  writeFileSync(place.database, bytes);
  const damages = damagesOf(t, place);
  t.true(damages.length > 0);
  for (const damage of damages) t.regex(damage, /^keystore\.db: .*one_active_version/);
});

test('any damage of the file is a finding or a clear refusal, never an internal error', async (t) => {
  const original = await makeStore(t);
  const sound = readFileSync(original.database);
  const whole = check(original);
  let found = 0;
  for (let offset = 0; offset < sound.length; offset += 509) {
    const place = makePlace(t);
    mkdirSync(place.directory, { mode: 0o700 });
    const damaged = Buffer.from(sound);
    damaged.fill(0xa5, offset, offset + 64);
    writeFileSync(place.database, damaged, { mode: 0o600 });
    try {
      const report = checkKeystore(place.directory, original.options.rootKey);
      // Free space inside a page: what is read is what was written.
      if (report.damages.length === 0) t.deepEqual(report, whole);
      else found++;
    } catch (error) {
      t.is((error as Error).name, 'DekdError', `${offset}`);
      t.not((error as { reason?: string }).reason, 'INTERNAL', `${offset}: ${(error as Error).message}`);
      found++;
    }
    t.deepEqual(readFileSync(place.database), damaged);
  }
  t.log(`${found} of ${Math.ceil(sound.length / 509)} places were found; the rest is free space`);
  t.true(found > 5);
});

test('a key that does not open is found, though every record verifies', async (t) => {
  // Only dekd itself could write such a record: its MAC is right.
  const place = await makeStore(t);
  const { loadStore } = await import('../../../src/upstream/local/store.ts');
  const { openStoreKeys, freeStoreKeys } = await import('../../../src/upstream/local/store-keys.ts');
  const { RAW } = await import('../../../src/upstream/local/root-key-kdf.ts');
  const { directory } = place;
  const keys = openStoreKeys(place.options.rootKey, { directory, kdf: RAW, isNew: false });
  const store = loadStore(openDatabase(directory), keys);
  const version = store.kek('orders')!.versions.get(1)!;
  store.write({ versions: [{ ...version, wrappedKey: randomBytes(72) }] });
  store.close();
  freeStoreKeys(keys);
  t.deepEqual(damagesOf(t, place), ['the key of KEK "orders" version 1: does not open under this root key']);
});

test('while an agent has it open, nothing is read', async (t) => {
  const place = await makeStore(t);
  // This process's own lock: SQLite knows that another connection has it.
  await openPlace(t, place.options);
  t.throws(() => check(place), {
    name: 'DekdError',
    message: `keystore ${place.directory}: another process (an agent or dekctl) has it open; stop it or wait for it, or use another directory`,
  });
});

test('another root key is told from damage', async (t) => {
  const place = await makeStore(t);
  writeFileSync(place.rootKeyFile, randomBytes(32));
  t.throws(() => check(place), { message: /this root key \(id [0-9a-f]{16}\) is not the store's \(id [0-9a-f]{16}\)/ });
});

test('what is no keystore is refused', (t) => {
  const place = makePlace(t);
  t.throws(() => check(place), {
    message: `keystore ${place.directory}: has no keystore.db; name the directory of a store`,
  });
  const refused = (message: RegExp) => t.throws(() => check(place), { name: 'DekdError', message });
  mkdirSync(place.directory);
  writeFileSync(place.database, '');
  refused(/has no store in it; name the directory of a store/);
  edit(place, (connection) => connection.exec('CREATE TABLE pictures (bytes)'));
  refused(/is the database of another program/);
  writeFileSync(place.database, 'This is a text.\n'.repeat(300));
  refused(/keystore\.db file is not a database; .*the store record is missing|cannot be read to its end/);
});

test('other schemas and journal modes are refused', async (t) => {
  const newer = await makeStore(t);
  edit(newer, (connection) => connection.exec('PRAGMA user_version = 3'));
  t.throws(() => check(newer), { message: /was written by a newer dekd \(schema 3, this one reads 2\)/ });
  const wal = await makeStore(t);
  edit(wal, (connection) => connection.exec('PRAGMA journal_mode = WAL'));
  const files = readdirSync(wal.directory);
  t.throws(() => check(wal), { message: /was switched to a write-ahead log outside dekd/ });
  t.deepEqual(readdirSync(wal.directory), files);
});

test('a killed agent’s journal is undone in a copy: the store is checked as the next start will find it', async (t) => {
  const place = await makeStore(t);
  const sound = readFileSync(place.database);
  const torn = makePlace(t);
  mkdirSync(torn.directory, { mode: 0o700 });
  edit(place, (connection) => tear(connection, place, torn));
  t.notDeepEqual(readFileSync(torn.database), sound);
  const before = contents(torn);
  t.is(before.length, 2);
  const { damages, keks } = checkKeystore(torn.directory, place.options.rootKey);
  t.deepEqual(damages, []);
  t.is(keks.length, 2);
  t.deepEqual(contents(torn), before);

  // Without its journal the half transaction is damage.
  truncateSync(`${torn.database}-journal`);
  t.true(isDamaged(torn, place));
});

/** Copies a store in the middle of a transaction, as a crash leaves it. */
function tear(connection: DatabaseSync, from: Place, to: Place): void {
  connection.exec('PRAGMA cache_size = 1; PRAGMA cache_spill = ON; BEGIN IMMEDIATE');
  connection.exec(
    `UPDATE kek SET labels = hex(randomblob(20000)); UPDATE kek_version SET changed_by = hex(randomblob(20000))`,
  );
  for (const suffix of ['', '-journal']) copyFileSync(`${from.database}${suffix}`, `${to.database}${suffix}`);
  connection.exec('ROLLBACK');
}

function isDamaged(place: Place, { options }: Place): boolean {
  try {
    return checkKeystore(place.directory, options.rootKey).damages.length > 0;
  } catch {
    return true;
  }
}

function rootPage(place: Place, name: string): number {
  let page = 0;
  edit(place, (connection) => {
    page = Number(connection.prepare('SELECT rootpage FROM sqlite_schema WHERE name = ?').get(name)?.['rootpage']);
  });
  return page;
}
