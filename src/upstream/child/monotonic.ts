/** CLOCK_MONOTONIC in milliseconds: one clock for all processes, unlike performance.now(). */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
