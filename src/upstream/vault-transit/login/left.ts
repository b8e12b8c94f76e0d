import { monotonicMs } from '../../child/monotonic.ts';

/**
 * Vault and OpenBao lock an AppRole, for all who use it, after five refused logins in 15 minutes (user lockout; https://openbao.org/docs/concepts/user-lockout/):
 * what one agent does wrong must not be that.
 */
export const REFUSED_LOGIN_MS = 240_000;

/** Longer than any token lives: what is said to live longer was not left by a child. The services' own limit is 32 days, unless it is raised. */
const LONGEST_LIFE_MS = 10 * 365 * 86_400_000;

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

/** From the JSON of a handover; what is not in form, or in no child's power to have left by `nowMs` of monotonicMs(), was not left. */
export function parseLeft(note: unknown, nowMs = monotonicMs()): Left {
  const { held, refusal } = fieldsOf(note);
  return { held: parseHeld(fieldsOf(held), nowMs), refusal: parseRefusal(fieldsOf(refusal), nowMs) };
}

/** JSON has no Infinity: null. */
function parseHeld({ token, expiresAtMs, firstTtlMs }: Record<string, unknown>, nowMs: number): Held | undefined {
  if (typeof token !== 'string' || !TOKEN.test(token) || !isWithin(firstTtlMs, LONGEST_LIFE_MS)) return undefined;
  if (expiresAtMs === null) return { token, expiresAtMs: Number.POSITIVE_INFINITY, firstTtlMs };
  return isWithin(expiresAtMs, nowMs + LONGEST_LIFE_MS) ? { token, expiresAtMs, firstTtlMs } : undefined;
}

/** Cutting a pause that is too long to what is allowed would not end it: each reading would allow as much anew. */
function parseRefusal({ digest, message, untilMs }: Record<string, unknown>, nowMs: number): LoginRefusal | undefined {
  if (typeof digest !== 'string' || typeof message !== 'string') return undefined;
  return isWithin(untilMs, nowMs + REFUSED_LOGIN_MS) ? { digest, message, untilMs } : undefined;
}

function isWithin(value: unknown, maximum: number): value is number {
  return typeof value === 'number' && value >= 0 && value <= maximum;
}

function fieldsOf(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}
