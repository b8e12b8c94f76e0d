import test from 'ava';
import { parseEnvelope } from '../../src/crypto/envelope.ts';
import { CONTENT } from '../../src/crypto/suites.ts';
import { type Api, CUSTODIAN, makeApi, makeCall, OPERATOR, STRANGER, USER } from './parts.ts';

const source_encryption_context = { table: 'orders' };
const source_associated_data = Buffer.from('row-1');

/** `shared` is a key that the user may use only to encrypt, `archive` one of which it may use what is archived. */
const MORE_KEYS = {
  shared: {
    recipients: [{ upstream: 'store', kek: 'local:shared', role: 'authority' }],
    allow: [{ uid: USER, roles: ['user'], rpcs: ['Encrypt', 'Decrypt'] }],
  },
  archive: {
    recipients: [{ upstream: 'store', kek: 'local:archive', role: 'authority' }],
    allow: [
      { uid: USER, roles: ['user'], archived: true },
      { uid: STRANGER, roles: ['user'] },
      { uid: CUSTODIAN, roles: ['custodian'] },
    ],
  },
};

async function sealed(api: Api, key = 'orders', plaintext = Buffer.from('hello')): Promise<Buffer> {
  const request = { key, plaintext, encryption_context: source_encryption_context };
  return (await api.call('Encrypt', { ...request, associated_data: source_associated_data })).ciphertext;
}

const request = (ciphertext: Buffer) => ({
  ciphertext,
  source_encryption_context,
  source_associated_data,
  destination_key: 'tenants',
  destination_encryption_context: { tenant: 'acme' },
  destination_associated_data: Buffer.from('row-2'),
});

for (const length of [0, 5, 300_000]) {
  test(`${length} bytes: opens under the destination's key, context and data, and under nothing else`, async (t) => {
    const api = await makeApi(t);
    const plaintext = Buffer.alloc(length, 7);
    const call = makeCall();
    const answer = await api.call('ReEncrypt', request(await sealed(api, 'orders', plaintext)), call);
    t.like(answer, { key: 'tenants', source_key: 'orders' });
    const right = { encryption_context: { tenant: 'acme' }, associated_data: Buffer.from('row-2') };
    const opened = await api.call('Decrypt', { ciphertext: answer.ciphertext, ...right });
    t.like(opened, { key: 'tenants' });
    t.true(opened.plaintext.equals(plaintext));
    const wrong = { encryption_context: source_encryption_context, associated_data: source_associated_data };
    t.is((await api.failure('Decrypt', { ciphertext: answer.ciphertext, ...wrong })).reason, 'INVALID_CIPHERTEXT');
  });
}

test('a data key stays a data key', async (t) => {
  const api = await makeApi(t);
  const made = await api.call('GenerateDataKey', {
    key: 'orders',
    encryption_context: source_encryption_context,
    associated_data: source_associated_data,
  });
  const { ciphertext } = await api.call('ReEncrypt', request(made.ciphertext));
  t.is(parseEnvelope(ciphertext).content, CONTENT.dataKey);
  const right = { encryption_context: { tenant: 'acme' }, associated_data: Buffer.from('row-2') };
  t.deepEqual((await api.call('Decrypt', { ciphertext, ...right })).plaintext, made.plaintext);
});

test('under the same key again, with another context', async (t) => {
  const api = await makeApi(t);
  const again = { ...request(await sealed(api)), destination_key: 'orders', destination_encryption_context: {} };
  t.like(await api.call('ReEncrypt', again), { key: 'orders', source_key: 'orders' });
});

test('the caller needs ReEncrypt on both keys, and roles that change keys have it on none', async (t) => {
  const api = await makeApi(t, 'production', MORE_KEYS);
  const from = request(await sealed(api));
  t.is((await api.failure('ReEncrypt', { ...from, destination_key: 'shared' })).reason, 'POLICY_DENIED');
  t.is((await api.failure('ReEncrypt', request(await sealed(api, 'shared')))).reason, 'POLICY_DENIED');
  t.is((await api.failure('ReEncrypt', { ...from, destination_key: 'hidden' })).reason, 'POLICY_DENIED');
  t.is((await api.failure('ReEncrypt', { ...from, destination_key: 'unknown' })).reason, 'POLICY_DENIED');
  for (const uid of [OPERATOR, CUSTODIAN, STRANGER]) {
    t.is((await api.failure('ReEncrypt', from, makeCall(uid))).reason, 'POLICY_DENIED');
  }
});

test('errors name the request’s own fields', async (t) => {
  const api = await makeApi(t);
  const good = request(await sealed(api));
  const big = Buffer.alloc(65_537);
  const cases: [object, string, RegExp][] = [
    [{ ciphertext: Buffer.alloc(0) }, 'ciphertext', /empty/],
    [{ destination_key: '' }, 'destination_key', /empty/],
    [{ destination_key: '-' }, 'destination_key', /not a key name/],
    [{ source_encryption_context: { 'aws:x': '1' } }, 'source_encryption_context', /reserved prefix/],
    [{ destination_encryption_context: { '': '1' } }, 'destination_encryption_context', /empty key/],
    [{ source_encryption_context: { a: 'x'.repeat(9_000) } }, 'source_encryption_context', /8192|8,192|bytes/],
    [{ destination_encryption_context: { table: 'x' } }, 'destination_encryption_context', /"tenant" is missing/],
    [
      { destination_encryption_context: { tenant: 'acme', a: 'x'.repeat(9_000) } },
      'destination_encryption_context',
      /bytes/,
    ],
    [{ source_associated_data: big }, 'source_associated_data', /65537 bytes/],
    [{ destination_associated_data: big }, 'destination_associated_data', /65537 bytes/],
  ];
  for (const [change, field, text] of cases) {
    const failure = await api.failure('ReEncrypt', { ...good, ...change });
    t.like(failure, { reason: 'INVALID_REQUEST', metadata: { field } });
    t.true(failure.message.startsWith(`${field}: `), failure.message);
    t.regex(failure.message, text);
  }
});

test('what does not open is not re-encrypted', async (t) => {
  const api = await makeApi(t);
  const good = request(await sealed(api));
  for (const change of [{ source_encryption_context: {} }, { source_associated_data: Buffer.from('row-2') }]) {
    t.is((await api.failure('ReEncrypt', { ...good, ...change })).reason, 'INVALID_CIPHERTEXT');
  }
});

test('the payload is zeroed, whether the destination takes it or not', async (t) => {
  const api = await makeApi(t);
  const orders = api.keyrings.byName('orders')!;
  const payloads: Buffer[] = [];
  const decrypt = orders.decrypt.bind(orders);
  orders.decrypt = ((located, context, open, ...rest) =>
    decrypt(
      located,
      context,
      async (dek, grace) => {
        const payload = await open(dek, grace);
        payloads.push(payload as unknown as Buffer);
        return payload;
      },
      ...rest,
    )) as typeof orders.decrypt;
  const good = request(await sealed(api));
  await api.call('ReEncrypt', good);
  await api.failure('ReEncrypt', { ...good, destination_encryption_context: {} });
  t.deepEqual(
    payloads.map((payload) => payload.toString('latin1')),
    ['\0\0\0\0\0', '\0\0\0\0\0'],
  );
});

test('an archived source only for who may use what is archived; an archived destination for nobody', async (t) => {
  const api = await makeApi(t, 'production', MORE_KEYS);
  const from = { ...request(await sealed(api, 'archive')), destination_key: 'archive' };
  await api.call('ArchiveKey', { key: 'archive' }, makeCall(CUSTODIAN));
  t.is((await api.failure('ReEncrypt', from)).reason, 'KEY_ARCHIVED');
  const out = { ...from, destination_key: 'tenants' };
  t.like(await api.call('ReEncrypt', out), { key: 'tenants', source_key: 'archive' });
  t.is((await api.failure('ReEncrypt', from, makeCall(STRANGER))).reason, 'KEY_ARCHIVED');
});
