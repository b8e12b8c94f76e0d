import { z } from 'zod';
import { durationText, parseDuration, parseMode, parseSize, sizeText } from './units.ts';

// In every schema of this folder an issue's message is what was *expected*; where it lies and what was found there is added from
// the YAML source (problem.ts).

/** Schema of one value: `parse` gives undefined for what it is not. */
export function leaf<T>(expected: string, parse: (value: unknown) => T | undefined) {
  return z.unknown().transform((value, context): T => {
    const parsed = parse(value);
    if (parsed !== undefined) return parsed;
    context.addIssue({ code: 'custom', message: expected });
    return z.NEVER;
  });
}

/** A map that knows its fields. For unknown fields the message lists the known ones, for problem.ts to choose from. */
export function map<Shape extends z.core.$ZodLooseShape>(expected: string, shape: Shape) {
  const known = Object.keys(shape).join(' ');
  return z.strictObject(shape, {
    error: (issue) => (issue.code === 'unrecognized_keys' ? known : expected),
  });
}

export function list<Item extends z.ZodType>(expected: string, item: Item) {
  return z.array(item, { error: expected }).min(1, { error: expected });
}

/** A map from names that the operator chooses. */
export function named<Value extends z.ZodType>(expected: string, name: z.ZodString, value: Value) {
  return z
    .record(name, value, { error: expected })
    .refine((record) => Object.keys(record).length > 0, { error: expected });
}

export function choice<const T extends string>(values: readonly T[], note = '') {
  return leaf(oneOf(values) + note, (value) => values.find((known) => known === value));
}

export function flag() {
  return leaf('true or false', (value) => (typeof value === 'boolean' ? value : undefined));
}

export function text(expected: string, pattern: RegExp) {
  return leaf(expected, (value) => (typeof value === 'string' && pattern.test(value) ? value : undefined));
}

export function integer(minimum: number, maximum: number) {
  return leaf(`a whole number from ${minimum} to ${maximum}`, (value) =>
    typeof value === 'number' && Number.isInteger(value) ? inside(value, minimum, maximum) : undefined,
  );
}

export function duration(minimumMs: number, maximumMs: number) {
  const bounds = `from ${durationText(minimumMs)} to ${durationText(maximumMs)}`;
  return z.unknown().transform((value, context): number => {
    const parsed = parseDuration(value);
    if (parsed !== undefined && inside(parsed, minimumMs, maximumMs) !== undefined) return parsed;
    const expected = parsed === undefined ? 'a duration such as 30s, 5m or 24h' : `a duration ${bounds}`;
    context.addIssue({ code: 'custom', message: expected });
    return z.NEVER;
  });
}

export function size(minimumBytes: number, maximumBytes: number) {
  const bounds = `from ${sizeText(minimumBytes)} to ${sizeText(maximumBytes)}`;
  return z.unknown().transform((value, context): number => {
    const parsed = parseSize(value);
    if (parsed !== undefined && inside(parsed, minimumBytes, maximumBytes) !== undefined) return parsed;
    const expected = parsed === undefined ? 'a size such as 8MiB or 1TiB' : `a size ${bounds}`;
    context.addIssue({ code: 'custom', message: expected });
    return z.NEVER;
  });
}

/** Permission bits of a socket file. */
export function mode() {
  return z.unknown().transform((value, context): number => {
    const parsed = parseMode(value);
    if (parsed !== undefined) return parsed;
    const message =
      typeof value === 'number' ? 'an octal mode in quotes, such as "0660"' : 'an octal mode such as "0660"';
    context.addIssue({ code: 'custom', message });
    return z.NEVER;
  });
}

/** `a`, `a or b`, `a, b or c`. */
export function oneOf(values: readonly string[]): string {
  if (values.length < 2) return values.join('');
  return `${values.slice(0, -1).join(', ')} or ${values.at(-1)}`;
}

function inside(value: number, minimum: number, maximum: number): number | undefined {
  return value >= minimum && value <= maximum ? value : undefined;
}
