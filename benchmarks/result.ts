/** One measure of something of ours and of its yardstick, taken in the same run. */
export interface Row {
  readonly measure: string;
  readonly value: number;
  /** The yardstick's. */
  readonly baseline: number;
  readonly unit: string;
  /** value : baseline. */
  readonly ratio: number;
  /** Bound on the ratio, e.g. `≤ 0.3`; empty = for information. */
  readonly mustReach: string;
  readonly reached: boolean;
}

/** What every module in micro/ and macro/ gives back from its `run()`. */
export interface BenchmarkResult {
  readonly name: string;
  readonly rows: readonly Row[];
}

/** A row with its ratio and verdict worked out. */
export function row(measure: string, value: number, baseline: number, unit: string, mustReach = ''): Row {
  const ratio = value / baseline;
  return {
    measure,
    value: rounded(value),
    baseline: rounded(baseline),
    unit,
    ratio: rounded(ratio),
    mustReach,
    reached: holds(ratio, mustReach),
  };
}

export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

function holds(ratio: number, mustReach: string): boolean {
  if (mustReach === '') return true;
  const [, sign, bound] = /^([≤≥]) (\d+(?:\.\d+)?)$/.exec(mustReach) ?? [];
  if (bound === undefined) throw new Error(`"${mustReach}" is no bound such as "≥ 0.8"`);
  return sign === '≤' ? ratio <= Number(bound) : ratio >= Number(bound);
}

/** Three significant digits, or whole numbers. */
function rounded(value: number): number {
  return value >= 100 ? Math.round(value) : Number(value.toPrecision(3));
}
