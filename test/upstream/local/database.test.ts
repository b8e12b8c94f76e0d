import { spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import test from 'ava';
import { openDatabase, readRows, schemaProblems, transaction } from '../../../src/upstream/local/database.ts';
import { SCHEMA_VERSION } from '../../../src/upstream/local/schema.ts';
import { edit, makePlace, makeStore, openPlace, runChild } from './fixture.ts';

test('a database is private, durable, overwrites what it deletes, and is locked', (t) => {
  const place = makePlace(t);
  const { connection, isNew } = openDatabase(place.directory);
  t.true(isNew);
  const pragma = (name: string) => readRows(connection, `PRAGMA ${name}`)[0]?.[0];
  t.is(pragma('synchronous'), 2n);
  t.is(pragma('secure_delete'), 1n);
  t.is(pragma('journal_mode'), 'delete');
  t.is(pragma('journal_size_limit'), 0n);
  t.is(pragma('locking_mode'), 'exclusive');
  t.is(pragma('foreign_keys'), 1n);
  t.is(statSync(place.database).mode & 0o777, 0o600);
  connection.exec('CREATE TABLE example (column)');
  t.is(statSync(`${place.database}-journal`).mode & 0o777, 0o600);
  connection.close();
});

test('an agent in another process is refused while the first one runs', async (t) => {
  const place = await makeStore(t);
  const upstream = await openPlace(t, place.options);
  const refusal =
    `upstream store: keystore ${place.directory}: another process (an agent or dekctl) has it open; ` +
    'stop it or wait for it, or use another directory';
  t.is(runChild('open', place.options), refusal);
  await upstream.createKek('still-works', new Map(), 'uid 2001');
  t.is(runChild('open', place.options), refusal);
  await upstream.close();
  t.is(runChild('open', place.options), 'opened');
});

test('a file that was replaced between its opening and its locking is refused', (t) => {
  const place = makePlace(t);
  openDatabase(place.directory).connection.close();
  const { exec } = DatabaseSync.prototype;
  t.teardown(() => {
    DatabaseSync.prototype.exec = exec;
  });
  DatabaseSync.prototype.exec = function replacing(sql: string) {
    DatabaseSync.prototype.exec = exec;
    writeFileSync(`${place.database}.new`, '', { mode: 0o600 });
    renameSync(`${place.database}.new`, place.database);
    exec.call(this, sql);
  };
  t.throws(() => openDatabase(place.directory), {
    message: `keystore ${place.directory}: keystore.db was replaced or removed while it was opened; try again`,
  });
  openDatabase(place.directory).connection.close();
});

test('a second upstream on the same directory is refused in the same process', async (t) => {
  const place = await makeStore(t);
  const upstream = await openPlace(t, place.options);
  await t.throwsAsync(openPlace(t, place.options), {
    name: 'DekdError',
    message: /another process \(an agent or dekctl\) has it open/,
  });
  // The failed attempt must not have dropped the first one's lock.
  t.regex(String(runChild('open', place.options)), /another process \(an agent or dekctl\) has it open/);
  t.is((await upstream.createKek('still-works', new Map(), 'uid 2001')).state, 'active');
});

test('an agent that was killed leaves a store that opens, and no lock', async (t) => {
  const place = await makeStore(t);
  const script = `
    const { DatabaseSync } = require('node:sqlite');
    const connection = new DatabaseSync(process.argv[1]);
    connection.exec("PRAGMA locking_mode = EXCLUSIVE; PRAGMA cache_size = 1; BEGIN EXCLUSIVE; UPDATE kek SET state = 'archived'");
    connection.exec('CREATE TABLE filler (bytes); INSERT INTO filler SELECT randomblob(100000)');
    process.stdout.write('ready');
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--no-warnings', '-e', script, place.database]);
  const ended = new Promise((resolve) => child.once('exit', resolve));
  await new Promise((resolve) => child.stdout.once('data', resolve));
  t.regex(String(runChild('open', place.options)), /another process \(an agent or dekctl\) has it open/);
  child.kill('SIGKILL');
  await ended;
  t.true(existsSync(`${place.database}-journal`));
  const upstream = await openPlace(t, place.options);
  t.is((await upstream.rotateKek('local:orders', 'uid 2001')).versions.length, 3);
});

test('a directory that cannot be written is refused with the way out', async (t) => {
  const place = await makeStore(t);
  handOver(dirname(place.directory), place.directory, place.database, place.rootKeyFile);
  t.is(runChild('open as nobody', place.options), 'opened');
  chmodSync(place.directory, 0o500);
  const message = String(runChild('open as nobody', place.options));
  t.regex(message, /^upstream store: keystore \S+: cannot be written by uid \d+ \(EACCES\); mount it read-write/);
  t.true(message.includes(place.directory));
  chmodSync(place.directory, 0o700);
  chmodSync(place.database, 0o400);
  t.regex(String(runChild('open as nobody', place.options)), /cannot be written by uid \d+ \(EACCES\)/);
});

test('a directory that cannot be made is refused with the way out', (t) => {
  const place = makePlace(t);
  handOver(dirname(place.directory));
  chmodSync(dirname(place.directory), 0o500);
  t.regex(String(runChild('open as nobody', place.options)), /keystore \S+: cannot be written by uid \d+ \(EACCES\)/);
  chmodSync(dirname(place.directory), 0o700);
});

test('a disk that takes no more loses nothing and goes on reading', async (t) => {
  const place = await makeStore(t);
  const before = readFileSync(place.database);
  // In blocks of 512 bytes: what is there may be written again, nothing may grow beyond it.
  const limits = `ulimit -f ${Math.ceil(before.length / 512)}`;
  const failure = runChild('create until the disk is full', place.options, limits) as Record<string, string>;
  t.is(failure['name'], 'UpstreamFailure');
  t.is(failure['class'], 'unreachable');
  t.regex(failure['message']!, /^keystore \S+: nothing was changed: the disk/);
  const upstream = await openPlace(t, place.options);
  t.is((await upstream.createKek('large', new Map(), 'uid 2001')).versions.length, 1);
});

test('what is not a keystore is refused and left alone', (t) => {
  const place = makePlace(t);
  const refused = (message: RegExp) => {
    const before = readFileSync(place.database);
    t.throws(() => openDatabase(place.directory), { name: 'DekdError', message });
    t.deepEqual(readFileSync(place.database), before);
  };
  edit(place, (connection) => connection.exec('CREATE TABLE pictures (bytes)'));
  refused(/keystore.db is the database of another program/);
  writeFileSync(place.database, 'This is a text.\n'.repeat(300));
  refused(/keystore.db is damaged \(file is not a database\)/);
});

test('a file in the place of the directory is refused', (t) => {
  const place = makePlace(t);
  writeFileSync(place.directory, '');
  t.throws(() => openDatabase(place.directory), { name: 'DekdError', message: /a file that is not a directory/ });
  t.throws(() => openDatabase(`${place.directory}/below`), { message: /a file that is not a directory/ });
});

test('a newer schema, and tables that were changed, are refused', async (t) => {
  const newer = await makeStore(t);
  edit(newer, (connection) => connection.exec(`PRAGMA user_version = ${SCHEMA_VERSION + 1}`));
  t.throws(() => openDatabase(newer.directory), { message: /written by a newer dekd \(schema 3, this one reads 2\)/ });

  const changes = [
    `CREATE TRIGGER quiet AFTER INSERT ON kek BEGIN UPDATE kek SET state = 'active'; END`,
    'ALTER TABLE kek ADD COLUMN extra TEXT',
    'DROP INDEX one_active_version',
    'CREATE TABLE more (column)',
    'PRAGMA user_version = 0',
    `PRAGMA writable_schema = ON;
     UPDATE sqlite_schema SET sql = replace(sql, 'BLOB NOT NULL CHECK (length(mac) = 32)', 'BLOB') WHERE name = 'kek'`,
  ];
  for (const change of changes) {
    const place = await makeStore(t);
    edit(place, (connection) => connection.exec(change));
    t.throws(() => openDatabase(place.directory), { message: /its tables were changed outside dekd/ }, change);
  }
});

test('damage anywhere in the file is refused, never read over', async (t) => {
  const original = await makeStore(t);
  const sound = readFileSync(original.database);
  for (let offset = 0; offset < sound.length; offset += 509) {
    const place = makePlace(t);
    mkdirSync(place.directory, { mode: 0o700 });
    const damaged = Buffer.from(sound);
    damaged.fill(0xa5, offset, offset + 64);
    writeFileSync(place.database, damaged, { mode: 0o600 });
    const options = { ...original.options, directory: place.directory };
    const thrown = await openPlace(t, options).then(
      (upstream) => upstream.describe(upstream.resolve('local:orders'), { signal: new AbortController().signal }),
      (error: unknown) => error as Error,
    );
    if (thrown instanceof Error) {
      t.is(thrown.name, 'DekdError', `${offset}`);
      t.regex(
        thrown.message,
        /damaged|changed outside dekd|another program|newer dekd|missing|could not be read/,
        `${offset}`,
      );
    } else {
      // Free space inside a page: what was read is what was written.
      t.is(thrown.versions.length, 2, `${offset}`);
      t.is(thrown.labels.get('team'), 'payments');
    }
  }
  const short = makePlace(t);
  mkdirSync(short.directory, { mode: 0o700 });
  writeFileSync(short.database, sound.subarray(0, sound.length - 4096), { mode: 0o600 });
  t.throws(() => openDatabase(short.directory), { message: /keystore.db is damaged/ });
});

test('damage that no query would meet is found by the integrity check', async (t) => {
  const place = await makeStore(t);
  let page = 0;
  edit(place, (connection) => {
    const row = connection.prepare(`SELECT rootpage FROM sqlite_schema WHERE name = 'one_active_version'`).get();
    page = Number(row?.['rootpage']);
  });
  const bytes = readFileSync(place.database);
  bytes.fill(0x41, page * 4096 - 8, page * 4096);
  writeFileSync(place.database, bytes);
  await t.throwsAsync(openPlace(t, place.options), {
    name: 'DekdError',
    message: /keystore\.db is damaged \(.+\); put back/,
  });
});

test('how tables differ is named, object by object', async (t) => {
  const problems = async (change: string): Promise<string[]> => {
    const place = await makeStore(t);
    let found: string[] = [];
    edit(place, (connection) => {
      connection.exec(change);
      found = schemaProblems(connection, SCHEMA_VERSION);
    });
    return found;
  };
  t.deepEqual(await problems('VACUUM'), []);
  t.deepEqual(await problems('DROP INDEX one_active_version; CREATE TABLE more (column)'), [
    'missing: CREATE UNIQUE INDEX one_active_version ON kek_version',
    'added: CREATE TABLE more',
  ]);
  t.deepEqual(await problems('ALTER TABLE kek ADD COLUMN extra TEXT'), [
    'missing: CREATE TABLE kek',
    'added: CREATE TABLE kek',
  ]);
});

test('a transaction that fails is undone', (t) => {
  const { connection } = openDatabase(makePlace(t).directory);
  connection.exec('CREATE TABLE example (number INTEGER) STRICT');
  t.throws(
    () =>
      transaction(connection, () => {
        connection.exec('INSERT INTO example VALUES (1)');
        throw new Error('half way');
      }),
    { message: 'half way' },
  );
  t.false(connection.isTransaction);
  transaction(connection, () => connection.exec('INSERT INTO example VALUES (2)'));
  t.deepEqual(readRows(connection, 'SELECT number FROM example'), [[2n]]);
  connection.close();
});

/** To the user that the child becomes; without root we are that user already. */
function handOver(...paths: string[]): void {
  if (process.getuid?.() !== 0) return;
  for (const path of paths) chownSync(path, 65534, 65534);
}
