import test from 'ava';
import { ByteReader } from '../../src/crypto/byte-reader.ts';
import { DekdError } from '../../src/errors.ts';

test('integers, views and text, front to back', (t) => {
  const bytes = Buffer.from('01 0203 04050607 001fffffffffffff c3a9 efbbbf aabb'.replaceAll(' ', ''), 'hex');
  const reader = new ByteReader(bytes, 'test');
  t.is(reader.u8('a'), 1);
  t.is(reader.u16('b'), 0x0203);
  t.is(reader.u32('c'), 0x04050607);
  t.is(reader.u64('d'), Number.MAX_SAFE_INTEGER);
  t.is(reader.text(2, 'e'), 'é');
  t.is(reader.text(3, 'f'), '\ufeff');
  const view = reader.take(2, 'g');
  t.is(view.buffer, bytes.buffer);
  t.deepEqual([...view], [0xaa, 0xbb]);
  t.notThrows(() => reader.end());
});

test('a view in the middle of a larger buffer is read at its own offset', (t) => {
  t.is(new ByteReader(new Uint8Array([9, 9, 1, 2, 9]).subarray(2, 4), 'test').u16('a'), 0x0102);
});

test('the end is the end, however large the length', (t) => {
  for (const read of [
    (reader: ByteReader) => reader.u16('x'),
    (reader: ByteReader) => reader.u32('x'),
    (reader: ByteReader) => reader.u64('x'),
    (reader: ByteReader) => reader.take(2, 'x'),
    (reader: ByteReader) => reader.take(2 ** 32 - 1, 'x'),
    (reader: ByteReader) => reader.text(2 ** 32 - 1, 'x'),
  ]) {
    const error = t.throws(() => read(new ByteReader(Buffer.of(1), 'test')), { instanceOf: DekdError });
    t.deepEqual([error.reason, error.message], ['INVALID_CIPHERTEXT', 'test: ends inside x (at byte 1)']);
  }
  t.throws(() => new ByteReader(Buffer.of(1, 2), 'test').end(), { message: 'test: 2 bytes too many (at byte 0)' });
});

test('no number that a double would round, no text that is not UTF-8', (t) => {
  for (const hex of ['0020000000000000', 'ffffffffffffffff']) {
    t.throws(() => new ByteReader(Buffer.from(hex, 'hex'), 'test').u64('x'), { message: /over 2\^53 - 1/ });
  }
  for (const hex of ['ff', 'c080', 'eda080', 'f4908080', 'e282', '80']) {
    const bytes = Buffer.from(hex, 'hex');
    t.throws(() => new ByteReader(bytes, 'test').text(bytes.length, 'x'), {
      message: 'test: x is not valid UTF-8 (at byte 0)',
    });
  }
});
