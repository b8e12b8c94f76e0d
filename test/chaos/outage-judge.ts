import { type Calls, PROBLEM, type Problem, SERVED_IN_GRACE, type UsedDek } from './outage-load.ts';
import { BRIEF } from './outage-world.ts';

/** When each DEK was last verified, by dek_id, as the agent's status told between two moments. */
export interface Sample {
  readonly askedMs: number;
  readonly answeredMs: number;
  readonly verified: ReadonlyMap<string, number>;
  /** Since the start: unwraps that upstreams were asked for. */
  readonly unwraps: number;
}

/** One fault, from before it began until before it ended. */
export interface Window {
  readonly before: Sample;
  readonly after: Sample;
  readonly begunMs: number;
  /** Whether no call to the upstream of that key could succeed. */
  isWhole(key: string): boolean;
}

export interface Rules {
  readonly ttlMs: number;
  readonly graceMs: number;
  readonly briefGraceMs: number;
}

/** The clocks of two processes, in whole milliseconds, do not agree better. */
const CLOCKS_MS = 10;
const UNAVAILABLE = 14;
const SHOWN = 5;

/** What was wrong, each kind with how often and when first. */
export class Violations {
  readonly #found = new Map<string, { times: number; first: string }>();

  add(kind: string, detail: string): void {
    const known = this.#found.get(kind);
    if (known === undefined) this.#found.set(kind, { times: 1, first: detail });
    else known.times++;
  }

  get lines(): string[] {
    const lines = [...this.#found].map(([kind, { times, first }]) => `${times} × ${kind}; the first: ${first}`);
    return lines.length <= SHOWN ? lines : [...lines.slice(0, SHOWN), `and ${lines.length - SHOWN} other kinds`];
  }
}

/**
 * The rule. An answer says `served_in_grace` exactly when its DEK is older than ttl, counted from the call by which an upstream last vouched for
 * it. That moment only moves forward, and the agent's status tells it: V0 before a fault and V1 at its end bound what it was meanwhile. So, of a
 * call that was sent at s and answered at r:
 *   - it may be in grace only if r > V0 + ttl
 *   - it must be in grace if s > V1 + ttl
 * Where no call succeeded in the fault, V0 = V1 but for the instants of its beginning, and the rule is exact. With ttl + grace in the place of
 * ttl the same holds for being served at all:
 *   - it may be UNAVAILABLE only if r > V0 + ttl + grace
 *   - it must be if s > V1 + ttl + grace
 * Every other failure is wrong, whenever it comes, and so is every failure of a key with the long grace.
 */
export function judgeWindow(calls: Calls, { before, after, isWhole, begunMs }: Window, rules: Rules): Violations {
  const violations = new Violations();
  each(calls, (call) => {
    const { sentMs, receivedMs, outcome, dek, problem } = call;
    const wrong = failure(call);
    if (wrong !== undefined) violations.add(wrong, dek.key);
    // Before or between the two questions nothing is known; and what is not cached has nothing to serve with.
    const known = before.verified.get(dek.id);
    if (wrong !== undefined || known === undefined || sentMs < before.answeredMs || receivedMs > after.askedMs) return;
    // One that is not there any more was let go because its grace was over.
    const to = after.verified.get(dek.id) ?? (isWhole(dek.key) ? begunMs : after.answeredMs);
    const { ttlMs } = rules;
    const lifeMs = ttlMs + (dek.key.endsWith(BRIEF) ? rules.briefGraceMs : rules.graceMs);
    const check = (what: string, byMs: number): void => {
      if (byMs > CLOCKS_MS) violations.add(what, `${dek.key}, by ${Math.round(byMs)} ms`);
    };
    if (problem !== undefined) return check('UNAVAILABLE before its grace was over', known + lifeMs - receivedMs);
    if (outcome === SERVED_IN_GRACE) check('in grace before ttl', known + ttlMs - receivedMs);
    else check('past ttl and not said to be in grace', sentMs - to - ttlMs);
    check('served past grace', sentMs - to - lifeMs);
  });
  return violations;
}

/** What no outage excuses: only a DEK whose short grace is over, or that is not cached, may be UNAVAILABLE. */
function failure({ dek, problem }: Call): string | undefined {
  if (problem === undefined) return undefined;
  return problem.code === UNAVAILABLE && dek.stream !== MAIN ? undefined : `${problem.code} ${problem.text}`;
}

/** While and after upstreams come back. `sinceMs` is when a key's upstream had been back for one ttl: then nothing is in grace, nor UNAVAILABLE. */
export function judgeCalm(calls: Calls, sinceMs: (key: string) => number): Violations {
  const violations = new Violations();
  each(calls, (call) => {
    const { sentMs, outcome, dek, problem } = call;
    const wrong = failure(call);
    const afterMs = sentMs - sinceMs(dek.key);
    if (wrong !== undefined) violations.add(wrong, dek.key);
    else if (dek.stream === COLD || afterMs < 0) return;
    else if (problem !== undefined) violations.add(`${problem.text}, without an outage`, dek.key);
    else if (outcome === SERVED_IN_GRACE) {
      violations.add('in grace without an outage', `${dek.key}, ${Math.round(afterMs)} ms after its time`);
    }
  });
  return violations;
}

/** Streams of calls: of the keys with the long grace, of those with the short one, and for DEKs that are not cached. */
export const MAIN = 'main';
export const SHORT = 'short';
export const COLD = 'cold';

export interface Call {
  readonly sentMs: number;
  readonly receivedMs: number;
  readonly outcome: number;
  readonly dek: UsedDek;
  readonly problem: Problem | undefined;
}

export function each(calls: Calls, look: (call: Call) => void): void {
  const { sentMs, receivedMs, outcome, dek, deks, problems } = calls;
  for (let at = 0; at < sentMs.length; at++) {
    look({
      sentMs: sentMs[at]!,
      receivedMs: receivedMs[at]!,
      outcome: outcome[at]!,
      dek: deks[dek[at]!]!,
      problem: problems[outcome[at]! - PROBLEM],
    });
  }
}

export interface Latencies {
  readonly count: number;
  readonly medianMs: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

/** Of the calls that `wanted` picks. */
export function latencies(calls: readonly Calls[], wanted: (call: Call) => boolean): Latencies {
  const found: number[] = [];
  for (const some of calls) {
    each(some, (call) => {
      if (wanted(call)) found.push(call.receivedMs - call.sentMs);
    });
  }
  const sorted = Float64Array.from(found).sort();
  const at = (share: number): number => sorted[Math.floor(share * (sorted.length - 1))] ?? Number.NaN;
  return { count: sorted.length, medianMs: at(0.5), p99Ms: at(0.99), maxMs: at(1) };
}
