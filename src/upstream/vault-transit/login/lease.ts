import { parseJson } from '../errors.ts';
import type { HttpAnswer } from '../http.ts';
import { TOKEN } from './left.ts';

/** How long a token lives. */
export interface Lease {
  readonly ttlMs: number;
  readonly renewable: boolean;
}

/** Of a login; undefined when the answer is not in the form of Vault. It is zeroed. */
export function issuedToken(answer: HttpAnswer): { token: string; lease: Lease } | undefined {
  const auth = parseJson(answer.body)?.['auth'];
  answer.body.fill(0);
  const lease = leaseOf(auth, 'lease_duration');
  const token = (auth as { client_token?: unknown } | null | undefined)?.client_token;
  return lease !== undefined && typeof token === 'string' && TOKEN.test(token) ? { token, lease } : undefined;
}

/** Of a login or renewal (`lease_duration`), or of a lookup (`ttl`). */
export function leaseOf(value: unknown, field: 'ttl' | 'lease_duration'): Lease | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { [field]: seconds, renewable } = value as Record<string, unknown>;
  if (typeof seconds !== 'number' || !Number.isSafeInteger(seconds) || seconds < 0) return undefined;
  return { ttlMs: seconds * 1000, renewable: renewable === true };
}
