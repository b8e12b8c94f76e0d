import type { UpstreamClock } from '../upstream/clock.ts';
import { DrilledUpstream } from '../upstream/drill.ts';
import type { Upstream } from '../upstream/provider.ts';

/** One configured upstream, with what lies between it and the keyrings. */
export interface UpstreamEdge {
  /** As it was opened: capabilities such as KekLifecycle are its own. */
  readonly raw: Upstream;
  readonly drilled: DrilledUpstream;
  /** What KEKs call. */
  readonly upstream: Upstream;
  /** Open while the upstream is out: calls fail at once, until a probe is answered. Always closed for `local`, which has no breaker. */
  readonly breaker: 'closed' | 'open';
}

export function upstreamEdges(
  upstreams: ReadonlyMap<string, Upstream>,
  clock: UpstreamClock,
): ReadonlyMap<string, UpstreamEdge> {
  return new Map([...upstreams].map(([name, raw]) => [name, edgeOf(raw, clock)]));
}

function edgeOf(raw: Upstream, clock: UpstreamClock): UpstreamEdge {
  const drilled = new DrilledUpstream(raw, clock);
  return { raw, drilled, upstream: drilled, breaker: 'closed' };
}
