/** A token and what is known of it. */
export interface Held {
  readonly token: string;
  /** Of monotonicMs(); Infinity as long as nothing else is known, or when it never ends. */
  expiresAtMs: number;
  /** Life when it was issued, or first seen. */
  firstTtlMs: number;
}

/** A login that the service refused. */
export interface LoginRefusal {
  /** SHA-256 of what was sent. */
  readonly digest: string;
  readonly message: string;
  /** Of monotonicMs(). */
  readonly untilMs: number;
}

/** What a child leaves to the next one. */
export interface Left {
  readonly held?: Held | undefined;
  readonly refusal?: LoginRefusal | undefined;
}

/** What goes into an HTTP header as it is. */
export const TOKEN = /^[\x21-\x7e]{1,8192}$/;

/** CLOCK_MONOTONIC in milliseconds: one clock for all processes, unlike performance.now(). */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** From the JSON of a handover; what is not in form was not left. */
export function parseLeft(note: unknown): Left {
  const { held, refusal } = fieldsOf(note);
  return { held: parseHeld(fieldsOf(held)), refusal: parseRefusal(fieldsOf(refusal)) };
}

/** JSON has no Infinity: null. */
function parseHeld({ token, expiresAtMs, firstTtlMs }: Record<string, unknown>): Held | undefined {
  if (typeof token !== 'string' || !TOKEN.test(token) || typeof firstTtlMs !== 'number') return undefined;
  if (expiresAtMs !== null && typeof expiresAtMs !== 'number') return undefined;
  return { token, expiresAtMs: expiresAtMs ?? Number.POSITIVE_INFINITY, firstTtlMs };
}

function parseRefusal({ digest, message, untilMs }: Record<string, unknown>): LoginRefusal | undefined {
  if (typeof digest !== 'string' || typeof message !== 'string' || typeof untilMs !== 'number') return undefined;
  return { digest, message, untilMs };
}

function fieldsOf(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}
