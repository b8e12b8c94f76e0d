import type { Dek } from './dek.ts';
import type { Refusal } from './refusals.ts';

/**
 * What may be done with a held DEK now (docs/architecture.md, the keyring's table):
 * `serve` it · serve it and say that it is in `grace` · `refresh` it first · wait for the refusal to be `confirm`ed · nothing (`unavailable`).
 */
export type Verdict = 'serve' | 'grace' | 'refresh' | 'confirm' | 'unavailable';

/** The table of what serves when. `refusal` is the one that covers the DEK and is not settled yet. */
export function decide(dek: Dek, nowMs: number, refusal: Refusal | undefined): Verdict {
  const { ttlMs } = dek.options.cache;
  const ageMs = nowMs - dek.verifiedAtMs;
  if (ageMs <= ttlMs) return 'serve';
  if (refusal?.state === 'confirming') return 'confirm';
  const isOver = ageMs > ttlMs + graceMs(dek);
  const waitsForTurn = !isOver && nowMs < dek.recoversByMs;
  if (refusal === undefined && !waitsForTurn && !dek.unanswered(nowMs)) return 'refresh';
  if (isOver) return 'unavailable';
  // The upstream said no and then nothing more: one more ttl, not grace.
  return refusal === undefined || nowMs <= refusal.firstSeenAtMs + ttlMs ? 'grace' : 'unavailable';
}

/** Milliseconds past ttl in which an outage does not matter; Infinity for `startup` keys. */
export function graceMs(dek: Dek): number {
  return dek.options.cache.mode === 'startup' ? Number.POSITIVE_INFINITY : dek.options.cache.graceMs;
}

/** It has encrypted for as long, or as much, as it may: a successor is due now. */
export function rotationOverdue(dek: Dek, nowMs: number): boolean {
  const { rotateAfterMs, maxMessages, maxBytes } = dek.options.cache;
  return nowMs - dek.loadedAtMs >= rotateAfterMs || dek.messages >= maxMessages || dek.bytes >= maxBytes;
}
