import type { LRUCache } from 'lru-cache';
import type { Dek } from './dek.ts';

/** So many DEKs at most are passed over at a time; they count as just used then, so that the next look begins after them. */
const MAX_PASSED_OVER = 64;

/**
 * The key of the DEK that was used longest ago, but for those whose upstreams are out: they could not be had again before the outage ends, so they make
 * way for nobody. Undefined when no other is found.
 */
export function spareable<K extends {}>(deks: LRUCache<K, Dek>, nowMs: number): K | undefined {
  for (let looks = Math.min(deks.size, MAX_PASSED_OVER); looks > 0; looks--) {
    const [oldest] = deks.rkeys();
    if (oldest === undefined) return undefined;
    if (deks.get(oldest)?.unanswered(nowMs) === false) return oldest;
  }
  return undefined;
}
