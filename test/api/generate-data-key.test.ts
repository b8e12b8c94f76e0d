import test from 'ava';
import { makeApi, makeCall, STRANGER } from './parts.ts';

test('the data key comes in the clear and in an envelope that opens to it, and is zeroed once it is sent', async (t) => {
  const api = await makeApi(t);
  for (const [asked, made] of [
    [0, 32],
    [1, 1],
    [32, 32],
    [1024, 1024],
  ] as const) {
    const call = makeCall();
    const answer = await api.call('GenerateDataKey', { key: 'orders', number_of_bytes: asked }, call);
    t.is(answer.plaintext.length, made);
    t.deepEqual(
      call.toWipe.map((bytes) => Buffer.from(bytes)),
      [answer.plaintext],
    );
    t.deepEqual((await api.call('Decrypt', { ciphertext: answer.ciphertext })).plaintext, answer.plaintext);
    // Content 2 of docs/envelope.md.
    t.is(answer.ciphertext[6], 2);
  }
  const [one, other] = [
    await api.call('GenerateDataKey', { key: 'orders' }),
    await api.call('GenerateDataKey', { key: 'orders' }),
  ];
  t.notDeepEqual(one.plaintext, other.plaintext);
});

test('without plaintext the data key is in the envelope only', async (t) => {
  const api = await makeApi(t);
  const call = makeCall();
  const answer = await api.call('GenerateDataKeyWithoutPlaintext', { key: 'orders', number_of_bytes: 16 }, call);
  t.deepEqual(Object.keys(answer).sort(), ['ciphertext', 'generation', 'key', 'served_in_grace']);
  t.deepEqual(call.toWipe, []);
  t.is((await api.call('Decrypt', { ciphertext: answer.ciphertext })).plaintext.length, 16);
});

test('context and associated data bind the data key', async (t) => {
  const api = await makeApi(t);
  const bound = { encryption_context: { a: 'b' }, associated_data: Buffer.from('c') };
  const { ciphertext, plaintext } = await api.call('GenerateDataKey', { key: 'orders', ...bound });
  t.deepEqual((await api.call('Decrypt', { ciphertext, ...bound })).plaintext, plaintext);
  t.is((await api.failure('Decrypt', { ciphertext })).reason, 'INVALID_CIPHERTEXT');
});

for (const rpc of ['GenerateDataKey', 'GenerateDataKeyWithoutPlaintext']) {
  test(`${rpc}: what breaks a limit names its field; what is not allowed is denied; dry_run makes nothing`, async (t) => {
    const api = await makeApi(t);
    const cases: [string, object][] = [
      ['key', {}],
      ['number_of_bytes', { key: 'orders', number_of_bytes: 1025 }],
      ['number_of_bytes', { key: 'orders', number_of_bytes: 2 ** 32 - 1 }],
      ['associated_data', { key: 'orders', associated_data: Buffer.alloc(65_537) }],
      ['encryption_context', { key: 'orders', encryption_context: { 'aws:a': 'b' } }],
    ];
    for (const [field, request] of cases) {
      t.like(await api.failure(rpc, request), { reason: 'INVALID_REQUEST', metadata: { field } });
    }
    t.is((await api.failure(rpc, { key: 'orders' }, makeCall(STRANGER))).reason, 'POLICY_DENIED');
    const call = makeCall();
    const dry = await api.call(rpc, { key: 'orders', dry_run: true }, call);
    t.is(dry.ciphertext.length, 0);
    t.deepEqual(call.toWipe, []);
    t.is(api.keyrings.byName('orders')?.counters.deks_created, 0);
  });
}
