const MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const BYTES = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 } as const;

/** `30s`, `5m`, `24h`: one whole number and one unit, in milliseconds. Undefined for anything else; a bare number has no unit. */
export function parseDuration(value: unknown): number | undefined {
  if (typeof value !== 'string') return undefined;
  const match = /^(\d{1,15})(ms|s|m|h|d)$/.exec(value);
  return match === null ? undefined : safe(Number(match[1]) * MS[match[2] as keyof typeof MS]);
}

/** `8MiB`, `1TiB` or a whole number of bytes. Undefined for anything else; `MB` and `M` leave open which power they mean. */
export function parseSize(value: unknown): number | undefined {
  if (typeof value === 'number') return Number.isInteger(value) && value >= 0 ? safe(value) : undefined;
  if (typeof value !== 'string') return undefined;
  const match = /^(\d{1,15})(B|KiB|MiB|GiB|TiB)$/.exec(value);
  return match === null ? undefined : safe(Number(match[1]) * BYTES[match[2] as keyof typeof BYTES]);
}

/** `"0660"`: permission bits in octal, as a string. YAML reads an unquoted 0660 as six hundred and sixty. */
export function parseMode(value: unknown): number | undefined {
  if (typeof value !== 'string' || !/^0?[0-7]{3}$/.test(value)) return undefined;
  return Number.parseInt(value, 8);
}

/**
 * `2027-06-30T00:00:00Z`: a time of RFC 3339 with its zone, to the second, in Unix milliseconds. Undefined for anything else: a day alone
 * leaves open when it begins.
 */
export function parseInstant(value: unknown): number | undefined {
  if (typeof value !== 'string') return undefined;
  const match = /^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(Z|[+-]\d\d:\d\d)$/.exec(value);
  if (match === null) return undefined;
  const [, day, time] = match;
  const ms = Date.parse(value);
  // Date.parse takes 30 February for 2 March.
  const written = Date.parse(`${day}T${time}Z`);
  return Number.isNaN(ms) || new Date(written).toISOString() !== `${day}T${time}.000Z` ? undefined : ms;
}

/** `"0660"`, quotes and all. */
export function modeText(bits: number): string {
  return `"${bits.toString(8).padStart(4, '0')}"`;
}

/** The largest unit that divides it: 300000 → `5m`. */
export function durationText(ms: number): string {
  const unit = (['d', 'h', 'm', 's'] as const).find((name) => ms > 0 && ms % MS[name] === 0) ?? 'ms';
  return `${ms / MS[unit]}${unit}`;
}

/** The largest unit that divides it: 8388608 → `8MiB`. */
export function sizeText(bytes: number): string {
  const unit = (['TiB', 'GiB', 'MiB', 'KiB'] as const).find((name) => bytes > 0 && bytes % BYTES[name] === 0) ?? 'B';
  return `${bytes / BYTES[unit]}${unit}`;
}

function safe(value: number): number | undefined {
  return Number.isSafeInteger(value) ? value : undefined;
}
