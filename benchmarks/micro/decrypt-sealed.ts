/** What it costs that 100,000 DEKs are in use in the second tier, and not one in a slot: secret memory of 64 KiB. */
import { type BenchmarkResult, row } from '../result.ts';
import { measureHits } from './hits.ts';

export async function run(): Promise<BenchmarkResult> {
  const { oneUs, manyUs } = await measureHits(100_000, 1 << 16, false);
  return {
    name: 'hit at the API layer, second tier',
    rows: [row('Decrypt over 100,000 sealed DEKs : over 1 in a slot', manyUs, oneUs, 'µs', '≤ 3')],
  };
}

if (import.meta.main) {
  const result = await run();
  console.log(result.name);
  console.table(result.rows);
}
