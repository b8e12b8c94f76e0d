import test from 'ava';
import { decrypt } from '../../src/api/decrypt.ts';
import { encrypt } from '../../src/api/encrypt.ts';
import { makeApi, makeCall } from './parts.ts';

const LARGE = 4 * 1024 * 1024 - 128 * 1024;
const rest = { encryption_context: {}, associated_data: Buffer.alloc(0), dry_run: false };
const sealing = (plaintext: Buffer) => ({ key: 'orders', plaintext, ...rest });
const opening = (ciphertext: Buffer) => ({ ciphertext, expected_key: '', ...rest });

test('small requests are done before large ones that came first', async (t) => {
  const api = await makeApi(t);
  const small = (await api.call('Encrypt', sealing(Buffer.from('small')))).ciphertext;
  const large = (await api.call('Encrypt', sealing(Buffer.alloc(LARGE, 7)))).ciphertext;
  const done: string[] = [];
  const note = <T>(name: string, answer: T | Promise<T>): Promise<void> => {
    if (!(answer instanceof Promise)) done.push(name);
    return Promise.resolve(answer).then(() => {
      if (!done.includes(name)) done.push(name);
    });
  };
  await Promise.all([
    note('large Encrypt', encrypt(sealing(Buffer.alloc(LARGE)), makeCall(), api)),
    note('large Decrypt', decrypt(opening(large), makeCall(), api)),
    note('small Encrypt', encrypt(sealing(Buffer.alloc(256)), makeCall(), api)),
    note('small Decrypt', decrypt(opening(small), makeCall(), api)),
  ]);
  t.deepEqual(done.slice(0, 2), ['small Encrypt', 'small Decrypt']);
  t.is(done.length, 4);
});

test('a large payload under way survives a flush of its DEK, and counts as one message', async (t) => {
  const api = await makeApi(t);
  await api.call('Encrypt', sealing(Buffer.from('x')));
  const [dek] = [...api.keyrings.all()];
  const plaintext = Buffer.alloc(LARGE, 7);
  const sealed = encrypt(sealing(plaintext), makeCall(), api);
  t.deepEqual([dek?.messages, dek?.bytes], [2, LARGE + 1]);
  // What the transport does with the request once a handler is done; the job has its own copy.
  plaintext.fill(0);
  api.keyrings.flush('orders');
  t.is(dek?.place, 'gone');
  const { ciphertext } = await sealed;
  const call = makeCall();
  const opened = decrypt(opening(Buffer.from(ciphertext)), call, api);
  const { plaintext: text } = await opened;
  t.true(Buffer.alloc(LARGE, 7).equals(text));
  t.is(call.toWipe.length, 1);
  t.is(call.toWipe[0], text);
});

test('a large payload on a miss enters the cache when it opened, and not when it did not', async (t) => {
  const api = await makeApi(t);
  const { ciphertext } = await api.call('Encrypt', sealing(Buffer.alloc(LARGE, 7)));
  const altered = Buffer.from(ciphertext);
  altered[altered.length - 1]! ^= 1;
  api.keyrings.flush('orders');
  t.is((await api.failure('Decrypt', { ciphertext: altered })).reason, 'INVALID_CIPHERTEXT');
  t.deepEqual([...api.keyrings.all()], []);
  t.is((await api.call('Decrypt', { ciphertext })).plaintext.length, LARGE);
  t.is([...api.keyrings.all()].length, 1);
});
