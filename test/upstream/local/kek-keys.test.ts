import { createCipheriv, createDecipheriv, hkdfSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import test from 'ava';
import { createKey, dekId, freeKey, hmac } from '../../../src/crypto/native.ts';
import { KekKeys, mostLoaded, rewrapKek } from '../../../src/upstream/local/kek-keys.ts';
import { live, wrapContext } from '../../contract/upstream-context.ts';
import { edit, makePlace, openPlace } from './fixture.ts';

const STORE = '0123456789abcdef';

test('a key opens in its own place only, and is loaded once', (t) => {
  makePlace(t);
  const wrappingKey = createKey('raw');
  t.teardown(() => freeKey(wrappingKey));
  const keys = new KekKeys(STORE, wrappingKey);
  const wrapped = keys.create('orders', 1);
  t.is(wrapped.length, 72);
  t.throws(() => keys.load('orders', 2, wrapped), { code: 'ERR_AUTHENTICATION' });
  t.throws(() => keys.load('carts', 1, wrapped), { code: 'ERR_AUTHENTICATION' });
  t.throws(() => new KekKeys('fedcba9876543210', wrappingKey).load('orders', 1, wrapped), {
    code: 'ERR_AUTHENTICATION',
  });
  const handle = keys.load('orders', 1, wrapped);
  t.is(keys.load('orders', 1, wrapped), handle);
  const other = keys.load('carts', 1, keys.create('carts', 1));
  keys.free('orders', [1, 2]);
  t.throws(() => freeKey(handle), { code: 'ERR_STALE_HANDLE' });
  keys.free('orders', [1]);
  t.not(keys.load('orders', 1, wrapped), handle);
  keys.freeAll();
  t.throws(() => freeKey(other), { code: 'ERR_STALE_HANDLE' });
  keys.freeAll();
});

test('of all stores together, only those used last stay in slots; another comes back when it is used', (t) => {
  makePlace(t);
  const wrappingKey = createKey('raw');
  t.teardown(() => freeKey(wrappingKey));
  const keys = new KekKeys(STORE, wrappingKey);
  // A copy of the same store: a key of one is not taken for the other's.
  const copy = new KekKeys(STORE, wrappingKey);
  t.teardown(() => copy.freeAll());
  t.teardown(() => keys.freeAll());
  const [first, used] = [keys.create('orders', 1), keys.create('orders', 2)];
  const evicted = keys.load('orders', 1, first);
  const mac = hmac(evicted, Buffer.from('message'));
  const kept = keys.load('orders', 2, used);
  const wrapped = copy.create('orders', 1);
  const most = mostLoaded();
  for (let version = 3; version < most; version++) {
    keys.load('orders', version, keys.create('orders', version));
    keys.load('orders', 2, used);
  }
  t.is(keys.load('orders', 1, first), evicted, 'as many as may stay');
  t.is(keys.load('orders', 2, used), kept);
  t.notDeepEqual(hmac(copy.load('orders', 1, wrapped), Buffer.from('message')), mac);
  for (let version = most; version < 2 * most - 1; version++) {
    keys.load('orders', version, keys.create('orders', version));
    keys.load('orders', 2, used);
  }
  t.throws(() => freeKey(evicted), { code: 'ERR_STALE_HANDLE' });
  t.is(keys.load('orders', 2, used), kept);
  t.deepEqual(hmac(keys.load('orders', 1, first), Buffer.from('message')), mac);
});

test('a key is wrapped under another key from slot to slot, and stays the same', (t) => {
  makePlace(t);
  const [from, to] = [createKey('raw'), createKey('raw')] as const;
  t.teardown(() => {
    freeKey(from);
    freeKey(to);
  });
  const former = new KekKeys(STORE, from);
  const next = new KekKeys(STORE, to);
  const wrappedKey = former.create('orders', 1);
  const rewrapped = rewrapKek(STORE, { kek: 'orders', version: 1, wrappedKey }, from, to);
  t.throws(() => next.load('orders', 1, wrappedKey), { code: 'ERR_AUTHENTICATION' });
  const message = Buffer.from('message');
  t.deepEqual(hmac(next.load('orders', 1, rewrapped), message), hmac(former.load('orders', 1, wrappedKey), message));
  t.throws(() => rewrapKek(STORE, { kek: 'orders', version: 2, wrappedKey }, from, to), { code: 'ERR_AUTHENTICATION' });
  former.freeAll();
  next.freeAll();
});

test('code that knows only docs/upstreams/local.md gets from the root key to the DEK; no key lies in the file', async (t) => {
  const place = makePlace(t);
  const upstream = await openPlace(t, place.options);
  const { uri } = await upstream.createKek('orders', new Map(), 'uid 2001');
  const dek = createKey('dek');
  t.teardown(() => freeKey(dek));
  const context = wrapContext({ 'dekd:key': 'orders', 'dekd:id': dekId(dek).toString('hex'), tenant: 'acme' });
  const wrapped = await upstream.wrap(uri, dek, context, live());
  await upstream.close();

  let stored = Buffer.alloc(0);
  edit(place, (connection) => {
    const row = connection.prepare('SELECT wrapped_key FROM kek_version').get() as { wrapped_key: Uint8Array };
    stored = Buffer.from(row.wrapped_key);
  });
  const kekWrap = derive(readFileSync(place.rootKeyFile), 'dekd keystore v1', 'kek-wrap');
  const store = uri.slice('local:'.length, -'/orders'.length);
  const aad = `00000004 0200000007 ${hex('kek-key')} 0200000010 ${hex(store)} 0200000006 ${hex('orders')} 0100000008 0000000000000001`;
  const kek = openXaes(kekWrap, stored, Buffer.from(aad.replaceAll(' ', ''), 'hex'));
  const plainDek = openXaes(kek, Buffer.from(wrapped.bytes), Buffer.from(context.encoded));
  t.deepEqual(derive(plainDek, 'dekd v1', 'dek-id'), dekId(dek));

  const file = readFileSync(place.database);
  for (const key of [kek, kekWrap, plainDek]) {
    for (const text of [key, key.toString('hex'), key.toString('base64')]) t.is(file.indexOf(text), -1);
  }
  t.true(file.includes(stored));
});

function hex(text: string): string {
  return Buffer.from(text).toString('hex');
}

function derive(key: Buffer, salt: string, label: string): Buffer {
  return Buffer.from(hkdfSync('sha256', key, salt, label, 32));
}

/** c2sp.org/XAES-256-GCM of nonce 24 | ciphertext | tag 16. */
function openXaes(key: Buffer, sealed: Buffer, aad: Buffer): Buffer {
  const block = (input: Buffer) => createCipheriv('aes-256-ecb', key, null).setAutoPadding(false).update(input);
  const l = BigInt(`0x${block(Buffer.alloc(16)).toString('hex')}`);
  const k1 = (((l << 1n) & ((1n << 128n) - 1n)) ^ (l >> 127n ? 0x87n : 0n)).toString(16).padStart(32, '0');
  const half = (counter: number) => {
    const input = Buffer.concat([Buffer.of(0, counter, 0x58, 0), sealed.subarray(0, 12)]);
    for (const [index, byte] of Buffer.from(k1, 'hex').entries()) input[index]! ^= byte;
    return block(input);
  };
  const derived = Buffer.concat([half(1), half(2)]);
  const cipher = createDecipheriv('aes-256-gcm', derived, sealed.subarray(12, 24));
  cipher.setAAD(aad).setAuthTag(sealed.subarray(-16));
  return Buffer.concat([cipher.update(sealed.subarray(24, -16)), cipher.final()]);
}
