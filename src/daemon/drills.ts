import type { DrillFacts } from '../api/administration.ts';
import { DekdError } from '../errors.ts';
import type { Clock } from '../keyring/clock.ts';
import type { Logger } from '../telemetry/logger.ts';
import { EVENTS } from '../telemetry/names.ts';
import type { Drill, DrillClass, DrilledUpstream } from '../upstream/drill.ts';

export interface DrillParts {
  /** By the names of the configuration. */
  readonly upstreams: ReadonlyMap<string, DrilledUpstream>;
  /** Called when a drill is over, or a `refused` one replaced: what was refused in it, since that moment of CLOCK_BOOTTIME, says nothing any more. */
  readonly onOver: (upstream: string, startedAtMs: number) => void;
  readonly clock: Pick<Clock, 'bootMs' | 'wallMs'>;
  readonly logger: Logger;
}

/** Starts and stops drills, and tells the log: when, who, which class, until when. */
export class Drills {
  readonly #parts: DrillParts;

  constructor(parts: DrillParts) {
    this.#parts = parts;
    for (const [upstream, drilled] of parts.upstreams) {
      drilled.onEnd = (drill) => this.#over(upstream, drill, {}, 'a drill is over: its time has come');
    }
  }

  /** The drill that runs at an upstream. */
  running(upstream: string): DrillFacts | undefined {
    const drill = this.#parts.upstreams.get(upstream)?.drill;
    return drill && this.#facts(drill);
  }

  /** Replaces the one that runs. */
  start(upstream: string, failureClass: DrillClass, durationMs: number, by: string): DrillFacts {
    const drilled = this.#drilled(upstream);
    const replaced = drilled.drill;
    if (replaced?.failureClass === 'refused') this.#parts.onOver(upstream, replaced.startedAtMs);
    const facts = this.#facts(drilled.start({ failureClass, durationMs }));
    const fields = { upstream, failureClass, endsAt: new Date(facts.endsAt).toISOString(), by };
    const text = 'a drill: the upstream is made to fail';
    if (replaced === undefined) this.#parts.logger.warn({ event: EVENTS.drillStarted, ...fields }, text);
    else {
      const also = { replaced: replaced.failureClass };
      this.#parts.logger.warn(
        { event: EVENTS.drillStarted, ...fields, ...also },
        `${text}; it replaces the one before`,
      );
    }
    return facts;
  }

  /** False when none ran. */
  stop(upstream: string, by: string): boolean {
    const drilled = this.#drilled(upstream);
    const { drill } = drilled;
    if (drill === undefined || !drilled.stop()) return false;
    this.#over(upstream, drill, { by }, 'a drill was stopped');
    return true;
  }

  #over(upstream: string, { failureClass, startedAtMs }: Drill, fields: object, text: string): void {
    this.#parts.onOver(upstream, startedAtMs);
    this.#parts.logger.warn({ event: EVENTS.drillEnded, upstream, failureClass, ...fields }, text);
  }

  #drilled(upstream: string): DrilledUpstream {
    const drilled = this.#parts.upstreams.get(upstream);
    if (drilled === undefined) throw new DekdError('INTERNAL', 'internal error: a drill at an unknown upstream');
    return drilled;
  }

  #facts({ failureClass, endsAtMs }: Drill): DrillFacts {
    const { clock } = this.#parts;
    return { failureClass, endsAt: clock.wallMs() + endsAtMs - clock.bootMs() };
  }
}
