import test from 'ava';
import { ByteReader } from '../../src/crypto/byte-reader.ts';
import { encodeRecipients, RECIPIENT_SCHEMES, readRecipients } from '../../src/crypto/recipients.ts';
import { RECIPIENT_TYPES } from '../../src/upstream/provider.ts';

const LENGTHS = [0, 1, 256, 40, 40, 60, 72];

test("types and schemes are the providers'", (t) => {
  const schemes = Object.entries(RECIPIENT_TYPES).map(([scheme, type]) => [type, `${scheme}:`]);
  t.deepEqual(schemes, RECIPIENT_SCHEMES.map((scheme, type) => [type, scheme]).slice(1));
});

test('every type with every wrap algorithm comes back, wrapped DEKs as views', (t) => {
  for (const type of [1, 2, 3, 4, 5, 6]) {
    const recipients = [1, 2, 3, 4, 5, 6].map((wrapAlgorithm) => ({
      type,
      wrapAlgorithm,
      kekUri: `${RECIPIENT_SCHEMES[type]}ключ`,
      kekVersion: `${wrapAlgorithm}`,
      wrapped: Buffer.alloc(LENGTHS[wrapAlgorithm]!, wrapAlgorithm),
    }));
    const bytes = encodeRecipients(recipients);
    const reader = new ByteReader(bytes, 'test');
    const read = readRecipients(reader);
    t.notThrows(() => reader.end());
    t.deepEqual(read, recipients);
    t.is(read[0]?.wrapped.buffer, bytes.buffer);
  }
});

test('one KEK may be there under several versions, one version of it only once', (t) => {
  const recipient = { type: 6, wrapAlgorithm: 3, kekUri: 'pkcs11:object=a', kekVersion: '', wrapped: Buffer.alloc(40) };
  const read = (kekVersion: string, kekUri = recipient.kekUri) =>
    readRecipients(new ByteReader(encodeRecipients([recipient, { ...recipient, kekUri, kekVersion }]), 'test'));
  t.is(read('1').length, 2);
  t.is(read('', 'pkcs11:object=b').length, 2);
  t.throws(() => read(''), { message: /the same KEK URI and version twice/ });
});
