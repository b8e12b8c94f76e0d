import test from 'ava';
import { type Api, CUSTODIAN, makeApi, makeCall, OPERATOR, STRANGER, USER } from './parts.ts';

const archive = {
  recipients: [{ upstream: 'store', kek: 'local:archive', role: 'authority' }],
  allow: [
    { uid: USER, roles: ['user'], archived: true },
    { uid: STRANGER, roles: ['user'] },
    { uid: CUSTODIAN, roles: ['custodian'] },
  ],
};
const perCall = {
  recipients: [{ upstream: 'store', kek: 'local:per-call', role: 'authority' }],
  allow: [{ uid: USER, roles: ['user'] }],
  cache: { mode: 'request' },
};

async function sealed(api: Api, key: string, plaintext: string, more: object = {}): Promise<Buffer> {
  return (await api.call('Encrypt', { key, plaintext: Buffer.from(plaintext), ...more })).ciphertext;
}

test('each item as Decrypt would answer it, in order, every plaintext zeroed afterwards', async (t) => {
  const api = await makeApi(t);
  const tenant = { encryption_context: { tenant: 'acme' } };
  const items = [
    { ciphertext: await sealed(api, 'orders', 'a') },
    { ciphertext: await sealed(api, 'tenants', 'b', tenant), ...tenant },
    { ciphertext: await sealed(api, 'orders', 'c'.repeat(100_000)), expected_key: 'orders' },
  ];
  for (const flushed of [false, true]) {
    if (flushed) for (const key of api.keyrings.names()) api.keyrings.flush(key);
    const call = makeCall();
    const { results } = await api.call('DecryptBatch', { items }, call);
    t.deepEqual(
      results.map(
        ({ status, response }: { status: { code: number }; response: { plaintext: Buffer; key: string } }) => [
          status.code,
          response.key,
          response.plaintext.toString().slice(0, 1),
        ],
      ),
      [
        [0, 'orders', 'a'],
        [0, 'tenants', 'b'],
        [0, 'orders', 'c'],
      ],
    );
    t.deepEqual(call.toWipe.map(({ length }) => length).sort(), [1, 1, 100_000]);
  }
});

test('a failed item has the code, message and details of the single call; the others have their answers', async (t) => {
  const api = await makeApi(t);
  const good = { ciphertext: await sealed(api, 'orders', 'hello') };
  const bad = [
    { ciphertext: Buffer.alloc(0) },
    { ciphertext: Buffer.alloc(200) },
    { ...good, expected_key: 'carts' },
    { ...good, associated_data: Buffer.from('other') },
    { ciphertext: await sealed(await makeApi(t), 'orders', 'foreign') },
  ];
  const { results } = await api.call('DecryptBatch', { items: bad.flatMap((one) => [one, good]) });
  for (const [index, request] of bad.entries()) {
    const { status, response } = results[index * 2];
    const single = api.itemStatus(await api.failure('Decrypt', request), makeCall());
    t.is(response, null);
    t.is(status.code, single.code);
    t.is(status.message, single.message);
    t.deepEqual(status.details[0].value, Buffer.from(single.details[0]!.value));
    t.is(results[index * 2 + 1].response.plaintext.toString(), 'hello');
  }
});

test('one unwrap for a batch and block in mode request, and nothing is held afterwards', async (t) => {
  const api = await makeApi(t, 'production', { 'per-call': perCall });
  const request = { key: 'per-call', plaintext: Buffer.from('x') };
  const { results } = await api.call('EncryptBatch', { items: [request, request] });
  const items = results.map(({ response }: { response: { ciphertext: Buffer } }) => ({
    ciphertext: response.ciphertext,
  }));
  const { counters } = api.keyrings.byName('per-call')!;
  const before = counters.unwraps;
  const opened = await api.call('DecryptBatch', { items: [...items, ...items] });
  t.is(opened.results.length, 4);
  t.true(opened.results.every(({ status }: { status: { code: number } }) => status.code === 0));
  t.is(counters.unwraps - before, 1);
  t.deepEqual([...api.keyrings.all()], []);
});

test('archived keys only for who may use them, dry runs too', async (t) => {
  const api = await makeApi(t, 'production', { archive });
  const ciphertext = await sealed(api, 'archive', 'old');
  await api.call('ArchiveKey', { key: 'archive' }, makeCall(CUSTODIAN));
  const items = [{ ciphertext }, { ciphertext, dry_run: true }];
  const codes = async (uid: number): Promise<number[]> => {
    const { results } = await api.call('DecryptBatch', { items }, makeCall(uid));
    return results.map(({ status }: { status: { code: number } }) => status.code);
  };
  t.deepEqual(await codes(USER), [0, 0]);
  t.deepEqual(await codes(STRANGER), [9, 9]);
  api.keyrings.flush('archive');
  t.deepEqual(await codes(STRANGER), [9, 9]);
  t.deepEqual(await codes(OPERATOR), [7, 7]);
});

test('many failures beside a large plaintext still fit into one answer', async (t) => {
  const api = await makeApi(t);
  const large = await sealed(api, 'orders', 'x'.repeat(3_900_000));
  const items = [...Array.from({ length: 999 }, () => ({ ciphertext: Buffer.alloc(0) })), { ciphertext: large }];
  const { results } = await api.call('DecryptBatch', { items });
  t.is(results[999].status.code, 8);
  const alone = await api.call('DecryptBatch', { items: items.slice(990) });
  t.is(alone.results[9].status.code, 0);
});
