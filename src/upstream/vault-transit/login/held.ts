/** A token and what is known of it: what a child hands over to the next one, too. */
export interface Held {
  readonly token: string;
  /** Of monotonicMs(); Infinity as long as nothing else is known, or when it never ends. */
  expiresAtMs: number;
  /** Life when it was issued, or first seen. */
  firstTtlMs: number;
}

/** What goes into an HTTP header as it is. */
export const TOKEN = /^[\x21-\x7e]{1,8192}$/;

/** CLOCK_MONOTONIC in milliseconds: one clock for all processes, unlike performance.now(). */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** What another child left, from JSON, which has no Infinity: null. Undefined for anything else. */
export function parseNote(note: unknown): Held | undefined {
  if (typeof note !== 'object' || note === null) return undefined;
  const { token, expiresAtMs, firstTtlMs } = note as Record<string, unknown>;
  if (typeof token !== 'string' || !TOKEN.test(token) || typeof firstTtlMs !== 'number') return undefined;
  if (expiresAtMs !== null && typeof expiresAtMs !== 'number') return undefined;
  return { token, expiresAtMs: expiresAtMs ?? Number.POSITIVE_INFINITY, firstTtlMs };
}
