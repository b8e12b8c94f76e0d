import test from 'ava';
import { base64Length, writeBase64 } from '../../src/cli/base64.ts';

test("every length up to 70 and every byte, as Buffer's own has it", (t) => {
  const inputs = [
    ...Array.from({ length: 71 }, (_, length) => Buffer.alloc(length, length * 3 + 1)),
    Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)),
  ];
  for (const input of inputs) {
    const target = Buffer.alloc(base64Length(input.length) + 2, 0x2e);
    const end = writeBase64(input, target, 1);
    t.is(end, target.length - 1);
    t.is(target.toString(), `.${input.toString('base64')}.`);
  }
});
