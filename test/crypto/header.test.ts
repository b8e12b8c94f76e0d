import test from 'ava';
import { checkHeader } from '../../src/crypto/header.ts';

const HEADER = Buffer.concat([Buffer.from('dekd'), Buffer.of(1, 1, 1, 0), Buffer.alloc(32)]);

test('bytes 0 to 7 take exactly the values that are known', (t) => {
  const known = [[0x64], [0x65], [0x6b], [0x64], [1], [1, 2], [1, 2], [0, 1]];
  known.forEach((values, offset) => {
    for (let value = 0; value < 256; value++) {
      const header = Buffer.from(HEADER);
      header[offset] = value;
      if (values.includes(value)) t.notThrows(() => checkHeader(header));
      else t.throws(() => checkHeader(header), { message: new RegExp(`at byte ${offset < 4 ? 0 : offset}\\)$`) });
    }
  });
});

test('bytes that were never decoded say so', (t) => {
  const base64 = Buffer.from(HEADER.toString('base64'));
  const hex = Buffer.from(HEADER.toString('hex'));
  t.throws(() => checkHeader(base64), { message: /begins with "dekd"; it looks like base64, decode it first/ });
  t.throws(() => checkHeader(hex), { message: /begins with "dekd"; it looks like hex, decode it first/ });
});
