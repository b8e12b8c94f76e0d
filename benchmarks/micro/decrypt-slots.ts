/** What it costs that 100,000 DEKs are in use and not one, all in slots: memory.size 32MiB. */
import { type BenchmarkResult, row } from '../result.ts';
import { measureHits } from './hits.ts';

export async function run(): Promise<BenchmarkResult> {
  const { oneUs, manyUs } = await measureHits(100_000, 32 << 20);
  return {
    name: 'hit at the API layer, first tier',
    rows: [row('Decrypt over 100,000 DEKs in slots : over 1', manyUs, oneUs, 'µs', '≤ 2.2')],
  };
}

if (import.meta.main) {
  const result = await run();
  console.log(result.name);
  console.table(result.rows);
}
