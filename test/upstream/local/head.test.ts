import { writeFileSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { openDatabase, readRows } from '../../../src/upstream/local/database.ts';
import { READ_HEAD, readHead, readRootKeyKdf, rootKeyKdfOf, verifyHead } from '../../../src/upstream/local/head.ts';
import type { RootKeySource } from '../../../src/upstream/local/options.ts';
import { RAW, type RootKeyKdf } from '../../../src/upstream/local/root-key-kdf.ts';
import { freeStoreKeys, openStoreKeys, type StoreKeys } from '../../../src/upstream/local/store-keys.ts';
import { edit, makePlace, makeStore, openPlace, type Place } from './fixture.ts';

function keysOf(t: ExecutionContext, { directory }: Place, source: RootKeySource, kdf: RootKeyKdf): StoreKeys {
  const keys = openStoreKeys(source, { directory, kdf, isNew: false });
  t.teardown(() => freeStoreKeys(keys));
  return keys;
}

test('what the record says is believed only under the root key that it belongs to', async (t) => {
  const place = await makeStore(t);
  const keys = keysOf(t, place, place.options.rootKey, RAW);
  const database = openDatabase(place.directory);
  t.teardown(() => database.connection.close());
  t.deepEqual(readRootKeyKdf(database), RAW);
  const { head, manifest } = readHead(database, keys);
  t.regex(head.storeId, /^[0-9a-f]{16}$/);
  t.deepEqual([...manifest.keys()].sort(), ['carts', 'carts/1', 'orders', 'orders/1', 'orders/2']);

  const [columns] = readRows(database.connection, READ_HEAD);
  t.is(verifyHead(columns, keys).problem, undefined);
  t.regex(verifyHead(undefined, keys).problem ?? '', /^the store record is missing; /);
  for (const index of columns!.keys()) {
    const edited = columns!.map((field, at) => (at === index ? otherThan(field) : field));
    t.regex(verifyHead(edited, keys).problem ?? '', /^the store record was changed outside dekd; /, `column ${index}`);
  }
});

function otherThan(field: unknown): never {
  if (typeof field === 'bigint') return (field + 1n) as never;
  if (typeof field === 'string') return (field === 'raw' ? 'scrypt' : `${field} `) as never;
  return (field === null ? Buffer.alloc(19) : Buffer.from(field as Uint8Array).reverse()) as never;
}

test('a wrong passphrase is told as such', async (t) => {
  const place = makePlace(t);
  const [right, wrong] = ['correct horse', 'battery staple'].map((text, index) => {
    const file = `${place.rootKeyFile}.${index}`;
    writeFileSync(file, text, { mode: 0o600 });
    return { passphrase: { file } };
  });
  await (await openPlace(t, { ...place.options, rootKey: right! })).close();
  await t.throwsAsync(openPlace(t, { ...place.options, rootKey: wrong! }), {
    name: 'DekdError',
    message:
      /^upstream store: keystore \S+: the root key that this passphrase makes \(id [0-9a-f]{16}\) is not the store's \(id [0-9a-f]{16}\); the passphrase is wrong, or the salt in the store record was changed$/,
  });
  await t.throwsAsync(openPlace(t, place.options), { message: /its root key is made from a passphrase/ });
  const again = await openPlace(t, { ...place.options, rootKey: right! });
  await again.close();
  // An edited salt makes another root key.
  const params = Buffer.concat([Buffer.alloc(16, 1), Buffer.of(17, 8, 1)]);
  edit(place, (connection) => connection.prepare('UPDATE store SET root_key_params = ?').run(params));
  await t.throwsAsync(openPlace(t, { ...place.options, rootKey: right! }), {
    message: /the salt in the store record was/,
  });
});

test('columns of a damaged page are no way to a root key', (t) => {
  t.is(rootKeyKdfOf(undefined), undefined);
  t.is(rootKeyKdfOf([]), undefined);
  t.is(rootKeyKdfOf(['id', null, 'argon2', null]), undefined);
  t.deepEqual(rootKeyKdfOf(['id', null, 'scrypt', Buffer.of(1)]), {
    rootKeyKdf: 'scrypt',
    rootKeyParams: Buffer.of(1),
  });
});

test('a store without its record is refused', async (t) => {
  const place = await makeStore(t);
  edit(place, (connection) => connection.exec('DELETE FROM store'));
  await t.throwsAsync(openPlace(t, place.options), { message: /the store record is missing; put back a backup/ });
});
