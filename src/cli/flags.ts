import { durationText, parseDuration } from '../config/units.ts';
import { EXIT } from './exit-codes.ts';
import { MAX_ASSOCIATED_DATA_BYTES, readInput } from './input.ts';
import { CliError } from './messages.ts';

/** Flags that every command takes. */
export interface GlobalFlags {
  readonly socket?: string;
  readonly adminSocket?: string;
  readonly timeout: string;
  readonly json?: boolean;
}

/** Flags of what changes the KEKs of a key. */
export interface KekFlags extends GlobalFlags {
  readonly kek?: string;
}

/** Flags of what a message is bound to. */
export interface BindingFlags extends AssociatedDataFlags {
  readonly context?: readonly string[];
}

interface AssociatedDataFlags {
  readonly aad?: string | undefined;
  readonly aadFile?: string | undefined;
}

/** `k=v`, repeated: an encryption context, labels, a partition. The value is everything behind the first `=`, and may be empty. */
export function parsePairs(flag: string, pairs: readonly string[] = []): Record<string, string> {
  const context = new Map<string, string>();
  for (const pair of pairs) {
    const end = pair.indexOf('=');
    if (end < 1) throw new CliError(EXIT.usage, `${flag} ${pair}: expected NAME=VALUE, such as tenant=acme`);
    const name = pair.slice(0, end);
    if (context.has(name)) throw new CliError(EXIT.usage, `${flag} ${name}: given twice`);
    checkUtf8(`${flag} ${name}`, pair);
    context.set(name, pair.slice(end + 1));
  }
  // Fields of its own for every name, `__proto__` too.
  return Object.fromEntries(context);
}

/** Refuses U+FFFD: it is what Node reads for bytes of an argument that are not UTF-8, and would make two different texts one. */
export function checkUtf8(name: string, text: string | undefined, wayOut = ''): void {
  if (text?.includes('\ufffd')) throw new CliError(EXIT.usage, `${name}: not UTF-8${wayOut}`);
}

/** The caller zeroes it. `flag` is the one that has the text; with `-file` at its end it names a file. */
export function associatedData({ aad, aadFile }: AssociatedDataFlags, flag = '--aad'): Buffer {
  if (aad !== undefined && aadFile !== undefined) {
    throw new CliError(EXIT.usage, `${flag} and ${flag}-file: give one of the two`);
  }
  checkUtf8(flag, aad, `; put the bytes into a file and name it with ${flag}-file`);
  if (aadFile === undefined) return Buffer.from(aad ?? '');
  return readInput({ what: 'associated data', maxBytes: MAX_ASSOCIATED_DATA_BYTES, file: aadFile });
}

/** What a flag with a span takes. */
export interface SpanBounds {
  readonly minimumMs: number;
  readonly maximumMs: number;
  /** Within the bounds: `2m`. */
  readonly example: string;
}

/** `500ms`, `10s`, `30d` in milliseconds. */
export function parseSpan(flag: string, text: string, { minimumMs, maximumMs, example }: SpanBounds): number {
  const parsed = parseDuration(text);
  if (parsed !== undefined && parsed >= minimumMs && parsed <= maximumMs) return parsed;
  const bounds = `from ${durationText(minimumMs)} to ${durationText(maximumMs)}`;
  throw new CliError(EXIT.usage, `${flag} ${text}: expected a duration ${bounds}, such as ${example}`);
}

/** A span in milliseconds as google.protobuf.Duration has it. */
export function requestSpan(ms: number): { seconds: number; nanos: number } {
  return { seconds: Math.floor(ms / 1000), nanos: (ms % 1000) * 1e6 };
}

/** `--timeout`: at least 1 ms, at most a day. */
export function timeoutMs(flags: GlobalFlags): number {
  const parsed = parseDuration(flags.timeout);
  if (parsed === undefined || parsed < 1 || parsed > 86_400_000) {
    throw new CliError(EXIT.usage, `--timeout ${flags.timeout}: expected a duration such as 500ms, 10s or 1m`);
  }
  return parsed;
}

/** A whole number in decimal, within bounds. */
export function parseInteger(flag: string, text: string, minimum: number, maximum: number): number {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= minimum && value <= maximum) return value;
  throw new CliError(EXIT.usage, `${flag} ${text}: expected a whole number from ${minimum} to ${maximum}`);
}
