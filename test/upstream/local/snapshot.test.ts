import { chmodSync, copyFileSync, readdirSync } from 'node:fs';
import { dirname } from 'node:path';
import test from 'ava';
import { openDatabase } from '../../../src/upstream/local/database.ts';
import { SCHEMA } from '../../../src/upstream/local/schema.ts';
import { readSnapshot } from '../../../src/upstream/local/snapshot.ts';
import { edit, makePlace, makeStore, runChild } from './fixture.ts';

// What check.ts makes of a snapshot, damage included, is in check.test.ts.

test('every table is read, the store record apart', async (t) => {
  const { database } = await makeStore(t);
  const { head, rows, damages } = readSnapshot('here', database);
  t.deepEqual(damages, []);
  t.is(head?.length, 7);
  const tables = SCHEMA.flatMap((statement) => /^CREATE TABLE (\w+)/.exec(statement)?.[1] ?? []);
  t.deepEqual(['store', ...rows.keys()].sort(), tables.sort());
  t.is(rows.get('kek')?.length, 2);
  t.is(rows.get('kek_version')?.length, 3);
  // Columns in the order of the table, the MAC last.
  t.true(rows.get('kek')?.every((columns) => (columns.at(-1) as Uint8Array).length === 32));
});

test('errors are called as the operator called the store', async (t) => {
  const place = makePlace(t);
  t.throws(() => readSnapshot('the backup', place.database), { name: 'DekdError', message: /^keystore the backup: / });
  const { connection } = openDatabase(place.directory);
  t.throws(() => readSnapshot('the backup', place.database), {
    message: /^keystore the backup: another process \(an agent or dekctl\) has it open/,
  });
  connection.close();
});

test('a journal is rolled back in a copy that nothing is left of', async (t) => {
  const place = await makeStore(t);
  const hot = `${place.database}.hot`;
  edit(place, (connection) => {
    connection.exec('PRAGMA cache_size = 1; PRAGMA cache_spill = ON; BEGIN IMMEDIATE');
    connection.exec('UPDATE kek SET labels = hex(randomblob(20000))');
    for (const suffix of ['', '-journal']) copyFileSync(`${place.database}${suffix}`, `${hot}${suffix}`);
    connection.exec('ROLLBACK');
  });
  const parent = dirname(place.directory);
  const before = process.env['TMPDIR'];
  process.env['TMPDIR'] = parent;
  try {
    const names = readdirSync(parent);
    t.deepEqual(readSnapshot('here', hot), readSnapshot('here', place.database));
    t.deepEqual(readdirSync(parent), names);
  } finally {
    if (before === undefined) delete process.env['TMPDIR'];
    else process.env['TMPDIR'] = before;
  }
});

test('what this user cannot read is told with the way out', async (t) => {
  const place = await makeStore(t);
  chmodSync(dirname(place.directory), 0o755);
  chmodSync(place.directory, 0o755);
  if (process.getuid?.() !== 0) chmodSync(place.database, 0);
  t.regex(
    String(runChild('check as nobody', place.options)),
    /^keystore \S+: cannot be read by uid \d+ \(EACCES\); run this as the user that dekd runs as$/,
  );
});
