import test from 'ava';
import type { BatchResponse } from '../../src/api/batch.ts';
import { encryptBatch } from '../../src/api/encrypt-batch.ts';
import { parseEnvelope } from '../../src/crypto/envelope.ts';
import { type Api, CUSTODIAN, makeApi, makeCall, USER } from './parts.ts';

const MORE_KEYS = {
  'per-call': keyOf('per-call', 'request'),
  'per-item': keyOf('per-item', 'none'),
};

function keyOf(name: string, cache: string): object {
  return {
    recipients: [{ upstream: 'store', kek: `local:${name}`, role: 'authority' }],
    allow: [{ uid: USER, roles: ['user'] }],
    cache: { mode: cache },
  };
}

const item = (key: string, plaintext = 'hello', more: object = {}) => ({
  key,
  plaintext: Buffer.from(plaintext),
  ...more,
});

async function dekIds(api: Api, items: object[]): Promise<string[]> {
  const { results } = await api.call('EncryptBatch', { items });
  return results.map((result: { response: { ciphertext: Buffer } }) =>
    parseEnvelope(result.response.ciphertext).dekId.toString('hex'),
  );
}

test('each item as Encrypt would answer it, in order', async (t) => {
  const api = await makeApi(t);
  const items = [
    item('orders', 'a', { associated_data: Buffer.from('row-1') }),
    item('tenants', 'b', { encryption_context: { tenant: 'acme' } }),
    item('carts', 'c'),
    item('orders', 'd'.repeat(100_000)),
  ];
  const { results } = await api.call('EncryptBatch', { items });
  t.is(results.length, 4);
  for (const [index, { status, response }] of results.entries()) {
    t.like(status, { code: 0, message: '' });
    t.like(response, { key: items[index]!.key, generation: 0, served_in_grace: false, outdated: false });
    const { plaintext, key, ...bound } = items[index]!;
    const opened = await api.call('Decrypt', { ciphertext: response.ciphertext, expected_key: key, ...bound });
    t.deepEqual(opened.plaintext, plaintext);
  }
});

test('a failed item has the code, message and details of the single call; the others have their answers', async (t) => {
  const api = await makeApi(t);
  const bad = [
    item(''),
    item('hidden'),
    item('unknown'),
    item('tenants'),
    item('orders', 'x', { associated_data: Buffer.alloc(65_537) }),
    item('orders', 'x', { encryption_context: { '': 'x' } }),
    item('carts'),
  ];
  await api.call('DisableKey', { key: 'carts' }, makeCall(2000));
  const { results } = await api.call('EncryptBatch', { items: bad.flatMap((one) => [item('orders'), one]) });
  for (const [index, request] of bad.entries()) {
    t.is(results[index * 2].status.code, 0);
    const { status, response } = results[index * 2 + 1];
    t.is(response, null);
    const single = api.itemStatus(await api.failure('Encrypt', request), makeCall());
    t.is(status.code, single.code);
    t.is(status.message, single.message.replace('may not call Encrypt ', 'may not call EncryptBatch '));
    t.deepEqual(
      status.details.map(({ type_url, value }: { type_url: string; value: Buffer }) => [type_url, value]),
      single.details.map(({ type_url, value }) => [type_url, Buffer.from(value)]),
    );
  }
});

test('a batch of hits is synchronous', async (t) => {
  const api = await makeApi(t);
  await api.call('Encrypt', item('orders'));
  const request = { encryption_context: {}, associated_data: Buffer.alloc(0), dry_run: false };
  const items = [1, 2, 3].map(() => ({ key: 'orders', plaintext: Buffer.from('x'), ...request }));
  const answer = encryptBatch({ items }, makeCall(), api);
  t.false(answer instanceof Promise);
  t.is((answer as BatchResponse<unknown>).results.length, 3);
});

test('one DEK for a batch and key in mode request, one for each item in mode none', async (t) => {
  const api = await makeApi(t, 'production', MORE_KEYS);
  const perCall = await dekIds(api, [item('per-call'), item('per-call'), item('per-call')]);
  t.is(new Set(perCall).size, 1);
  t.not((await dekIds(api, [item('per-call')]))[0], perCall[0]);
  t.is(new Set(await dekIds(api, [item('per-item'), item('per-item')])).size, 2);
  t.deepEqual([...api.keyrings.all()], []);
});

test('dry_run of one item encrypts nothing for it', async (t) => {
  const api = await makeApi(t);
  const { results } = await api.call('EncryptBatch', {
    items: [item('orders', 'x', { dry_run: true }), item('orders')],
  });
  t.is(results[0].status.code, 0);
  t.is(results[0].response.ciphertext.length, 0);
  t.true(results[1].response.ciphertext.length > 0);
});

test('the answer fits into what a stock client takes, whatever the items', async (t) => {
  const api = await makeApi(t);
  const items = Array.from({ length: 1_000 }, () => item('orders', 'x'.repeat(4_100)));
  const { results } = await api.call('EncryptBatch', { items });
  const codes = results.map(({ status }: { status: { code: number } }) => status.code);
  t.deepEqual([...new Set(codes)].sort(), [0, 8]);
  const { PROTOS } = await import('../helpers/client.ts');
  const { responseSerialize } = (
    PROTOS['dekd.v1.KeyAgent'] as never as Record<string, { responseSerialize: (m: object) => Buffer }>
  )['EncryptBatch']!;
  const bytes = responseSerialize({ results }).length;
  t.true(bytes <= 4 * 1024 * 1024 && bytes > 4 * 1024 * 1024 - 131_072, `${bytes}`);
});

test('for callers with EncryptBatch, or the item fails', async (t) => {
  const allow = [{ uid: USER, roles: ['user'], rpcs: ['Encrypt'] }];
  const single = { recipients: [{ upstream: 'store', kek: 'local:single', role: 'authority' }], allow };
  const api = await makeApi(t, 'production', { single });
  const { results } = await api.call('EncryptBatch', { items: [item('single'), item('orders')] });
  t.deepEqual(
    results.map(({ status }: { status: { code: number } }) => status.code),
    [7, 0],
  );
  const denied = await api.call('EncryptBatch', { items: [item('orders')] }, makeCall(CUSTODIAN));
  t.is(denied.results[0].status.code, 7);
});
