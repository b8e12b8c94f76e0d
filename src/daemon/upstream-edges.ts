import type { UpstreamClock } from '../upstream/clock.ts';
import { DrilledUpstream } from '../upstream/drill.ts';
import type { Upstream } from '../upstream/provider.ts';
import type { BreakerChange } from '../upstream/resilience/resilient-upstream.ts';

/** One configured upstream, with what lies between it and the keyrings. */
export interface UpstreamEdge {
  /** As it was opened: capabilities such as KekLifecycle are its own. */
  readonly raw: Upstream;
  readonly drilled: DrilledUpstream;
  /** What KEKs call; closes the others with it. */
  readonly upstream: Upstream;
  /** Open while the upstream is out: calls fail at once, until a probe is answered. Always closed for `local`, which has no breaker. */
  readonly breaker: 'closed' | 'open';
}

/** Puts drills before an upstream, and before one that is not in this process what bounds its calls, which `local` needs none of. */
export async function upstreamEdge(
  name: string,
  raw: Upstream,
  clock: UpstreamClock,
  onBreaker: (change: BreakerChange) => void,
): Promise<UpstreamEdge> {
  if (raw.type === 'local') return localEdge(raw, clock);
  const drilled = new DrilledUpstream(raw, clock);
  // Not before it is needed: the library of its breakers costs a cold start 20 ms.
  const { ResilientUpstream } = await import('../upstream/resilience/resilient-upstream.ts');
  const resilient = new ResilientUpstream(name, drilled, clock);
  resilient.onBreaker = onBreaker;
  return {
    raw,
    drilled,
    upstream: resilient,
    get breaker() {
      return resilient.breaker;
    },
  };
}

/** Of an upstream in this process: what it answers it answers at once. */
export function localEdge(raw: Upstream, clock: UpstreamClock): UpstreamEdge {
  const drilled = new DrilledUpstream(raw, clock);
  return { raw, drilled, upstream: drilled, breaker: 'closed' };
}
