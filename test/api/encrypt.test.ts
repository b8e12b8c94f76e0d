import test from 'ava';
import { makeApi, makeCall, OPERATOR, STRANGER } from './parts.ts';

const MAX_PLAINTEXT = 4 * 2 ** 20 - 128 * 2 ** 10;

test('encrypts under the key’s DEK, which stays the same from call to call', async (t) => {
  const api = await makeApi(t);
  const first = await api.call('Encrypt', { key: 'orders', plaintext: Buffer.from('a') });
  t.like(first, { key: 'orders', generation: 0, served_in_grace: false, outdated: false });
  t.is(first.ciphertext.toString('latin1', 0, 4), 'dekd');
  const second = await api.call('Encrypt', { key: 'orders', plaintext: Buffer.from('a') });
  t.deepEqual(second.ciphertext.subarray(8, 40), first.ciphertext.subarray(8, 40));
  t.notDeepEqual(second.ciphertext, first.ciphertext);
  t.is(api.keyrings.byName('orders')?.counters.deks_created, 1);
});

test('a hit is answered at once, without a promise', async (t) => {
  const { encrypt } = await import('../../src/api/encrypt.ts');
  const api = await makeApi(t);
  const request = {
    key: 'orders',
    plaintext: Buffer.from('a'),
    encryption_context: {},
    associated_data: Buffer.alloc(0),
    dry_run: false,
  };
  const miss = encrypt(request, makeCall(), api);
  t.true(miss instanceof Promise);
  await miss;
  t.false(encrypt(request, makeCall(), api) instanceof Promise);
});

test('the largest plaintext, context and associated data go in and come out; one more byte is refused', async (t) => {
  const api = await makeApi(t);
  // 64 entries of 8 bytes for lengths, 3 for the key, and values up to 8 KiB encoded.
  const names = Array.from({ length: 64 }, (_, index) => `k${String(index).padStart(2, '0')}`);
  const entries = names.map((name, index) => [name, 'v'.repeat(index < 60 ? 117 : 116)]);
  const largest = {
    key: 'orders',
    plaintext: Buffer.alloc(MAX_PLAINTEXT, 7),
    encryption_context: Object.fromEntries(entries),
    associated_data: Buffer.alloc(65_536, 8),
  };
  t.is(4 + entries.reduce((sum, [name = '', value = '']) => sum + 8 + name.length + value.length, 0), 8192);
  const { ciphertext } = await api.call('Encrypt', largest);
  const { encryption_context, associated_data } = largest;
  const opened = await api.call('Decrypt', { ciphertext, encryption_context, associated_data });
  t.true(largest.plaintext.equals(opened.plaintext));
  t.true(ciphertext.length + 65_536 + 8192 + 64 * 8 < 4 * 2 ** 20, 'the answer fits into a Decrypt call');

  const tooMuch: [string, object][] = [
    ['plaintext', { plaintext: Buffer.alloc(MAX_PLAINTEXT + 1) }],
    ['associated_data', { associated_data: Buffer.alloc(65_537) }],
    ['encryption_context', { encryption_context: { ...encryption_context, k00: 'v'.repeat(118) } }],
    ['encryption_context', { encryption_context: Object.fromEntries([...names, 'k64'].map((name) => [name, ''])) }],
  ];
  for (const [field, change] of tooMuch) {
    const { reason, metadata, message } = await api.failure('Encrypt', { ...largest, ...change });
    t.is(reason, 'INVALID_REQUEST');
    t.is(metadata['field'], field);
    t.true(message.startsWith(`${field}: `));
  }
});

test('an empty plaintext is valid', async (t) => {
  const api = await makeApi(t);
  const { ciphertext } = await api.call('Encrypt', { key: 'orders' });
  t.is((await api.call('Decrypt', { ciphertext })).plaintext.length, 0);
});

test('dry_run checks policy, key and context, and encrypts nothing', async (t) => {
  const api = await makeApi(t);
  const answer = await api.call('Encrypt', { key: 'orders', plaintext: Buffer.from('a'), dry_run: true });
  t.like(answer, { key: 'orders', generation: 0 });
  t.is(answer.ciphertext.length, 0);
  t.is(api.keyrings.byName('orders')?.counters.deks_created, 0);
  const dry = { dry_run: true };
  t.is((await api.failure('Encrypt', { key: 'hidden', ...dry })).reason, 'POLICY_DENIED');
  t.is((await api.failure('Encrypt', { key: 'tenants', ...dry })).reason, 'INVALID_REQUEST');
  t.is((await api.failure('Encrypt', { key: 'orders', ...dry }, makeCall(STRANGER))).reason, 'POLICY_DENIED');
});

test('each partition has a DEK of its own; the entry is needed', async (t) => {
  const api = await makeApi(t);
  const encrypt = async (tenant: string) =>
    (await api.call('Encrypt', { key: 'tenants', encryption_context: { tenant, table: 'x' } })).ciphertext;
  const [acme, acmeAgain, bolt] = [await encrypt('acme'), await encrypt('acme'), await encrypt('bolt')];
  t.deepEqual(acme.subarray(8, 40), acmeAgain.subarray(8, 40));
  t.notDeepEqual(acme.subarray(8, 40), bolt.subarray(8, 40));
  for (const tenant of ['', 'v'.repeat(257)]) {
    const failure = await api.failure('Encrypt', { key: 'tenants', encryption_context: { tenant } });
    t.like(failure, { reason: 'INVALID_REQUEST', metadata: { field: 'encryption_context' } });
    t.regex(failure.message, /entry "tenant"/);
  }
  await encrypt('v'.repeat(256));
});

test('an operator may not encrypt', async (t) => {
  const api = await makeApi(t);
  const failure = await api.failure('Encrypt', { key: 'orders' }, makeCall(OPERATOR));
  t.like(failure, { reason: 'POLICY_DENIED', metadata: { key: 'orders' } });
});
