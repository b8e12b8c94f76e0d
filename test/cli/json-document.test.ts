import test from 'ava';
import { instantText, jsonDocument, publicJson, seconds } from '../../src/cli/json-document.ts';

test('a document is JSON, with bytes in base64 and without what is undefined', (t) => {
  const fields = {
    plaintext: Buffer.from([0, 255, 10]),
    key: 'a"ü\n',
    generation: 0,
    none: undefined,
    nested: { a: [1, { b: null }] },
  };
  const text = jsonDocument(fields).toString();
  t.deepEqual(JSON.parse(text), { plaintext: 'AP8K', key: 'a"ü\n', generation: 0, nested: { a: [1, { b: null }] } });
  t.true(text.endsWith('\n}\n'));
  t.is(text, `${JSON.stringify(JSON.parse(text), undefined, 2)}\n`);
});

test('an empty document and empty bytes', (t) => {
  t.deepEqual(JSON.parse(jsonDocument({}).toString()), {});
  t.deepEqual(JSON.parse(jsonDocument({ a: new Uint8Array() }).toString()), { a: '' });
});

test("a document lies outside V8's heap, so that zeroing it leaves no copy", (t) => {
  t.is(jsonDocument({ a: new Uint8Array(1) }).byteOffset, 0);
});

test('responses: instants, spans and bytes as protobuf maps them to JSON', (t) => {
  const response = {
    as_of: { seconds: '1700000000', nanos: 500_000_000 },
    keys: [
      {
        created_at: { seconds: '0', nanos: 0 },
        ttl: { seconds: '300', nanos: 0 },
        age: { seconds: '1', nanos: 250_000_000 },
      },
    ],
    ciphertext: Buffer.from('hi'),
    count: '12',
    absent: null,
  };
  t.deepEqual(publicJson(response), {
    as_of: '2023-11-14T22:13:20.500Z',
    keys: [{ created_at: '1970-01-01T00:00:00.000Z', ttl: '300s', age: '1.25s' }],
    ciphertext: 'aGk=',
    count: '12',
    absent: null,
  });
  t.is(instantText({ seconds: 1, nanos: 0 }), '1970-01-01T00:00:01.000Z');
  t.is(seconds({ seconds: '2', nanos: 500_000_000 }), 2.5);
});
