import test from 'ava';
import { type Api, makeApi, makeCall, STRANGER, USER } from './parts.ts';

const CONTEXT = { tenant: 'acme', table: 'orders' };
const associated_data = Buffer.from('row-1');

async function encrypted(api: Api, key = 'orders'): Promise<Buffer> {
  const request = { key, plaintext: Buffer.from('hello'), encryption_context: CONTEXT, associated_data };
  return (await api.call('Encrypt', request)).ciphertext;
}

test('opens what Encrypt returned, and has the plaintext zeroed once it is sent', async (t) => {
  const api = await makeApi(t);
  const ciphertext = await encrypted(api);
  const call = makeCall();
  const answer = await api.call('Decrypt', { ciphertext, encryption_context: CONTEXT, associated_data }, call);
  t.like(answer, { key: 'orders', generation: 0, served_in_grace: false, outdated: false });
  t.is(answer.plaintext.toString(), 'hello');
  t.deepEqual(
    call.toWipe.map((bytes) => Buffer.from(bytes).toString()),
    ['hello'],
  );
});

test('one answer for another context, associated data, tag or DEK', async (t) => {
  const api = await makeApi(t);
  const ciphertext = await encrypted(api);
  const altered = Buffer.from(ciphertext);
  altered[altered.length - 1]! ^= 1;
  const foreign = await encrypted(await makeApi(t));
  const right = { ciphertext, encryption_context: CONTEXT, associated_data };
  const requests = [
    { ...right, encryption_context: { tenant: 'acme' } },
    { ...right, encryption_context: {} },
    { ...right, encryption_context: { ...CONTEXT, table: 'Orders' } },
    { ...right, associated_data: Buffer.alloc(0) },
    { ...right, ciphertext: altered },
    { ...right, ciphertext: foreign },
  ];
  const failures = await Promise.all(requests.map((request) => api.failure('Decrypt', request)));
  t.deepEqual(new Set(failures.map(({ reason }) => reason)), new Set(['INVALID_CIPHERTEXT']));
  t.is(new Set(failures.map(({ message, metadata }) => JSON.stringify([message, metadata]))).size, 1);
});

test('expected_key: the right one, another one, none of the form', async (t) => {
  const api = await makeApi(t);
  const request = { ciphertext: await encrypted(api), encryption_context: CONTEXT, associated_data };
  t.is((await api.call('Decrypt', { ...request, expected_key: 'orders' })).plaintext.toString(), 'hello');
  const mismatch = await api.failure('Decrypt', { ...request, expected_key: 'carts' });
  t.like(mismatch, { reason: 'KEY_MISMATCH', metadata: { key: 'orders' } });
  t.regex(mismatch.message, /of key "orders", not of "carts"/);
  t.like(await api.failure('Decrypt', { ...request, expected_key: '-' }), {
    reason: 'INVALID_REQUEST',
    metadata: { field: 'expected_key' },
  });
  // Whose ciphertext it is, is told only to who may decrypt it.
  t.is(
    (await api.failure('Decrypt', { ...request, expected_key: 'carts' }, makeCall(STRANGER))).reason,
    'POLICY_DENIED',
  );
});

test('a ciphertext without bytes, one that is none, one whose block is detached', async (t) => {
  const api = await makeApi(t);
  t.like(await api.failure('Decrypt', {}), { reason: 'INVALID_REQUEST', metadata: { field: 'ciphertext' } });
  t.is((await api.failure('Decrypt', { ciphertext: Buffer.from('hello') })).reason, 'INVALID_CIPHERTEXT');
  const inline = await encrypted(api);
  const detached = Buffer.concat([inline.subarray(0, 40), inline.subarray(42 + inline.readUInt16BE(40))]);
  detached[7] = 0;
  const failure = await api.failure('Decrypt', { ciphertext: detached, encryption_context: CONTEXT, associated_data });
  t.is(failure.reason, 'INVALID_CIPHERTEXT');
  t.regex(failure.message, /detached/);
});

test('a key named inside an envelope is hidden like any other', async (t) => {
  const api = await makeApi(t);
  const hidden = (await api.call('Encrypt', { key: 'hidden' }, makeCall(5000))).ciphertext;
  const absent = Buffer.from(hidden);
  absent.write('absent', absent.indexOf('hidden'));
  const [one, other] = await Promise.all([hidden, absent].map((ciphertext) => api.failure('Decrypt', { ciphertext })));
  t.is(one?.reason, 'POLICY_DENIED');
  t.is(other?.reason, 'POLICY_DENIED');
  t.is(one?.message.replace('hidden', 'absent'), other?.message);
});

test('dry_run checks form, policy and key, and opens nothing', async (t) => {
  const api = await makeApi(t);
  const ciphertext = await encrypted(api);
  const call = makeCall();
  const answer = await api.call('Decrypt', { ciphertext, encryption_context: CONTEXT, dry_run: true }, call);
  t.is(answer.plaintext.length, 0);
  t.is(answer.key, 'orders');
  t.deepEqual(call.toWipe, []);
  t.is((await api.failure('Decrypt', { ciphertext, dry_run: true }, makeCall(STRANGER))).reason, 'POLICY_DENIED');
  t.is((await api.failure('Decrypt', { ciphertext: Buffer.from('no'), dry_run: true })).reason, 'INVALID_CIPHERTEXT');
});

test("dry_run looks at the ciphertext's recipients and partition, not at what the key partitions by today", async (t) => {
  const api = await makeApi(t);
  const ciphertext = await encrypted(api, 'tenants');
  const dryRun = (from: Api, request: object) => from.call('Decrypt', { dry_run: true, ...request });
  const refused = (from: Api, request: object) => from.failure('Decrypt', { dry_run: true, ...request });
  t.is((await dryRun(api, { ciphertext, encryption_context: CONTEXT })).key, 'tenants');
  for (const encryption_context of [{}, { tenant: 'bolt' }]) {
    t.is((await refused(api, { ciphertext, encryption_context })).reason, 'INVALID_CIPHERTEXT');
  }
  // Another store's KEK.
  const foreign = await encrypted(await makeApi(t), 'tenants');
  t.is((await refused(api, { ciphertext: foreign, encryption_context: CONTEXT })).reason, 'INVALID_CIPHERTEXT');
  // Made before the key had partitions: the context need not name any.
  const whole = await encrypted(api, 'orders');
  const { options } = api.keyrings.byName('orders')!;
  Object.assign(options, { partitionBy: ['region'] });
  t.is((await dryRun(api, { ciphertext: whole, encryption_context: CONTEXT })).key, 'orders');
  t.is((await api.call('Decrypt', { ciphertext: whole, encryption_context: CONTEXT, associated_data })).key, 'orders');
});

test('`__proto__` is an entry of the context like any other', async (t) => {
  const api = await makeApi(t);
  const entry = Buffer.concat([Buffer.of(0x0a, 9), Buffer.from('__proto__'), Buffer.of(0x12, 1), Buffer.from('x')]);
  const key = Buffer.concat([Buffer.of(0x0a, 6), Buffer.from('orders')]);
  const { ciphertext } = await api.callRaw('Encrypt', Buffer.concat([key, Buffer.of(0x1a, entry.length), entry]));
  t.is((await api.failure('Decrypt', { ciphertext })).reason, 'INVALID_CIPHERTEXT');
  const length = Buffer.of((ciphertext.length & 0x7f) | 0x80, ciphertext.length >> 7);
  const decrypt = Buffer.concat([Buffer.of(0x0a), length, ciphertext, Buffer.of(0x12, entry.length), entry]);
  t.is((await api.callRaw('Decrypt', decrypt, makeCall(USER))).key, 'orders');
});
