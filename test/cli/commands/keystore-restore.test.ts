import { randomBytes } from 'node:crypto';
import { copyFileSync, existsSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { edit, makeStore, openPlace, type Place } from '../../upstream/local/fixture.ts';
import { dekctl } from '../run.ts';

async function makeBackup(t: ExecutionContext): Promise<{ place: Place; from: string }> {
  const place = await makeStore(t);
  const from = join(dirname(place.directory), 'backup.db');
  copyFileSync(place.database, from);
  return { place, from };
}

const restore = async (from: string, directory: string, rootKey: string, ...more: string[]) => {
  const args = ['keystore', 'restore', '--from', from, '--directory', directory, '--root-key', rootKey, ...more];
  const { code, stdout, stderr } = await dekctl(args);
  return { code, stdout: stdout.toString(), stderr };
};

test('into an empty place, and then over it', async (t) => {
  const { place, from } = await makeBackup(t);
  const directory = join(dirname(place.directory), 'new');
  const first = await restore(from, directory, place.rootKeyFile);
  t.is(first.stderr, '');
  t.is(first.code, 0);
  t.regex(first.stdout, /^KEK orders {2}active; 1 decrypt-only, 2 active$/m);
  t.regex(first.stdout, /^result {6}sound/m);
  await (await openPlace(t, { ...place.options, directory })).close();

  const second = await restore(from, directory, place.rootKeyFile);
  t.is(second.code, 2);
  t.is(
    second.stderr,
    `dekctl: keystore ${directory}: has a store already; name another directory, or insist with --replace, which keeps the old store beside it\n`,
  );
  const third = await restore(from, directory, place.rootKeyFile, '--replace', '--json');
  t.is(third.code, 0);
  t.true(JSON.parse(third.stdout).sound);
  const replaced = /^dekctl: note: the store that was there is now (\S+)\n$/.exec(third.stderr)?.[1];
  t.true(existsSync(replaced ?? ''));
  t.is(readdirSync(directory).length, 2);
});

test('another root key and a damaged backup are refused, every damage a line', async (t) => {
  const { place, from } = await makeBackup(t);
  const directory = join(dirname(place.directory), 'new');
  const other = `${place.rootKeyFile}.other`;
  writeFileSync(other, randomBytes(32), { mode: 0o600 });
  const wrong = await restore(from, directory, other);
  t.is(wrong.code, 1);
  t.regex(wrong.stderr, /^dekctl: backup \S+backup\.db: this root key \(id [0-9a-f]{16}\) is not the store's/);
  edit({ ...place, database: from }, (connection) => connection.exec('UPDATE kek SET created_at = 1'));
  const damaged = await restore(from, directory, place.rootKeyFile);
  t.is(damaged.code, 1);
  t.is(
    damaged.stderr,
    `dekctl: backup ${from}: is damaged; nothing was restored:\ndekctl: the record of KEK "carts" was changed outside dekd\ndekctl: the record of KEK "orders" was changed outside dekd\n`,
  );
  t.deepEqual(readdirSync(directory), []);
});
