import test from 'ava';
import { secretBuffer } from '../../src/crypto/secret-buffer.ts';

test('zeroed, with memory of its own', (t) => {
  for (const length of [0, 1, 32, 64, 65, 5000]) {
    const buffer = secretBuffer(length);
    t.deepEqual([buffer.length, buffer.byteOffset, buffer.buffer.byteLength], [length, 0, length]);
    t.true(buffer.every((byte) => byte === 0));
  }
});

test('a small one lies outside the heap that the garbage collector moves', (t) => {
  // Node counts what lies outside. Other test files allocate meanwhile in their own threads, which have heaps of their own.
  const bytesOutside = () => process.memoryUsage().arrayBuffers;
  const before = bytesOutside();
  const kept = Array.from({ length: 10_000 }, () => secretBuffer(32));
  t.true(bytesOutside() - before >= 0.5 * 32 * kept.length);
});
