import { randomBytes } from 'node:crypto';
import { chownSync, readFileSync, writeFileSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { requireRoot } from '../../helpers/require-root.ts';
import { edit, makePlace, makeStore, openPlace, type Place } from '../../upstream/local/fixture.ts';
import { dekctl, type RunOptions } from '../run.ts';

const check = async ({ directory, rootKeyFile }: Place, more: readonly string[] = [], options?: RunOptions) => {
  const args = ['keystore', 'check', '--directory', directory, '--root-key', rootKeyFile, ...more];
  const { code, stdout, stderr } = await dekctl(args, options);
  return { code, stdout: stdout.toString(), stderr };
};

test('a sound store, for people and for programs', async (t) => {
  const place = await makeStore(t);
  const { code, stdout, stderr } = await check(place);
  t.is(stderr, '');
  t.is(code, 0);
  t.regex(
    stdout,
    /^store {7}[0-9a-f]{16}, made 20\d\d-.*Z\nroot key {4}[0-9a-f]{16}, 32 raw bytes\nKEK carts {3}active; 1 active\nKEK orders {2}active; 1 decrypt-only, 2 active\nresult {6}sound: every record verifies, every key opens\n$/,
  );
  const document = JSON.parse((await check(place, ['--json'])).stdout);
  t.like(document, { sound: true, root_key_kdf: 'raw', disabled_partitions: [], damages: [] });
  t.regex(document.store_id, /^[0-9a-f]{16}$/);
  t.regex(document.root_key_id, /^[0-9a-f]{16}$/);
  t.regex(document.created_at, /^20\d\d-\d\d-\d\dT[\d:.]+Z$/);
  t.like(document.keks[1], { name: 'orders', state: 'active' });
  t.like(document.keks[1].versions[0], { version: '1', state: 'decrypt-only' });
});

test('the partitions that are disabled', async (t) => {
  const place = await makeStore(t);
  const upstream = await openPlace(t, place.options);
  const acme = new Map([['tenant', 'acme']]);
  await upstream.changePartition('local:orders', 'invoices', acme, 'disable', 'uid 2001');
  await upstream.close();
  t.regex(
    (await check(place)).stdout,
    /^partition {3}tenant=acme of key invoices: disabled under KEK orders since 20\d\d-[-\dT:.]+Z by uid 2001$/m,
  );
  const { disabled_partitions: partitions } = JSON.parse((await check(place, ['--json'])).stdout);
  t.is(partitions.length, 1);
  t.like(partitions[0], { kek: 'orders', key: 'invoices', partition: { tenant: 'acme' }, disabled_by: 'uid 2001' });
  t.regex(partitions[0].disabled_at, /^20\d\d-[-\dT:.]+Z$/);
});

test('a damaged one: every damage, and exit code 1', async (t) => {
  const place = await makeStore(t);
  edit(place, (connection) =>
    connection.exec(`UPDATE kek SET labels = '[]' WHERE name = 'orders'; DELETE FROM kek_version WHERE kek = 'carts'`),
  );
  const { code, stdout, stderr } = await check(place);
  t.is(code, 1);
  t.is(
    stderr,
    `dekctl: keystore ${place.directory}: 2 damages; put back a backup with: dekctl keystore restore --replace\n`,
  );
  t.regex(stdout, /^DAMAGED {4}the record of KEK "orders" was changed outside dekd$/m);
  t.regex(
    stdout,
    /^KEK carts {2}active; no version\nDAMAGED {4}.*\nDAMAGED {4}the record of KEK "carts" version 1 is missing: it was removed outside dekd$/m,
  );
  t.false(stdout.includes('sound'));
  const json = await check(place, ['--json']);
  t.is(json.code, 1);
  const document = JSON.parse(json.stdout);
  t.false(document.sound);
  t.deepEqual(document.damages[0], {
    what: 'the record of KEK "orders"',
    problem: 'was changed outside dekd',
  });
});

const lines = (stderr: string) => stderr.trimEnd().split('\n').length;

test('another root key, no store and a store in use are one line each', async (t) => {
  const place = await makeStore(t);
  const upstream = await openPlace(t, place.options);
  const used = await check(place);
  t.is(used.code, 6);
  t.is(
    used.stderr,
    `dekctl: keystore ${place.directory}: another process (an agent or dekctl) has it open; stop it or wait for it, or use another directory\n`,
  );
  await upstream.close();
  writeFileSync(place.rootKeyFile, randomBytes(32));
  const other = await check(place);
  t.is(other.code, 1);
  t.regex(other.stderr, /^dekctl: keystore \S+: this root key \(id [0-9a-f]{16}\) is not the store's/);
  t.is(lines(other.stderr), 1);
  const none = await check(makePlace(t));
  t.is(none.code, 1);
  t.regex(none.stderr, /^dekctl: keystore \S+: has no keystore\.db; name the directory of a store$/m);
});

test('a passphrase and a systemd credential open a store too', async (t) => {
  const place = makePlace(t);
  const file = `${place.rootKeyFile}.passphrase`;
  writeFileSync(file, 'correct horse\n', { mode: 0o600 });
  await (await openPlace(t, { ...place.options, rootKey: { passphrase: { file } } })).close();
  const run = (args: readonly string[], options?: RunOptions) =>
    dekctl(['keystore', 'check', '--directory', place.directory, ...args], options);
  t.regex((await run(['--passphrase-file', file])).stdout.toString(), /made from a passphrase with scrypt/);
  const directory = file.slice(0, file.lastIndexOf('/'));
  const env = { CREDENTIALS_DIRECTORY: directory };
  t.is((await run(['--passphrase-credential', 'test-root.key.passphrase'], { env })).code, 0);
  const raw = await run(['--credential', 'test-root.key'], { env });
  t.is(raw.code, 2);
  t.regex(raw.stderr, /^dekctl: root key credential "test-root\.key": is not what opens the keystore .* passphrase/);
  const unset = await run(['--credential', 'test-root.key']);
  t.is(unset.code, 2);
  t.regex(unset.stderr, /CREDENTIALS_DIRECTORY is not set/);
});

test('wrong flags are a usage error', async (t) => {
  const { code, stderr } = await dekctl(['keystore', 'check', '--directory', '/nowhere']);
  t.is(code, 2);
  t.regex(stderr, /^dekctl: give one of --root-key FILE, --credential NAME, --passphrase-file FILE, --passphrase-cred/);
  t.is((await dekctl(['keystore', 'check', '--root-key', 'x'])).code, 2);
});

test('a process whose memory others may read does not get the root key', async (t) => {
  const place = await makeStore(t);
  const { code, stderr } = await check(place, [], { env: { NODE_OPTIONS: '--no-warnings' } });
  t.is(code, 1);
  t.regex(
    stderr,
    /^dekctl: the environment variable NODE_OPTIONS may open this process's memory, and with it the root/,
  );
});

test('root does not work on the store of dekd’s user', async (t: ExecutionContext) => {
  if (!requireRoot(t, 'only root can give a directory away')) return;
  const place = await makeStore(t);
  chownSync(place.database, 4242, 4242);
  const { code, stderr } = await check(place);
  t.is(code, 2);
  t.regex(stderr, /keystore\.db belongs to uid 4242; run this as that user: setpriv --reuid=4242 /);
  t.truthy(readFileSync(place.database));
});
