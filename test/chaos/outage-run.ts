import { setTimeout as sleep } from 'node:timers/promises';
import { type Agent, startAgent } from '../helpers/agent-process.ts';
import type { Teardown } from '../helpers/place.ts';
import { type DekCounts, makeCorpus } from './outage-corpus.ts';
import { FAULTS, type Fault } from './outage-faults.ts';
import {
  type Call,
  COLD,
  judgeCalm,
  judgeWindow,
  latencies,
  MAIN,
  type Rules,
  type Sample,
  SHORT,
} from './outage-judge.ts';
import { type Calls, type Load, SERVED_IN_GRACE, startLoad } from './outage-load.ts';
import { describe, type FaultReport, type OutageReport } from './outage-report.ts';
import { BRIEF, type OutageWorld, startOutageWorld, UPSTREAMS, type UpstreamName } from './outage-world.ts';

export interface OutageOptions extends Rules {
  /** How long each fault lasts, in milliseconds, and how long there is none before each. */
  readonly windowMs: number;
  readonly calmMs: number;
  readonly callsPerSecond: number;
  readonly deks: DekCounts;
  /** Each idle DEK is used once in so long. */
  readonly idleEveryMs: number;
  readonly log: (line: string) => void;
}

/** Upstreams by when they were back, and the calls that had failed by then. */
type Back = Partial<Record<UpstreamName, { readonly atMs: number; readonly failures: string }>>;

/** Calls without a fault; `silent`: upstreams that left one unanswered all the same, as on a busy machine. Nothing is promised of these. */
interface Rest {
  readonly calls: Calls;
  readonly silent: readonly UpstreamName[];
}

/** Calls of the keys with the short grace, and for DEKs that are not cached: enough for a percentile, beside what is measured. */
const BRIEF_CALLS_PER_SECOND = 60;
const COLD_CALLS_PER_SECOND = 40;
const PARTITIONS = 2;
/** Long enough for the slowest way to the news: a probe each 5 s, a throttle's pause of up to 30 s more. */
const BACK_TIMEOUT_MS = 45_000;
const SETTLING_MS = 2_000;
const LAST_LINES = 30;

/** All faults, one after the other, each in all upstreams at once, under load. */
export async function runOutages(t: Teardown, options: OutageOptions): Promise<OutageReport> {
  const world = await startOutageWorld(t, options);
  const corpus = await makeCorpus(t, world, options.deks);
  const agent = await startAgent(t, world.place);
  const partitions = (suffix: string) =>
    UPSTREAMS.flatMap((upstream) =>
      Array.from({ length: PARTITIONS }, (_, at) => ({ key: `${upstream}${suffix}`, tenant: `own-${at}` })),
    );
  const load = await startLoad(t, {
    socket: world.place.agentSocket,
    streams: {
      [MAIN]: {
        callsPerSecond: options.callsPerSecond,
        partitions: partitions(''),
        busy: corpus.busy,
        idle: corpus.idle,
        idleEveryMs: options.idleEveryMs,
      },
      [SHORT]: {
        callsPerSecond: BRIEF_CALLS_PER_SECOND,
        partitions: partitions(BRIEF),
        busy: corpus.brief,
        idle: [],
        idleEveryMs: 1,
      },
      [COLD]: {
        callsPerSecond: COLD_CALLS_PER_SECOND,
        partitions: [],
        busy: corpus.cold,
        idle: [],
        idleEveryMs: 1,
      },
    },
  });
  return new Run(world, agent, load, options).all();
}

class Run {
  readonly #world: OutageWorld;
  readonly #agent: Agent;
  readonly #load: Load;
  readonly #options: OutageOptions;
  /** What was called in each fault, and before each. */
  readonly #windows: Calls[] = [];
  readonly #calms: Calls[] = [];

  constructor(world: OutageWorld, agent: Agent, load: Load, options: OutageOptions) {
    this.#world = world;
    this.#agent = agent;
    this.#load = load;
    this.#options = options;
  }

  async all(): Promise<OutageReport> {
    await this.#load.warm();
    await this.#load.start(MAIN);
    await this.#load.start(SHORT);
    // The first calls of a process are its slowest.
    await sleep(SETTLING_MS);
    const faults: FaultReport[] = [];
    for (const fault of FAULTS) {
      const report = await this.#suffer(fault, await this.#rest());
      faults.push(report);
      this.#options.log(describe(report));
    }
    return { calm: latencies(this.#calms, isHit), outages: latencies(this.#windows, isHit), faults };
  }

  /** The same load without a fault. A machine is not as busy all the time: each fault is compared with what came just before it. */
  async #rest(): Promise<Rest> {
    await this.#load.take();
    const before = await this.#failures();
    await sleep(this.#options.calmMs);
    const calls = await this.#load.take();
    this.#calms.push(calls);
    const after = await this.#failures();
    return { calls, silent: UPSTREAMS.filter((name) => after[name] !== before[name]) };
  }

  async #suffer(fault: Fault, rest: Rest): Promise<FaultReport> {
    const { windowMs } = this.#options;
    const before = await this.#sample();
    const end = await fault.begin(this.#world, { agentPid: this.#agent.pid, windowMs });
    const begunMs = Date.now();
    // While an upstream flaps a DEK may be loaded.
    if (fault.partial.length < UPSTREAMS.length) await this.#load.start(COLD);
    await sleep(windowMs);
    const after = await this.#sample();
    await this.#load.stop(COLD);
    await end();
    const endedMs = Date.now();
    const calls = await this.#load.take();
    this.#windows.push(calls);
    const back = await this.#back(fault, endedMs);
    const lastMs = Math.max(...Object.values(back).map(({ atMs }) => atMs));
    await sleep(Math.max(0, lastMs + this.#options.ttlMs - Date.now()) + SETTLING_MS);
    const later = await this.#load.take();
    const failures = await this.#failures();
    const silent = UPSTREAMS.filter((name) => back[name] !== undefined && failures[name] !== back[name].failures);
    const isWhole = (key: string): boolean => !fault.partial.includes(upstreamOf(key));
    const healedMs = (key: string): number =>
      (back[upstreamOf(key)]?.atMs ?? Number.POSITIVE_INFINITY) + this.#options.ttlMs;
    const unless = (quiet: readonly UpstreamName[], sinceMs: (key: string) => number) => (key: string) =>
      quiet.includes(upstreamOf(key)) ? Number.POSITIVE_INFINITY : sinceMs(key);
    const violations = [
      ...judgeCalm(
        rest.calls,
        unless(rest.silent, () => 0),
      ).lines,
      ...judgeWindow(calls, { before, after, isWhole, begunMs }, this.#options).lines,
      ...judgeCalm(later, unless(silent, healedMs)).lines,
      ...unfelt(isWhole, after, calls, begunMs + this.#options.ttlMs),
    ];
    const sent = latencies([calls], ({ sentMs }) => sentMs >= begunMs && sentMs < after.askedMs).count;
    const unavailable = (stream: string) =>
      latencies([calls], ({ dek, problem }) => dek.stream === stream && problem !== undefined);
    return {
      fault,
      violations,
      silent: [...rest.silent, ...silent],
      calm: latencies([rest.calls], isHit),
      hits: latencies([calls], isHit),
      healing: latencies([later], (call) => isHit(call) && call.sentMs < healedMs(call.dek.key)),
      inGrace: latencies([calls], ({ dek, outcome }) => dek.stream === MAIN && outcome === SERVED_IN_GRACE).count,
      past: unavailable(SHORT),
      cold: unavailable(COLD),
      backAfterMs: Object.fromEntries(
        Object.entries(back).map(([name, { atMs }]) => [name, Math.round(atMs - endedMs)]),
      ),
      callsPerSecond: Math.round((sent * 1000) / (after.askedMs - begunMs)),
      unwraps: after.unwraps - before.unwraps,
      loadLateMs: calls.lateMs,
    };
  }

  /** When the agent knew of each upstream that it is back, and how many calls at it had failed by then. */
  async #back(fault: Fault, endedMs: number): Promise<Back> {
    const back: Back = {};
    const awaited = UPSTREAMS.filter((name) => !fault.lost.includes(name));
    for (const until = Date.now() + BACK_TIMEOUT_MS; Date.now() < until; await sleep(100)) {
      const { message } = await this.#agent.admin.call('GetStatus', { max_deks: 1 });
      for (const { upstream, state, as_of, since, failures } of message.upstreams) {
        const name = upstream as UpstreamName;
        const isBack = state === 'ok' && milliseconds(as_of) > endedMs && awaited.includes(name);
        if (isBack) back[name] ??= { atMs: Math.max(endedMs, milliseconds(since)), failures };
      }
      if (awaited.every((name) => back[name] !== undefined)) return back;
    }
    const log = this.#agent.stderr().split('\n').slice(-LAST_LINES).join('\n');
    throw new Error(
      `${fault.name}: only ${Object.keys(back).join(', ')} were found again; the agent's last words:\n${log}`,
    );
  }

  /** By upstream, calls that got no answer. */
  async #failures(): Promise<Record<string, string>> {
    const { message } = await this.#agent.admin.call('GetStatus', { max_deks: 1 });
    return Object.fromEntries(
      message.upstreams.map(({ upstream, failures }: { upstream: string; failures: string }) => [upstream, failures]),
    );
  }

  async #sample(): Promise<Sample> {
    const askedMs = Date.now();
    const { message } = await this.#agent.admin.call('GetStatus', { max_deks: 10_000 });
    const answeredMs = Date.now();
    const asOfMs = milliseconds(message.as_of);
    const verified = new Map<string, number>();
    let unwraps = 0;
    for (const { deks, counters } of message.keys) {
      unwraps += Number(counters.unwraps);
      for (const { dek_id, verification_age: age } of deks) {
        verified.set(dek_id, asOfMs - milliseconds(age));
      }
    }
    return { askedMs, answeredMs, verified, unwraps };
  }
}

/** That the fault was one: no DEK of an upstream that it hits wholly was verified in it. */
function unfelt(isWhole: (key: string) => boolean, after: Sample, { deks }: Calls, fromMs: number): string[] {
  const verified = deks.filter(({ id, key }) => isWhole(key) && (after.verified.get(id) ?? 0) > fromMs);
  if (verified.length === 0) return [];
  return [`${verified.length} DEKs were verified in the fault, e.g. of key ${verified[0]!.key}: it was none`];
}

/** Answers with cached DEKs that are in use: an idle one waits for its upstream while that is well, and is no hit. */
function isHit({ dek, problem }: Call): boolean {
  return dek.stream === MAIN && !dek.isIdle && problem === undefined;
}

function upstreamOf(key: string): UpstreamName {
  return key.replace(BRIEF, '') as UpstreamName;
}

function milliseconds({ seconds, nanos }: { seconds: string; nanos: number }): number {
  return Number(seconds) * 1000 + nanos / 1e6;
}
