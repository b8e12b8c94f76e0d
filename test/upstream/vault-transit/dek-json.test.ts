import { randomBytes } from 'node:crypto';
import test from 'ava';
import { bodyWithDek, takeDek } from '../../../src/upstream/vault-transit/dek-json.ts';

test('what is written is what JSON.stringify would write', (t) => {
  for (let times = 0; times < 500; times++) {
    const dek = randomBytes(32);
    const fields = { associated_data: randomBytes(times % 7).toString('base64'), type: 'é"' };
    const expected = JSON.stringify({ plaintext: dek.toString('base64'), ...fields });
    t.is(bodyWithDek(dek, fields).toString(), expected);
  }
});

test('what is read is what JSON.parse would read, and is gone from the body', (t) => {
  for (let times = 0; times < 500; times++) {
    const dek = times < 2 ? Buffer.alloc(32, times === 0 ? 0 : 0xff) : randomBytes(32);
    const text = dek.toString('base64');
    const body = Buffer.from(
      JSON.stringify({ request_id: 'x', data: { plaintext: text }, auth: null }, undefined, times % 3),
    );
    const taken = takeDek(body);
    t.deepEqual(taken, dek);
    t.false(body.includes(text));
    t.deepEqual(JSON.parse(body.toString()).data, { plaintext: 'A'.repeat(44) });
  }
});

const base64 = randomBytes(32).toString('base64');
const others: readonly string[] = [
  '',
  '{}',
  'null',
  '"plaintext":"',
  `"plaintext":"${base64}`,
  `{"plaintext":"${base64}"}`,
  `{"data":{"plaintext":"${base64}"}`,
  `{"data":{"plaintext":"${base64.slice(0, 43)}"}}`,
  `{"data":{"plaintext":"${base64}A"}}`,
  `{"data":{"plaintext":"${base64.slice(0, -1)}A"}}`,
  `{"data":{"plaintext":"${randomBytes(31).toString('base64')}"}}`,
  `{"data":{"plaintext":"${randomBytes(33).toString('base64')}"}}`,
  `{"data":{"plaintext":"${base64.slice(0, 10)}-${base64.slice(11)}"}}`,
  `{"data":{"plaintext":"${'A'.repeat(42)}B="}}`,
  `{"data":{"plaintext":null,"more":"${base64}"}}`,
  `{"data":{"other":"\\"plaintext\\":\\"${base64}\\""}}`,
  `{"note":{"plaintext":"${base64}"},"data":{"plaintext":"${randomBytes(32).toString('base64')}"}}`,
  `{"data":{"plaintext":"${base64}","plaintext":"${base64}"}}`,
];
for (const [index, body] of others.entries()) {
  test(`no DEK is in ${index}: ${body.slice(0, 40)}`, (t) => {
    t.is(takeDek(Buffer.from(body)), undefined);
  });
}
