import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { makeStore, openPlace, type Place } from '../../upstream/local/fixture.ts';
import { dekctl } from '../run.ts';

const change = async ({ directory }: Place, ...flags: string[]) => {
  const { code, stdout, stderr } = await dekctl(['keystore', 'change-root-key', '--directory', directory, ...flags]);
  return { code, stdout: stdout.toString(), stderr };
};

const NOTE = "dekctl: note: name the new root key in dekd's configuration; backups made before need the old one\n";

test('from bytes to a passphrase and back to other bytes', async (t: ExecutionContext) => {
  const place = await makeStore(t);
  const passphrase = `${place.rootKeyFile}.passphrase`;
  const next = `${place.rootKeyFile}.next`;
  writeFileSync(passphrase, 'correct horse\n', { mode: 0o600 });
  writeFileSync(next, randomBytes(32), { mode: 0o600 });
  const nextKey = readFileSync(next);

  const first = await change(place, '--old-root-key', place.rootKeyFile, '--new-passphrase-file', passphrase);
  t.is(first.stderr, NOTE);
  t.is(first.code, 0);
  t.regex(first.stdout, /^root key {4}[0-9a-f]{16}, made from a passphrase with scrypt$/m);
  t.regex(first.stdout, /^result {6}sound/m);
  const second = await change(place, '--old-passphrase-file', passphrase, '--new-root-key', next, '--json');
  t.is(JSON.parse(second.stdout).root_key_kdf, 'raw');
  t.deepEqual(readFileSync(next), nextKey);
  const upstream = await openPlace(t, { ...place.options, rootKey: { file: next } });
  t.is((await upstream.listKeks()).length, 2);
});

test('a new root key is never made, and the way to make one is told', async (t) => {
  const place = await makeStore(t);
  const missing = `${place.rootKeyFile}.missing`;
  const { code, stderr } = await change(place, '--old-root-key', place.rootKeyFile, '--new-root-key', missing);
  t.is(code, 2);
  t.is(
    stderr,
    `dekctl: root key ${missing}: does not exist; make one with: head -c 32 /dev/urandom > ${missing} && chmod 600 ${missing}\n`,
  );
  t.false(existsSync(missing));
});

test('both root keys must be named, and no agent may have the store', async (t) => {
  const place = await makeStore(t);
  const onlyNew = await change(place, '--new-root-key', place.rootKeyFile);
  t.is(onlyNew.code, 2);
  t.regex(onlyNew.stderr, /^dekctl: give one of --old-root-key FILE, /);
  const onlyOld = await change(place, '--old-root-key', place.rootKeyFile);
  t.regex(onlyOld.stderr, /^dekctl: give one of --new-root-key FILE, /);
  await openPlace(t, place.options);
  const used = await change(place, '--old-root-key', place.rootKeyFile, '--new-root-key', place.rootKeyFile);
  t.is(used.code, 6);
  t.regex(used.stderr, /another process .* has it open/);
});

test('the root key that the store has already is a usage error', async (t) => {
  const place = await makeStore(t);
  const same = await change(place, '--old-root-key', place.rootKeyFile, '--new-root-key', place.rootKeyFile);
  t.is(same.code, 2);
  t.regex(same.stderr, /^dekctl: keystore \S+: the new root key is the old one; nothing was changed\n$/);
});
