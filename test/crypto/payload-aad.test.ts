import test from 'ava';
import { payloadAad, wipePayloadAad } from '../../src/crypto/payload-aad.ts';
import { DekdError } from '../../src/errors.ts';

const CONTEXT = new Map([
  ['tenant', 'acme'],
  ['table', 'orders'],
]);
const HEADER = Buffer.from('64656b64010101014348df81d3f8079cb6552da9a317bf7ac102c4acc7e5e02665d7c48819109bfd', 'hex');

test.afterEach(() => wipePayloadAad());

test('the AAD of the first vector, as docs/envelope.md spells it out', (t) => {
  const { bytes, length } = payloadAad(HEADER, 1, CONTEXT, Buffer.from('row-1'));
  t.is(
    bytes.toString('hex', 0, length),
    '64656b64010101004348df81d3f8079cb6552da9a317bf7ac102c4acc7e5e02665d7c48819109bfd' +
      '00000002000000057461626c65000000066f72646572730000000674656e616e740000000461636d65' +
      '00000005726f772d31',
  );
});

test("content is the caller's, flags are cleared, the header stays as it is", (t) => {
  const before = Buffer.from(HEADER);
  const { bytes, length } = payloadAad(HEADER, 2, new Map(), new Uint8Array(0));
  t.is(length, 48);
  t.deepEqual([...bytes.subarray(4, 8)], [1, 1, 2, 0]);
  t.is(bytes.toString('hex', 40, length), '0000000000000000');
  t.deepEqual(HEADER, before);
});

test('associated data of every size is there, and gone after the wipe', (t) => {
  for (const size of [1, 5, 4096, 4097, 65_536]) {
    const { bytes, length } = payloadAad(HEADER, 1, CONTEXT, Buffer.alloc(size, 0xa5));
    t.is(bytes.readUInt32BE(length - size - 4), size);
    t.true(bytes.subarray(length - size, length).every((byte) => byte === 0xa5));
    wipePayloadAad();
    t.true(bytes.subarray(length - size, length).every((byte) => byte === 0));
  }
});

test('over the limit nothing is assembled', (t) => {
  const error = t.throws(() => payloadAad(HEADER, 1, CONTEXT, Buffer.alloc(65_537)), { instanceOf: DekdError });
  t.is(error.message, 'associated_data: has 65537 bytes, at most 65536 are allowed');
});
