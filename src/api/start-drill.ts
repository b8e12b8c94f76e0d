import { invalidField } from '../errors.ts';
import { actor } from './admin-request.ts';
import { DRILL_CLASSES, type DrillClass } from './administration.ts';
import type { Call } from './call.ts';
import { authorizeDrill } from './drill-request.ts';
import type { Parts } from './parts.ts';
import { durationMs, timestamp, type WireDuration } from './time.ts';

const MAX_DRILL_MS = 3_600_000;

interface StartDrillRequest {
  upstream: string;
  duration: WireDuration | null;
  failure_class: string;
}

/** Makes an upstream fail for a bounded time. */
export function startDrill(request: StartDrillRequest, call: Call, parts: Parts): object {
  const { upstream } = request;
  authorizeDrill('StartDrill', upstream, call, parts);
  const failureClass = drillClass(request.failure_class);
  const { endsAt } = parts.administration.startDrill(upstream, failureClass, drillMs(request.duration), actor(call));
  return { ends_at: timestamp(endsAt) };
}

function drillClass(name: string): DrillClass {
  if (name === '') return 'unreachable';
  const known = DRILL_CLASSES.find((one) => one === name);
  if (known !== undefined) return known;
  throw invalidField('failure_class', `is none; there is: ${DRILL_CLASSES.join(', ')}`);
}

function drillMs(span: WireDuration | null): number {
  if (span === null) throw invalidField('duration', 'is not set; a drill lasts 1 ms to 1 h, 2 min for instance');
  const ms = durationMs(span);
  if (ms >= 1 && ms <= MAX_DRILL_MS) return ms;
  const problem = ms > MAX_DRILL_MS ? 'is over 1 h; start another drill when this one is over' : 'is under 1 ms';
  throw invalidField('duration', `${problem}; a drill lasts 1 ms to 1 h`);
}
