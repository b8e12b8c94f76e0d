import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { createKey, dekId, freeKey } from '../../../src/crypto/native.ts';
import { changeRootKey } from '../../../src/upstream/local/change-root-key.ts';
import { checkKeystore } from '../../../src/upstream/local/check.ts';
import type { RootKeySource } from '../../../src/upstream/local/options.ts';
import { live, wrapContext } from '../../contract/upstream-context.ts';
import { edit, makePlace, makeStore, openPlace, type Place } from './fixture.ts';

const CONTEXT = wrapContext({ 'dekd:key': 'orders' });

function newFile(place: Place, bytes: string | Uint8Array, name: string): string {
  const file = `${place.rootKeyFile}.${name}`;
  writeFileSync(file, bytes, { mode: 0o600 });
  return file;
}

test('from a file to another and back: KEKs stay what they are, the old key opens nothing', async (t) => {
  const place = await makeStore(t);
  const first = place.options.rootKey;
  const second = { file: newFile(place, randomBytes(32), 'new') };
  const upstream = await openPlace(t, place.options);
  const kek = upstream.resolve('local:orders');
  const dek = createKey('dek');
  t.teardown(() => freeKey(dek));
  const wrapped = await upstream.wrap(kek, dek, CONTEXT, live());
  const described = await upstream.listKeks();
  await upstream.close();
  const before = checkKeystore(place.directory, first);
  const keys = [place.rootKeyFile, second.file].map((file) => readFileSync(file));

  const report = changeRootKey(place.directory, first, second);
  const { rootKeyId, ...rest } = report;
  t.not(rootKeyId, before.rootKeyId);
  t.like(before, rest);
  t.throws(() => checkKeystore(place.directory, first), { message: /this root key/ });
  const next = await openPlace(t, { ...place.options, rootKey: second });
  t.deepEqual(await next.listKeks(), described);
  const again = await next.unwrap(kek, wrapped, CONTEXT, live());
  t.deepEqual(dekId(again), dekId(dek));
  freeKey(again);
  await next.close();

  changeRootKey(place.directory, second, first);
  t.deepEqual(checkKeystore(place.directory, first), before);
  t.deepEqual(
    [place.rootKeyFile, second.file].map((file) => readFileSync(file)),
    keys,
  );
  t.deepEqual(readdirSync(place.directory), ['keystore.db']);
});

test('to a passphrase, to another one, and back to bytes', async (t) => {
  const place = await makeStore(t);
  const raw = place.options.rootKey;
  const passphrase = { passphrase: { file: newFile(place, 'correct horse', 'passphrase') } };
  const other = { passphrase: { file: newFile(place, 'battery staple', 'other') } };
  const first = changeRootKey(place.directory, raw, passphrase);
  t.is(first.rootKeyKdf, 'scrypt');
  await (await openPlace(t, { ...place.options, rootKey: passphrase })).close();
  t.throws(() => checkKeystore(place.directory, raw), { message: /its root key is made from a passphrase/ });
  t.throws(() => checkKeystore(place.directory, other), {
    message:
      /the root key that this passphrase makes \(id [0-9a-f]{16}\) is not the store's .* the passphrase is wrong/,
  });
  changeRootKey(place.directory, passphrase, other);
  // The same passphrase makes another key of a new salt.
  const again = changeRootKey(place.directory, other, passphrase);
  t.not(again.rootKeyId, first.rootKeyId);
  t.is(changeRootKey(place.directory, passphrase, raw).rootKeyKdf, 'raw');
});

test('what is wrong is told, and nothing is changed', async (t) => {
  const place = await makeStore(t);
  const from = place.options.rootKey;
  const missing = `${place.rootKeyFile}.missing`;
  const refused = (old: RootKeySource, to: RootKeySource, message: RegExp) => {
    const before = readFileSync(place.database);
    t.throws(() => changeRootKey(place.directory, old, to), { name: 'DekdError', message });
    t.deepEqual(readFileSync(place.database), before);
  };
  refused(from, { file: missing }, /missing: does not exist; make one with: head -c 32 \/dev\/urandom > \S+missing/);
  t.false(readdirSync(`${place.directory}/..`).includes('test-root.key.missing'));
  refused(from, { file: newFile(place, randomBytes(31), 'short') }, /must have exactly 32 bytes and has 31; make one/);
  refused(from, from, /the new root key is the old one; nothing was changed/);
  refused(from, { file: newFile(place, readFileSync(place.rootKeyFile), 'copy') }, /the new root key is the old one/);
  refused(from, { passphrase: { file: newFile(place, 'short', 'pass') } }, /must have 8 to 1024 bytes/);
  refused(
    { file: newFile(place, randomBytes(32), 'wrong') },
    { file: newFile(place, randomBytes(32), 'new') },
    /this root key/,
  );
});

test('a store in use, a damaged one and none at all are left alone', async (t) => {
  const place = await makeStore(t);
  const to = { file: newFile(place, randomBytes(32), 'new') };
  const upstream = await openPlace(t, place.options);
  t.throws(() => changeRootKey(place.directory, place.options.rootKey, to), {
    message: /another process \(an agent or dekctl\) has it open/,
  });
  await upstream.close();
  edit(place, (connection) => connection.exec(`UPDATE kek SET labels = '[]'; UPDATE kek_version SET created_at = 1`));
  t.throws(() => changeRootKey(place.directory, place.options.rootKey, to), {
    message: /: is damaged; nothing was changed:\n(the record of KEK .* was changed outside dekd\n?){4}$/,
  });
  const nowhere = makePlace(t);
  t.throws(() => changeRootKey(nowhere.directory, nowhere.options.rootKey, to), { message: /has no keystore\.db/ });
  t.throws(() => readdirSync(nowhere.directory), { code: 'ENOENT' });
});

test('a development store gets a root key of its own', async (t) => {
  const place = makePlace(t);
  await createWithDevelopmentKey(t, place);
  const development = `${place.directory}/root.key`;
  changeRootKey(place.directory, { file: development }, place.options.rootKey);
  rmSync(development);
  const upstream = await openPlace(t, place.options);
  t.is((await upstream.listKeks()).length, 1);
});

async function createWithDevelopmentKey(t: ExecutionContext, { options }: Place): Promise<void> {
  const upstream = await openPlace(t, { ...options, rootKey: { development: true } });
  await upstream.createKek('orders', new Map(), 'uid 2001');
  await upstream.close();
}
