import type { ExecutionContext } from 'ava';
import { type Agent, startAgent } from '../helpers/agent-process.ts';
import { makePlace } from '../helpers/place.ts';
import { test } from '../helpers/serial.ts';

const INVALID_ARGUMENT = 3;
const RESOURCE_EXHAUSTED = 8;

// biome-ignore lint/suspicious/noExplicitAny: what proto-loader decodes
type Result = any;

async function start(t: ExecutionContext): Promise<Agent> {
  const agent = await startAgent(t, makePlace(t));
  await agent.admin.call('CreateKey', { key: 'orders' });
  return agent;
}

async function encrypt({ client }: Agent, plaintext: Buffer, key = 'default'): Promise<Buffer> {
  return (await client.call('Encrypt', { key, plaintext })).message.ciphertext;
}

test('ReEncrypt moves a payload from one key to another, small and large', async (t) => {
  const agent = await start(t);
  for (const length of [5, 4 * 1024 * 1024 - 128 * 1024]) {
    const plaintext = Buffer.alloc(length, 7);
    const ciphertext = await encrypt(agent, plaintext);
    const request = { ciphertext, destination_key: 'orders', destination_encryption_context: { table: 'a' } };
    const { message } = await agent.client.call('ReEncrypt', request);
    t.like(message, { key: 'orders', source_key: 'default' });
    const opened = await agent.client.call('Decrypt', {
      ciphertext: message.ciphertext,
      encryption_context: { table: 'a' },
    });
    t.true(opened.message.plaintext.equals(plaintext));
  }
  const wrong = { ciphertext: await encrypt(agent, Buffer.from('x')), source_encryption_context: { a: 'b' } };
  t.like(await agent.client.failure('ReEncrypt', { ...wrong, destination_key: 'orders' }), {
    code: INVALID_ARGUMENT,
    reason: 'INVALID_CIPHERTEXT',
  });
});

test('Rewrap after a rotation: a new block that survives a flush; then nothing more to do', async (t) => {
  const { client, admin, ...agent } = await start(t);
  const ciphertext = await encrypt({ client, admin, ...agent }, Buffer.from('hello'));
  const same = (await client.call('Rewrap', { ciphertext })).message;
  t.deepEqual(same, { ciphertext, changed: false });
  await admin.call('RotateKey', { key: 'default' });
  const { message: rewrapped } = await client.call('Rewrap', { ciphertext });
  t.true(rewrapped.changed);
  await admin.call('FlushKeyring', {});
  const { message: opened } = await client.call('Decrypt', { ciphertext: rewrapped.ciphertext });
  t.is(opened.plaintext.toString(), 'hello');
  t.false((await client.call('Rewrap', { ciphertext: rewrapped.ciphertext })).message.changed);
});

test('EncryptBatch and DecryptBatch: 1,000 items there and back; a bad one fails alone, with its details', async (t) => {
  const { client } = await start(t);
  const items: object[] = Array.from({ length: 1_000 }, (_, index) => ({
    key: index % 2 === 0 ? 'default' : 'orders',
    plaintext: Buffer.from(`item ${index}`),
  }));
  items[13] = { key: '' };
  const { message: sealed } = await client.call('EncryptBatch', { items });
  t.like(sealed.results[13].status, { code: INVALID_ARGUMENT, message: 'key: is empty; name a key' });
  t.is(sealed.results[13].status.details[0].type_url, 'type.googleapis.com/google.rpc.ErrorInfo');
  t.is(sealed.results[13].response, null);
  const ciphertexts = sealed.results.map(({ response }: Result) => ({ ciphertext: response?.ciphertext }));
  const { message: opened } = await client.call('DecryptBatch', { items: ciphertexts });
  for (const [index, { status, response }] of opened.results.entries()) {
    if (index === 13) t.is(status.code, INVALID_ARGUMENT);
    else t.is(response.plaintext.toString(), `item ${index}`);
  }
});

test('no batch’s answer is too long for a stock client; items without room are told so', async (t) => {
  const { client } = await start(t);
  const items = Array.from({ length: 1_000 }, () => ({ key: 'default', plaintext: Buffer.alloc(4_150) }));
  const { message } = await client.call('EncryptBatch', { items });
  const codes = new Set(message.results.map(({ status }: Result) => status.code));
  t.deepEqual([...codes].sort(), [0, RESOURCE_EXHAUSTED]);
  t.like(await client.failure('EncryptBatch', { items: [] }), { code: INVALID_ARGUMENT, metadata: { field: 'items' } });
  const many = Array.from({ length: 1_001 }, () => ({ key: 'default' }));
  t.like(await client.failure('EncryptBatch', { items: many }), {
    code: INVALID_ARGUMENT,
    metadata: { field: 'items' },
  });
});

test('dry runs of single calls and of items touch no payload', async (t) => {
  const agent = await start(t);
  const { client } = agent;
  const ciphertext = await encrypt(agent, Buffer.from('hello'));
  const { message: single } = await client.call('Decrypt', { ciphertext, dry_run: true });
  t.is(single.plaintext.length, 0);
  const { message: batch } = await client.call('DecryptBatch', {
    items: [{ ciphertext, dry_run: true }, { ciphertext }],
  });
  t.deepEqual(
    batch.results.map(({ response }: Result) => response.plaintext.length),
    [0, 5],
  );
  await agent.admin.call('DisableKey', { key: 'default' });
  for (const rpc of ['EncryptBatch', 'DecryptBatch']) {
    const items = [{ key: 'default', ciphertext, dry_run: true }];
    const { message } = await client.call(rpc, { items });
    t.regex(message.results[0].status.message, /is disabled/);
  }
});
