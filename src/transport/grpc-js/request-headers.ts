import type { IncomingHttpHeaders } from 'node:http2';

/** Of one request: what most gRPC servers take. node:http2 resets streams that have more, once the client has heard of it (SETTINGS). */
export const MAX_HEADER_LIST_BYTES = 8 * 1024;
/** The same in fields. */
export const MAX_HEADER_LIST_PAIRS = 64;

/** What RFC 9113 adds for each field to the size of a header list (section 6.5.2). */
const FIELD_BYTES = 32;

/** The size of a header list as RFC 9113 counts it. */
export function headerListBytes(headers: IncomingHttpHeaders): number {
  let bytes = 0;
  for (const name in headers) {
    const value = headers[name];
    if (typeof value === 'string') bytes += name.length + value.length + FIELD_BYTES;
    else for (const each of value ?? []) bytes += name.length + each.length + FIELD_BYTES;
  }
  return bytes;
}

const TIMEOUT_HEADER = 'grpc-timeout';
/** gRPC over HTTP/2, "Timeout": at most eight digits and a unit. */
const TIMEOUT = /^(\d{1,8})([HMSmun])$/;
const UNIT_MS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 };
/** More than a timer takes (2^31 - 1 ms): some 24 days. */
const LONGEST_TIMEOUT = '2147483S';
const MAX_TIMEOUT_MS = 2_147_483_000;

/**
 * Makes a time-out such that grpc-js 1.14 reads it rightly: it would take what is longer than a timer for no time at all, and of what is no
 * time-out what looks like one. Now it refuses the latter.
 */
export function repairTimeout(headers: IncomingHttpHeaders): void {
  const given = headers[TIMEOUT_HEADER];
  if (given === undefined) return;
  const [, digits, unit = ''] = TIMEOUT.exec(String(given)) ?? [];
  if (digits === undefined) headers[TIMEOUT_HEADER] = 'malformed';
  else if (Number(digits) * UNIT_MS[unit]! > MAX_TIMEOUT_MS) headers[TIMEOUT_HEADER] = LONGEST_TIMEOUT;
}
