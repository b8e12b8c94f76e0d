import type { Fault } from './outage-faults.ts';
import type { Latencies } from './outage-judge.ts';
import type { UpstreamName } from './outage-world.ts';

/** What was seen in one fault and after it. */
export interface FaultReport {
  readonly fault: Fault;
  /** Everything that contradicts what is promised. */
  readonly violations: readonly string[];
  /** Upstreams that left a call unanswered before or after the fault, as on a busy machine: there nothing is promised, and nothing was judged. */
  readonly silent: readonly UpstreamName[];
  /** Of answers with a cached DEK that is in use: just before the fault, and in it. */
  readonly calm: Latencies;
  readonly hits: Latencies;
  /** The same from the end of the fault until its upstream had been back for one ttl. */
  readonly healing: Latencies;
  readonly inGrace: number;
  /** Of UNAVAILABLE: past a short grace, and for DEKs that are not cached. */
  readonly past: Latencies;
  readonly cold: Latencies;
  /** From the end of the fault until the agent found that the upstream is back. */
  readonly backAfterMs: Partial<Record<UpstreamName, number>>;
  /** That were made, and that upstreams were asked in it. */
  readonly callsPerSecond: number;
  readonly unwraps: number;
  /** How late the load was with its own calls, 99th percentile, in milliseconds: it is in each latency. */
  readonly loadLateMs: number;
}

export interface OutageReport {
  /** Hits before all faults together, and in all of them. */
  readonly calm: Latencies;
  readonly outages: Latencies;
  readonly faults: readonly FaultReport[];
}

export function told({ count, medianMs, p99Ms, maxMs }: Latencies): string {
  return `${count} calls, median ${medianMs.toFixed(2)} ms, p99 ${p99Ms.toFixed(2)} ms, longest ${maxMs.toFixed(0)} ms`;
}

export function describe(report: FaultReport): string {
  const { fault, violations, silent, backAfterMs, callsPerSecond, unwraps } = report;
  return [
    `${fault.name}: ${callsPerSecond} calls/s, ${unwraps} unwraps; hits: ${told(report.hits)}; ${report.inGrace} in grace`,
    `hits just before: ${told(report.calm)}; the load itself late: p99 ${report.loadLateMs.toFixed(1)} ms`,
    `UNAVAILABLE past grace: ${told(report.past)}; not cached: ${told(report.cold)}`,
    `known to be back after ${JSON.stringify(backAfterMs)} ms; hits until one ttl later: ${told(report.healing)}`,
    ...silent.map((name) => `NOT JUDGED: ${name}, which left a call unanswered without a fault`),
    ...violations.map((violation) => `WRONG: ${violation}`),
  ].join('\n  ');
}
