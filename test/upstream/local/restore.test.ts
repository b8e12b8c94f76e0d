import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { openDatabase } from '../../../src/upstream/local/database.ts';
import { type RestoreOptions, restoreKeystore } from '../../../src/upstream/local/restore.ts';
import { edit, makeStore, openPlace, type Place, runChild } from './fixture.ts';

const NOW = Date.UTC(2026, 10, 24, 10, 45, 0, 7);
const REPLACED = 'keystore.db.replaced-20261124T104500007Z';

interface Backup {
  readonly place: Place;
  /** Mode 0644: copies travel. */
  readonly file: string;
  readonly bytes: Buffer;
}

/** Of a store with the KEKs `orders` and `carts`. */
async function makeBackup(t: ExecutionContext): Promise<Backup> {
  const place = await makeStore(t);
  const upstream = await openPlace(t, place.options);
  const bytes = await upstream.backup();
  await upstream.close();
  const file = join(dirname(place.directory), 'backup.db');
  writeFileSync(file, bytes, { mode: 0o644 });
  return { place, file, bytes };
}

const optionsFor = (
  { place, file }: Backup,
  directory: string,
  more: Partial<RestoreOptions> = {},
): RestoreOptions => ({
  from: file,
  directory,
  rootKey: place.options.rootKey,
  replace: false,
  now: NOW,
  ...more,
});

async function namesIn(t: ExecutionContext, { options }: Place, directory: string): Promise<string[]> {
  const upstream = await openPlace(t, { ...options, directory });
  const names = (await upstream.listKeks()).map(({ name }) => name);
  await upstream.close();
  return names;
}

test('into a directory that is not there yet, private whatever the backup’s mode', async (t) => {
  const backup = await makeBackup(t);
  const directory = join(dirname(backup.place.directory), 'new', 'keystore');
  const { report, replaced } = restoreKeystore(optionsFor(backup, directory));
  t.is(replaced, undefined);
  t.deepEqual(
    report.keks.map(({ name }) => name),
    ['carts', 'orders'],
  );
  t.deepEqual(readdirSync(directory), ['keystore.db']);
  t.is(statSync(directory).mode & 0o777, 0o700);
  t.is(statSync(join(directory, 'keystore.db')).mode & 0o777, 0o600);
  t.deepEqual(readFileSync(join(directory, 'keystore.db')), backup.bytes);
  t.deepEqual(await namesIn(t, backup.place, directory), ['carts', 'orders']);
});

test('a store that is there stays, and with --replace stays beside the new one', async (t) => {
  const backup = await makeBackup(t);
  const { place } = backup;
  const upstream = await openPlace(t, place.options);
  await upstream.createKek('later', new Map(), 'uid 2001');
  await upstream.close();
  const later = readFileSync(place.database);
  t.throws(() => restoreKeystore(optionsFor(backup, place.directory)), {
    name: 'DekdError',
    message: `keystore ${place.directory}: has a store already; name another directory, or insist with --replace, which keeps the old store beside it`,
  });
  t.deepEqual(readFileSync(place.database), later);
  t.deepEqual(readdirSync(place.directory), ['keystore.db']);

  const { replaced } = restoreKeystore(optionsFor(backup, place.directory, { replace: true }));
  t.is(replaced, join(place.directory, REPLACED));
  t.deepEqual(readdirSync(place.directory), ['keystore.db', REPLACED]);
  t.deepEqual(readFileSync(replaced!), later);
  t.deepEqual(await namesIn(t, place, place.directory), ['carts', 'orders']);
  // The name of the old one is taken: nothing is written over it.
  t.throws(() => restoreKeystore(optionsFor(backup, place.directory, { replace: true })), {
    message: /keystore \S+: /,
  });
  t.deepEqual(readFileSync(replaced!), later);
  t.deepEqual(await namesIn(t, place, place.directory), ['carts', 'orders']);
});

test('a damaged store can be replaced; its journal does not stay for the new one', async (t) => {
  const backup = await makeBackup(t);
  const { place } = backup;
  const journal = `${place.database}-journal`;
  writeFileSync(place.database, 'no database any more '.repeat(100));
  writeFileSync(journal, Buffer.concat([Buffer.from('d9d505f920a163d7', 'hex'), Buffer.alloc(600, 1)]));
  writeFileSync(`${place.database}-shm`, 'of a write-ahead log');
  const { replaced } = restoreKeystore(optionsFor(backup, place.directory, { replace: true }));
  t.true(readFileSync(replaced!, 'utf8').startsWith('no database'));
  t.false(existsSync(journal));
  t.false(existsSync(`${place.database}-shm`));
  t.is(readFileSync(`${replaced}-shm`, 'utf8'), 'of a write-ahead log');
  t.deepEqual(await namesIn(t, place, place.directory), ['carts', 'orders']);
});

test('a journal without a store is set aside', async (t) => {
  const backup = await makeBackup(t);
  const { place } = backup;
  const directory = join(dirname(place.directory), 'new');
  mkdirSync(directory, { mode: 0o700 });
  writeFileSync(join(directory, 'keystore.db-journal'), 'left');
  restoreKeystore(optionsFor(backup, directory));
  t.deepEqual(readdirSync(directory), ['keystore.db', `${REPLACED}-journal`]);
});

test('an agent that starts while a backup is verified is refused, and nothing stays of a restore that fails', async (t) => {
  const backup = await makeBackup(t);
  const { options } = backup.place;
  const directory = join(dirname(backup.place.directory), 'new');
  const starts: unknown[] = [];
  const outcome = { rootKey: options.rootKey };
  // Read once the place is taken, before the backup is.
  const restoring: RestoreOptions = {
    ...optionsFor(backup, directory),
    get rootKey() {
      starts.push(runChild('open', { ...options, directory }));
      return outcome.rootKey;
    },
  };
  outcome.rootKey = { file: '/nowhere/root.key' };
  t.throws(() => restoreKeystore(restoring), { message: /does not exist/ });
  t.deepEqual(readdirSync(directory), []);
  outcome.rootKey = options.rootKey;
  restoreKeystore(restoring);
  const refused = `upstream store: keystore ${directory}: another process (an agent or dekctl) has it open; stop it or wait for it, or use another directory`;
  t.deepEqual(starts, [refused, refused]);
  t.deepEqual(readdirSync(directory), ['keystore.db']);
  t.deepEqual(await namesIn(t, backup.place, directory), ['carts', 'orders']);
});

test('an agent that has just made its store keeps it, and its journal', async (t) => {
  const backup = await makeBackup(t);
  const directory = join(dirname(backup.place.directory), 'new');
  const { connection } = openDatabase(directory);
  t.teardown(() => connection.close());
  connection.exec('CREATE TABLE one (number INTEGER); BEGIN; INSERT INTO one VALUES (1)');
  for (const replace of [false, true]) {
    t.throws(() => restoreKeystore(optionsFor(backup, directory, { replace })), {
      message: /another process \(an agent or dekctl\) has it open/,
    });
  }
  t.deepEqual(readdirSync(directory), ['keystore.db', 'keystore.db-journal']);
});

test('what a restore that was killed leaves does not stand in the way of the next', async (t) => {
  const backup = await makeBackup(t);
  const directory = join(dirname(backup.place.directory), 'new');
  mkdirSync(directory, { mode: 0o700 });
  writeFileSync(join(directory, 'keystore.db'), '', { mode: 0o600 });
  writeFileSync(join(directory, 'keystore.db.restoring'), backup.bytes.subarray(0, 5000), { mode: 0o600 });
  t.is(restoreKeystore(optionsFor(backup, directory)).replaced, undefined);
  t.deepEqual(readdirSync(directory), ['keystore.db']);
  t.deepEqual(await namesIn(t, backup.place, directory), ['carts', 'orders']);
});

test('the empty file of a start that failed is no store', async (t) => {
  const backup = await makeBackup(t);
  const directory = join(dirname(backup.place.directory), 'new');
  mkdirSync(directory, { mode: 0o700 });
  for (const options of [optionsFor(backup, directory), optionsFor(backup, directory, { replace: true })]) {
    writeFileSync(join(directory, 'keystore.db'), '', { mode: 0o600 });
    const { replaced } = restoreKeystore(options);
    t.is(replaced, undefined);
    t.deepEqual(readdirSync(directory), ['keystore.db']);
    t.deepEqual(await namesIn(t, backup.place, directory), ['carts', 'orders']);
  }
  // What an agent leaves that did not get its root key.
  const late = join(directory, 'late');
  const rootKey = { file: '/nowhere/root.key' };
  await t.throwsAsync(openPlace(t, { ...backup.place.options, directory: late, rootKey }), {
    message: /does not exist/,
  });
  t.is(restoreKeystore(optionsFor(backup, late)).replaced, undefined);
});

test('while an agent has the store, it is not replaced', async (t) => {
  const backup = await makeBackup(t);
  const { place } = backup;
  const { connection } = openDatabase(place.directory);
  t.teardown(() => connection.close());
  t.throws(() => restoreKeystore(optionsFor(backup, place.directory, { replace: true })), {
    message: /another process .* has it open/,
  });
  t.false(existsSync(join(place.directory, REPLACED)));
  t.false(existsSync(`${place.database}.restoring`));
});

test('another root key, and a damaged backup with all its damages, are refused and leave nothing', async (t) => {
  const backup = await makeBackup(t);
  const directory = join(dirname(backup.place.directory), 'new');
  const other = `${backup.place.rootKeyFile}.other`;
  writeFileSync(other, randomBytes(32), { mode: 0o600 });
  t.throws(() => restoreKeystore(optionsFor(backup, directory, { rootKey: { file: other } })), {
    message: /^backup \S+backup\.db: this root key \(id [0-9a-f]{16}\) is not the store's \(id [0-9a-f]{16}\)/,
  });
  edit({ ...backup.place, database: backup.file }, (connection) => {
    connection.exec(`UPDATE kek SET labels = '[]' WHERE name = 'orders'; DELETE FROM kek_version WHERE kek = 'carts'`);
  });
  t.throws(() => restoreKeystore(optionsFor(backup, directory)), {
    message: `backup ${backup.file}: is damaged; nothing was restored:\nthe record of KEK "orders" was changed outside dekd\nthe record of KEK "carts" version 1 is missing: it was removed outside dekd`,
  });
  truncateSync(backup.file, 8192);
  t.throws(() => restoreKeystore(optionsFor(backup, directory)), { name: 'DekdError' });
  t.deepEqual(readdirSync(directory), []);
});

test('errors about a backup name the backup, not a store, and another backup as the way out', async (t) => {
  const backup = await makeBackup(t);
  const directory = join(dirname(backup.place.directory), 'new');
  const refused = (problem: RegExp) => {
    const { message } = t.throws(() => restoreKeystore(optionsFor(backup, directory)), { message: problem });
    t.true(message.startsWith(`backup ${backup.file}: `), message);
    t.notRegex(message, /keystore\.db|put back|the directory/);
  };
  edit({ ...backup.place, database: backup.file }, (connection) => {
    connection.exec('UPDATE store SET created_at = created_at + 1');
  });
  refused(/: the store record was changed outside dekd; nothing was restored; name another backup$/);
  edit({ ...backup.place, database: backup.file }, (connection) => connection.exec('DELETE FROM store'));
  refused(/: the store record is missing; nothing was restored; name another backup$/);
  edit({ ...backup.place, database: backup.file }, (connection) => connection.exec('CREATE TABLE added (x)'));
  refused(/it has tables that were changed outside dekd/);
  writeFileSync(backup.file, 'no database, but long enough to have a header: '.repeat(20));
  refused(/: it cannot be read to its end .*; nothing was restored; name another backup$/);
  writeFileSync(backup.file, '');
  refused(/: has no store in it; name a backup$/);
});

test('what is no backup is refused', async (t) => {
  const backup = await makeBackup(t);
  const directory = join(dirname(backup.place.directory), 'new');
  const refused = (from: string, message: RegExp | string) =>
    t.throws(() => restoreKeystore(optionsFor(backup, directory, { from })), { name: 'DekdError', message });
  refused('/nowhere/backup.db', 'backup /nowhere/backup.db: does not exist');
  refused(dirname(backup.file), /is not a regular file; name a backup/);
  writeFileSync(backup.file, '');
  refused(backup.file, /has no store in it/);
  // A directory that was copied while an agent ran, or after it was killed.
  writeFileSync(backup.file, backup.bytes);
  writeFileSync(`${backup.file}-journal`, Buffer.from('d9d505f920a163d7', 'hex'));
  refused(backup.file, /a journal lies beside it; start dekd on it and make a backup with: dekctl keystore backup/);
});

test('a place that cannot be used is refused', async (t) => {
  const backup = await makeBackup(t);
  const file = join(dirname(backup.place.directory), 'file');
  writeFileSync(file, '');
  t.throws(() => restoreKeystore(optionsFor(backup, file)), { message: /a file that is not a directory/ });
  const open = join(dirname(backup.place.directory), 'open');
  mkdirSync(open);
  chmodSync(open, 0o777);
  t.throws(() => restoreKeystore(optionsFor(backup, open)), { message: /others can write/ });
  t.deepEqual(readdirSync(open), []);
  const link = join(dirname(backup.place.directory), 'link');
  symlinkSync(join(dirname(link), 'target'), link);
  mkdirSync(join(dirname(link), 'target'), { mode: 0o700 });
  restoreKeystore(optionsFor(backup, link));
  t.true(existsSync(join(dirname(link), 'target', 'keystore.db')));
});
