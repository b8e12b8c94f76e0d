import { durationText } from '../config/units.ts';
import { instantText, type ProtoTime, seconds } from './json-document.ts';
import { printable } from './messages.ts';

/** `name  value` lines, the values in one column. Undefined values are left out; what others wrote becomes printable. */
export function table(rows: readonly (readonly [name: string, value: string | undefined])[], indent = ''): string {
  const shown = rows.filter((row): row is readonly [string, string] => row[1] !== undefined);
  const width = Math.max(0, ...shown.map(([name]) => name.length));
  return shown.map(([name, value]) => `${indent}${name.padEnd(width)}  ${printable(value)}`.trimEnd()).join('\n');
}

/** `5m`, `1h`; undefined for a field that is not set. */
export function span(time: ProtoTime | null | undefined): string | undefined {
  return time === null || time === undefined ? undefined : durationText(Math.round(seconds(time) * 1000));
}

/** An age to a second's precision, below one to a millisecond's. */
export function age(time: ProtoTime | null | undefined): string | undefined {
  if (time === null || time === undefined) return undefined;
  const ms = seconds(time) * 1000;
  return durationText(ms < 1000 ? Math.round(ms) : Math.round(ms / 1000) * 1000);
}

export function instant(time: ProtoTime | null | undefined): string | undefined {
  return time === null || time === undefined ? undefined : instantText(time);
}

/** `KEY_STATE_PENDING_DELETION` → `pending deletion`. */
export function enumText(value: string, prefix: string): string {
  return value.replace(prefix, '').toLowerCase().replaceAll('_', ' ');
}

/** `SUITE_XAES_256_GCM` → `XAES_256_GCM`, as the configuration has it. */
export function suiteText(value: string): string {
  return value.replace('SUITE_', '');
}

/** `tenant=acme, table=orders` in the order of the names. */
export function pairsText(pairs: Readonly<Record<string, string>>): string {
  return Object.keys(pairs)
    .sort()
    .map((name) => `${name}=${pairs[name]}`)
    .join(', ');
}
