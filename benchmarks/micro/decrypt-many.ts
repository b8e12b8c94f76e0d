/** What it costs that 10,000 DEKs are in use and not one; beside it, Encrypt. */
import { type BenchmarkResult, row } from '../result.ts';
import { measureHits } from './hits.ts';

export async function run(): Promise<BenchmarkResult> {
  const { oneUs, manyUs, encryptUs } = await measureHits(10_000, 8 << 20);
  return {
    name: 'hit at the API layer, 256 bytes, context of 2',
    rows: [
      row('Decrypt over 10,000 cached DEKs : over 1', manyUs, oneUs, 'µs', '≤ 1.3'),
      row('Encrypt : Decrypt', encryptUs, oneUs, 'µs'),
    ],
  };
}

if (import.meta.main) {
  const result = await run();
  console.log(result.name);
  console.table(result.rows);
}
