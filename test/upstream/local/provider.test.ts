import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { createKey, dekId, freeKey } from '../../../src/crypto/native.ts';
import { openLocal } from '../../../src/upstream/local/open.ts';
import { LocalUpstream } from '../../../src/upstream/local/provider.ts';
import { hasLifecycle } from '../../../src/upstream/provider.ts';
import { lifecycleContract } from '../../contract/lifecycle-contract.ts';
import { live, wrapContext } from '../../contract/upstream-context.ts';
import { type Backend, fails, upstreamContract } from '../../contract/upstream-contract.ts';
import { MovableClock } from '../../helpers/movable-clock.ts';
import { makePlace, makeStore, openPlace, openStore, runChild } from './fixture.ts';

const CONTEXT = wrapContext({ 'dekd:key': 'orders', tenant: 'acme' });
const DAY_MS = 86_400_000;

async function setUp(): Promise<Backend> {
  const directory = mkdtempSync(join(tmpdir(), 'dekd-local-'));
  const upstream = await openLocal('store', { type: 'local', directory, rootKey: { development: true } });
  const { uri: kek } = await upstream.createKek('orders', new Map(), 'uid 2001');
  const { uri: otherKek } = await upstream.createKek('carts', new Map(), 'uid 2001');
  return {
    upstream,
    kek,
    otherKek,
    missingKek: upstream.resolve('local:nobody'),
    missingVersion: '99',
    bindsContext: true,
    rotate: async () => {
      await upstream.rotateKek(kek, 'uid 2001');
    },
    tearDown: async () => {
      await upstream.close();
      rmSync(directory, { recursive: true });
    },
  };
}

upstreamContract('local', setUp);
lifecycleContract('local', setUp);

test('a new KEK has one active version, its labels and its time', async (t) => {
  const clock = new MovableClock();
  const now = clock.wallMs();
  clock.stepWall(0.75);
  const upstream = await openPlace(t, { ...makePlace(t).options, clock });
  const labels = new Map([
    ['team', 'payments'],
    ['__proto__', 'is a label like any other'],
  ]);
  const description = await upstream.createKek('orders', labels, 'uid 2001');
  t.regex(description.uri, /^local:[0-9a-f]{16}\/orders$/);
  t.is(description.state, 'active');
  t.deepEqual(description.versions, [{ version: '1', state: 'active', createdAt: now, createdBy: 'uid 2001' }]);
  labels.clear();
  const read = await upstream.describe(description.uri, live());
  t.deepEqual(
    [...read.labels],
    [
      ['team', 'payments'],
      ['__proto__', 'is a label like any other'],
    ],
  );
  t.true(hasLifecycle(upstream));
  t.is(upstream.type, 'local');
  t.is(upstream.warnings.length, 1);
  t.regex(
    upstream.warnings[0]!,
    /^a new keystore \([0-9a-f]{16}\) was made in \S+: it opens no ciphertext of an earlier one$/,
  );
});

test('a rotation makes the old version decrypt-only', async (t) => {
  const clock = new MovableClock();
  const now = clock.wallMs();
  const upstream = await openPlace(t, { ...makePlace(t).options, clock });
  const { uri } = await upstream.createKek('orders', new Map([['team', 'payments']]), 'uid 2001');
  clock.stepWall(DAY_MS);
  await upstream.rotateKek(uri, 'uid 2001');
  clock.stepWall(DAY_MS);
  const description = await upstream.rotateKek('local:orders', 'uid 2002');
  t.deepEqual(description.versions, [
    { version: '1', state: 'decrypt-only', createdAt: now, createdBy: 'uid 2001' },
    { version: '2', state: 'decrypt-only', createdAt: now + DAY_MS, createdBy: 'uid 2001' },
    { version: '3', state: 'active', createdAt: now + 2 * DAY_MS, createdBy: 'uid 2002' },
  ]);
  t.deepEqual([...description.labels], [['team', 'payments']]);
});

test('everything is there after a restart, and every version unwraps', async (t) => {
  const place = makePlace(t);
  const dek = createKey('dek');
  t.teardown(() => freeKey(dek));
  const first = await openPlace(t, place.options);
  const { uri } = await first.createKek('orders', new Map([['team', 'payments']]), 'uid 2001');
  const wraps = [await first.wrap(uri, dek, CONTEXT, live())];
  // Past ten, so that versions sort as numbers and not as text.
  for (let rotation = 0; rotation < 11; rotation++) {
    await first.rotateKek(uri, 'uid 2001');
    wraps.push(await first.wrap(uri, dek, CONTEXT, live()));
  }
  const before = await first.describe(uri, live());
  await first.close();

  const second = await openPlace(t, place.options);
  t.deepEqual(second.warnings, [], 'only a store that was made now is news');
  t.deepEqual(await second.describe(uri, live()), before);
  for (const [index, wrapped] of wraps.entries()) {
    t.is(wrapped.kekVersion, String(index + 1));
    const again = await second.unwrap(uri, wrapped, CONTEXT, live());
    t.deepEqual(dekId(again), dekId(dek));
    freeKey(again);
  }
  const { versions } = await second.rotateKek(uri, 'uid 2001');
  t.is(versions.at(-1)?.version, '13');
});

test('a version of the same KEK does not open what another wrapped', async (t) => {
  const upstream = await openPlace(t, makePlace(t).options);
  const { uri } = await upstream.createKek('orders', new Map(), 'uid 2001');
  const dek = createKey('dek');
  t.teardown(() => freeKey(dek));
  const wrapped = await upstream.wrap(uri, dek, CONTEXT, live());
  await upstream.rotateKek(uri, 'uid 2001');
  await fails(t, upstream.unwrap(uri, { ...wrapped, kekVersion: '2' }, CONTEXT, live()), 'invalid');
  for (const kekVersion of ['01', '+1', '1.0', ' 1', '0', '-1', '1e0']) {
    await fails(t, upstream.unwrap(uri, { ...wrapped, kekVersion }, CONTEXT, live()), 'invalid');
  }
});

test('a DEK handle that is stale, or of a closed arena slot, is not a refusal', async (t) => {
  const upstream = await openPlace(t, makePlace(t).options);
  const { uri } = await upstream.createKek('orders', new Map(), 'uid 2001');
  const dek = createKey('dek');
  freeKey(dek);
  await fails(t, upstream.wrap(uri, dek, CONTEXT, live()), 'unreachable');
});

test('KEKs of other stores are refused, both stores named', async (t) => {
  const upstream = await openPlace(t, makePlace(t).options);
  const { uri } = await upstream.createKek('orders', new Map(), 'uid 2001');
  const own = uri.slice('local:'.length, -'/orders'.length);
  t.is(upstream.resolve('local:orders'), uri);
  t.throws(() => upstream.resolve('local:0123456789abcdef/orders'), {
    name: 'DekdError',
    message: `kek: local:0123456789abcdef/orders lies in store 0123456789abcdef; the store of this upstream is ${own}`,
  });
  await t.throwsAsync(upstream.rotateKek('local:0123456789abcdef/orders', 'uid 2001'), { name: 'DekdError' });
  const failure = await fails(t, upstream.describe('local:0123456789abcdef/orders', live()), 'refused', 'kek');
  t.is(failure?.message, `store ${own} has no KEK local:0123456789abcdef/orders`);
});

test('create refuses bad names, bad labels and names that are taken', async (t) => {
  const upstream = await openPlace(t, makePlace(t).options);
  await upstream.createKek('orders', new Map(), 'uid 2001');
  const reasonOf = async (call: Promise<unknown>) =>
    ((await t.throwsAsync(call, { name: 'DekdError' })) as unknown as { reason: string }).reason;
  t.is(await reasonOf(upstream.createKek('orders', new Map(), 'uid 2001')), 'KEY_EXISTS');
  for (const name of ['', '.orders', 'a/b', 'a b', 'ä', 'a'.repeat(129), 'a\n']) {
    t.is(await reasonOf(upstream.createKek(name, new Map(), 'uid 2001')), 'INVALID_REQUEST', JSON.stringify(name));
  }
  t.is(await reasonOf(upstream.createKek('carts', new Map([['', 'value']]), 'uid 2001')), 'INVALID_REQUEST');
  t.is(await reasonOf(upstream.rotateKek('local:carts', 'uid 2001')), 'KEY_NOT_FOUND');
  t.is(await reasonOf(upstream.rotateKek('aws-kms:carts', 'uid 2001')), 'INVALID_REQUEST');
  const longest = 'a'.repeat(128);
  t.true((await upstream.createKek(longest, new Map(), 'uid 2001')).uri.endsWith(longest));
});

test('names that Object.prototype has are names like any other', async (t) => {
  const upstream = await openPlace(t, makePlace(t).options);
  await fails(t, upstream.describe(upstream.resolve('local:constructor'), live()), 'refused', 'kek');
  const { uri } = await upstream.createKek('constructor', new Map(), 'uid 2001');
  t.is((await upstream.rotateKek(uri, 'uid 2001')).versions.length, 2);
});

test('a closed upstream makes and rotates nothing', async (t) => {
  const upstream = await openPlace(t, makePlace(t).options);
  const { uri } = await upstream.createKek('orders', new Map(), 'uid 2001');
  await upstream.close();
  await fails(t, upstream.createKek('carts', new Map(), 'uid 2001'), 'unreachable');
  await fails(t, upstream.rotateKek(uri, 'uid 2001'), 'unreachable');
});

for (const state of ['archived', 'disabled', 'pending-deletion', 'destroyed'] as const) {
  test(`a version that is ${state} ${state === 'archived' ? 'unwraps' : 'refuses'}, the KEK's other versions go on`, async (t) => {
    const place = await makeStore(t);
    const dek = createKey('dek');
    t.teardown(() => freeKey(dek));
    const before = await openPlace(t, place.options);
    const kek = before.resolve('local:orders');
    const wrapped = await before.wrap(kek, dek, CONTEXT, live());
    await before.close();
    const { store } = openStore(t, place);
    const version = store.kek('orders')!.versions.get(2)!;
    store.write({ versions: [{ ...version, state, wrappedKey: state === 'destroyed' ? null : version.wrappedKey }] });
    store.close();

    const upstream = await openPlace(t, place.options);
    if (state === 'archived') {
      freeKey(await upstream.unwrap(kek, wrapped, CONTEXT, live()));
    } else {
      const failure = await fails(t, upstream.unwrap(kek, wrapped, CONTEXT, live()), 'refused', 'version');
      t.is(failure?.condition, state);
    }
    const failure = await fails(t, upstream.wrap(kek, dek, CONTEXT, live()), 'refused', 'kek');
    t.regex(failure?.message ?? '', /has no active version; rotate it$/);
    await upstream.rotateKek(kek, 'uid 2001');
    t.is((await upstream.wrap(kek, dek, CONTEXT, live())).kekVersion, '3');
  });
}

test('a store that refuses a backup says why', async (t) => {
  const place = makePlace(t);
  const { store, database, keys } = openStore(t, place);
  const upstream = new LocalUpstream(place.options, store, keys, false);
  await upstream.createKek('orders', new Map(), 'uid 2001');
  t.is((await upstream.backup()).subarray(0, 13).toString(), 'SQLite format');
  database.connection.exec(`UPDATE kek SET changed_by = 'somebody'`);
  await t.throwsAsync(upstream.backup(), {
    name: 'DekdError',
    message: /^keystore \S+: the record of KEK "orders" was changed outside dekd; put back a backup of the directory$/,
  });
});

test('the versions of a KEK take a few slots, however many are used, and make way for another KEK', (t) => {
  // Two keys of the store, the DEK, and a sixteenth of the slots.
  t.deepEqual(runChild('many versions', makePlace(t).options), { slots: 251, slotsUsed: 3 + 15 });
});
