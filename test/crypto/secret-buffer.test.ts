import { execFileSync } from 'node:child_process';
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
  // Node counts what lies outside. In a process of its own, after a collection: nothing else comes or goes meanwhile.
  const module = new URL('../../src/crypto/secret-buffer.ts', import.meta.url).href;
  const script = `
    const { secretBuffer } = await import('${module}');
    gc();
    // What loading left behind, 2.5 MB of it outside the heap, would be collected between the two looks.
    gc();
    const before = process.memoryUsage().arrayBuffers;
    globalThis.kept = Array.from({ length: 10_000 }, () => secretBuffer(32));
    console.log(process.memoryUsage().arrayBuffers - before);`;
  const grown = Number(
    execFileSync(process.execPath, ['--expose-gc', '--input-type=module', '-e', script], { encoding: 'utf8' }),
  );
  t.true(grown >= 0.9 * 32 * 10_000, `${grown} bytes outside the heap`);
});
