import { createHmac, hkdfSync } from 'node:crypto';
import { closeSync, openSync, readFileSync } from 'node:fs';
import test from 'ava';
import { freeKey, hmac, readKey } from '../../../src/crypto/native.ts';
import { deriveStoreKeys, freeStoreKeys, shortRootKeyId } from '../../../src/upstream/local/store-keys.ts';
import { makePlace } from './fixture.ts';

test('each key has its own label under one salt', (t) => {
  const place = makePlace(t);
  const descriptor = openSync(place.rootKeyFile, 'r');
  const rootKey = readKey(descriptor, 'raw', 32);
  closeSync(descriptor);
  const keys = deriveStoreKeys(rootKey);
  freeKey(rootKey);

  const bytes = readFileSync(place.rootKeyFile);
  const derived = (label: string) => Buffer.from(hkdfSync('sha256', bytes, 'dekd keystore v1', label, 32));
  const message = Buffer.from('message');
  const expected = (label: string) => createHmac('sha256', derived(label)).update(message).digest();
  t.deepEqual(hmac(keys.kekWrap, message), expected('kek-wrap'));
  t.deepEqual(hmac(keys.recordMac, message), expected('record-mac'));
  const id = createHmac('sha256', derived('root-key-id')).update('dekd keystore v1').digest();
  t.deepEqual(keys.rootKeyId, id);
  t.is(shortRootKeyId(id), id.toString('hex').slice(0, 16));

  freeStoreKeys(keys);
  t.throws(() => hmac(keys.kekWrap, message), { code: 'ERR_STALE_HANDLE' });
  t.throws(() => hmac(keys.recordMac, message), { code: 'ERR_STALE_HANDLE' });
});
