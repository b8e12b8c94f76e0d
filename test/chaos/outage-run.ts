import { setTimeout as sleep } from 'node:timers/promises';
import { type Agent, startAgent } from '../helpers/agent-process.ts';
import type { Teardown } from '../helpers/place.ts';
import { type DekCounts, makeCorpus } from './outage-corpus.ts';
import { FAULTS, type Fault } from './outage-faults.ts';
import { type Call, COLD, judgeCalm, judgeWindow, latencies, MAIN, type Rules, type Sample } from './outage-judge.ts';
import { type Calls, type Load, SERVED_IN_GRACE, startLoad } from './outage-load.ts';
import { describe, type FaultReport, type OutageReport, told } from './outage-report.ts';
import { BRIEF, type OutageWorld, startOutageWorld, UPSTREAMS, type UpstreamName } from './outage-world.ts';

export interface OutageOptions extends Rules {
  /** How long each fault lasts, in milliseconds, and how long there is none before them. */
  readonly windowMs: number;
  readonly calmMs: number;
  readonly callsPerSecond: number;
  readonly deks: DekCounts;
  /** Each idle DEK is used once in so long. */
  readonly idleEveryMs: number;
  readonly log: (line: string) => void;
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
      brief: {
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
  /** What was called in each fault. */
  readonly #windows: Calls[] = [];

  constructor(world: OutageWorld, agent: Agent, load: Load, options: OutageOptions) {
    this.#world = world;
    this.#agent = agent;
    this.#load = load;
    this.#options = options;
  }

  async all(): Promise<OutageReport> {
    await this.#load.warm();
    await this.#load.start(MAIN);
    await this.#load.start('brief');
    // The first calls of a process are its slowest.
    await sleep(SETTLING_MS);
    await this.#load.take();
    await sleep(this.#options.calmMs);
    const calm = await this.#load.take();
    const calmViolations = judgeCalm(calm, () => 0).lines;
    const calmLatencies = latencies([calm], isHit);
    this.#options.log(`calm: ${told(calmLatencies)}; ${calmViolations.join('; ')}`);
    const faults: FaultReport[] = [];
    for (const fault of FAULTS) {
      const report = await this.#suffer(fault);
      faults.push(report);
      this.#options.log(describe(report));
    }
    return { calm: calmLatencies, calmViolations, outages: latencies(this.#windows, isHit), faults };
  }

  async #suffer(fault: Fault): Promise<FaultReport> {
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
    const backMs = await this.#back(fault, endedMs);
    await sleep(Math.max(0, Math.max(...Object.values(backMs)) + this.#options.ttlMs - Date.now()) + SETTLING_MS);
    const later = await this.#load.take();
    const sinceMs = (key: string): number => {
      const at = backMs[upstreamOf(key)];
      return at === undefined ? Number.POSITIVE_INFINITY : at + this.#options.ttlMs;
    };
    const isWhole = (key: string): boolean => !fault.partial.includes(upstreamOf(key));
    const violations = [
      ...judgeWindow(calls, { before, after, isWhole, begunMs }, this.#options).lines,
      ...judgeCalm(later, sinceMs).lines,
      ...unfelt(isWhole, after, calls, begunMs + this.#options.ttlMs),
    ];
    const sent = latencies([calls], ({ sentMs }) => sentMs >= begunMs && sentMs < after.askedMs).count;
    const unavailable = (stream: string) =>
      latencies([calls], ({ dek, problem }) => dek.stream === stream && problem !== undefined);
    return {
      fault,
      violations,
      hits: latencies([calls], isHit),
      healing: latencies([later], (call) => isHit(call) && call.sentMs < sinceMs(call.dek.key)),
      inGrace: latencies([calls], ({ dek, outcome }) => dek.stream === MAIN && outcome === SERVED_IN_GRACE).count,
      past: unavailable('brief'),
      cold: unavailable(COLD),
      backAfterMs: Object.fromEntries(Object.entries(backMs).map(([name, ms]) => [name, Math.round(ms - endedMs)])),
      callsPerSecond: Math.round((sent * 1000) / (after.askedMs - begunMs)),
      unwraps: after.unwraps - before.unwraps,
    };
  }

  /** When the agent knew of each upstream that it is back. */
  async #back(fault: Fault, endedMs: number): Promise<Partial<Record<UpstreamName, number>>> {
    const back: Partial<Record<UpstreamName, number>> = {};
    const awaited = UPSTREAMS.filter((name) => !fault.lost.includes(name));
    for (const until = Date.now() + BACK_TIMEOUT_MS; Date.now() < until; await sleep(100)) {
      const { message } = await this.#agent.admin.call('GetStatus', { max_deks: 1 });
      for (const { upstream, state, as_of, since } of message.upstreams) {
        const isBack = state === 'ok' && milliseconds(as_of) > endedMs;
        if (isBack && awaited.includes(upstream))
          back[upstream as UpstreamName] ??= Math.max(endedMs, milliseconds(since));
      }
      if (awaited.every((name) => back[name] !== undefined)) return back;
    }
    const log = this.#agent.stderr().split('\n').slice(-LAST_LINES).join('\n');
    throw new Error(
      `${fault.name}: only ${Object.keys(back).join(', ')} were found again; the agent's last words:\n${log}`,
    );
  }

  async #sample(): Promise<Sample> {
    const askedMs = Date.now();
    const { message } = await this.#agent.admin.call('GetStatus', { max_deks: 10_000 });
    const answeredMs = Date.now();
    const verified = new Map<string, { fromMs: number; toMs: number }>();
    let unwraps = 0;
    for (const { deks, counters } of message.keys) {
      unwraps += Number(counters.unwraps);
      for (const { dek_id, verification_age: age } of deks) {
        const ageMs = milliseconds(age);
        verified.set(dek_id, { fromMs: askedMs - ageMs, toMs: answeredMs - ageMs });
      }
    }
    return { askedMs, answeredMs, verified, unwraps };
  }
}

/** That the fault was one: no DEK of an upstream that it hits wholly was verified in it. */
function unfelt(isWhole: (key: string) => boolean, after: Sample, { deks }: Calls, fromMs: number): string[] {
  const verified = deks.filter(({ id, key }) => isWhole(key) && (after.verified.get(id)?.fromMs ?? 0) > fromMs);
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
