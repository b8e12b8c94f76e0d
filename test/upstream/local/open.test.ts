import { copyFileSync, existsSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import test from 'ava';
import { openLocal } from '../../../src/upstream/local/open.ts';
import { makePlace, makeStore, openPlace, runChild } from './fixture.ts';

test('an absent directory becomes a private one with a store', async (t) => {
  const place = makePlace(t);
  const directory = join(place.directory, 'deep', 'below');
  const upstream = await openPlace(t, { ...place.options, directory });
  await upstream.createKek('orders', new Map(), 'uid 2001');
  await upstream.close();
  t.is(statSync(directory).mode & 0o777, 0o700);
  t.deepEqual(readdirSync(directory), ['keystore.db']);
});

test('a development root key is announced, lies beside the store and opens it again', async (t) => {
  const { options } = makePlace(t);
  const development = { ...options, rootKey: { development: true as const } };
  const first = await openPlace(t, development);
  t.deepEqual(first.warnings, ['development only: the root key lies beside the store']);
  const { uri } = await first.createKek('orders', new Map(), 'uid 2001');
  await first.close();
  t.deepEqual(readdirSync(options.directory).sort(), ['keystore.db', 'root.key']);
  const second = await openPlace(t, development);
  t.is(second.resolve('local:orders'), uri);
  await second.close();

  rmSync(join(options.directory, 'root.key'));
  await t.throwsAsync(openLocal('store', development), { message: /root\.key: does not exist; put back the root key/ });
  t.false(existsSync(join(options.directory, 'root.key')));
});

test('a store is opened by the root key that made it, whichever way that is named', async (t) => {
  const place = await makeStore(t);
  const development = { ...place.options, rootKey: { development: true as const } };
  // No root.key lies there: made with a file, asked for as a development store.
  await t.throwsAsync(openLocal('store', development), { message: /root\.key: does not exist/ });
  writeFileSync(join(place.directory, 'root.key'), Buffer.alloc(32, 1), { mode: 0o600 });
  await t.throwsAsync(openLocal('store', development), {
    message: /this root key \(id [0-9a-f]{16}\) is not the store's/,
  });
  copyFileSync(place.rootKeyFile, join(place.directory, 'root.key'));
  await openPlace(t, development);
  t.pass();
});

test('a start without a root key leaves nothing in the way of the next one', async (t) => {
  const place = makePlace(t);
  rmSync(place.rootKeyFile);
  await t.throwsAsync(openLocal('store', place.options), { name: 'DekdError', message: /make one with/ });
  writeFileSync(place.rootKeyFile, Buffer.alloc(32, 9), { mode: 0o600 });
  const upstream = await openPlace(t, place.options);
  t.is((await upstream.createKek('orders', new Map(), 'uid 2001')).state, 'active');
});

test('every slot that was taken is given back', async (t) => {
  const place = await makeStore(t);
  writeFileSync(join(dirname(place.directory), 'wrong.key'), Buffer.alloc(32, 1), { mode: 0o600 });
  // While open: the two store keys, one KEK and the test's DEK.
  t.deepEqual(runChild('leaks', place.options), { before: 0, open: 4, after: 0 });
});
