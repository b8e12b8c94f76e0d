/**
 * What a long Encrypt takes from everybody else: the time that the calling thread is held, in the thread pool and without it. XAES-256-GCM, output
 * in fresh memory as an envelope's is; round by round in turn.
 */
import { createKey, openArena, seal, sealAsync, USE_MESSAGE } from '../../src/crypto/native.ts';
import { type BenchmarkResult, median, type Row, row } from '../result.ts';

const ROUNDS = 41;
const OVERHEAD_BYTES = 40;
const nothing = Buffer.alloc(0);

export async function run(): Promise<BenchmarkResult> {
  openArena({ size: 1 << 16, lock: 'best-effort' });
  const rows = [await measure('128 KiB', 1 << 17), await measure('4 MiB', 1 << 22)];
  return { name: 'thread held: sealAsync : seal', rows };
}

async function measure(name: string, length: number): Promise<Row> {
  const dek = createKey('dek');
  const plaintext = Buffer.alloc(length, 1);
  const inPool: number[] = [];
  const here: number[] = [];
  for (let round = -5; round < ROUNDS; round++) {
    const first = performance.now();
    const job = sealAsync(dek, USE_MESSAGE, 1, nothing, 0, plaintext, nothing);
    const heldMs = performance.now() - first;
    await job;
    const second = performance.now();
    seal(dek, USE_MESSAGE, 1, nothing, 0, plaintext, Buffer.allocUnsafe(length + OVERHEAD_BYTES), 0);
    if (round < 0) continue;
    inPool.push(heldMs * 1e3);
    here.push((performance.now() - second) * 1e3);
  }
  return row(name, median(inPool), median(here), 'µs');
}

if (import.meta.main) {
  const result = await run();
  console.log(result.name);
  console.table(result.rows);
}
