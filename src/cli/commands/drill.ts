import { callAdmin } from '../client.ts';
import { type GlobalFlags, parseSpan, requestSpan, type SpanBounds } from '../flags.ts';
import type { ProtoTime } from '../json-document.ts';
import { printable } from '../messages.ts';
import { instant } from '../render.ts';
import { show } from '../show.ts';

interface DrillFlags extends GlobalFlags {
  readonly upstream: string;
}

export interface StartDrillFlags extends DrillFlags {
  readonly for: string;
  readonly class: string;
}

export type StopDrillFlags = DrillFlags;

/** As StartDrill takes them. */
const DRILL: SpanBounds = { minimumMs: 1, maximumMs: 3_600_000, example: '2m' };

export async function startDrill(flags: StartDrillFlags): Promise<void> {
  const { upstream, class: failureClass } = flags;
  const duration = requestSpan(parseSpan('--for', flags.for, DRILL));
  const request = { upstream, duration, failure_class: failureClass };
  show(flags, await callAdmin<{ ends_at: ProtoTime | null }>(flags, 'StartDrill', request), ({ ends_at: endsAt }) => {
    const effect =
      failureClass === 'refused'
        ? 'as after a revocation, what it vouched for is zeroed within seconds and refused'
        : 'what is held serves for its ttl and grace';
    return printable(
      `a drill: to this agent upstream ${upstream} looks ${failureClass} until ${instant(endsAt)}; ${effect}; ` +
        `end it with: dekctl drill stop --upstream ${upstream}`,
    );
  });
}

export async function stopDrill(flags: StopDrillFlags): Promise<void> {
  const { upstream } = flags;
  show(flags, await callAdmin<{ stopped: boolean }>(flags, 'StopDrill', { upstream }), ({ stopped }) =>
    printable(
      stopped
        ? `the drill at upstream ${upstream} is over: it answers for itself again`
        : `no drill ran at upstream ${upstream}`,
    ),
  );
}
