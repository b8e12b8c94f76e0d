import { z } from 'zod';
import { durationText, modeText, parseDuration, parseInstant, parseMode, parseSize, sizeText } from './units.ts';

// In every schema of this folder an issue's message is what was *expected*; where it lies and what was found there is added from
// the YAML source (problem.ts).

// docs/configuration.md is made from the same schemas (tools/configuration-reference.ts): `form` says what a field takes, `print` writes its
// default as a file would, `describe` says what it means; `without` is what a field left out stands for where that is no fixed value.

/** How a parsed value is written in a file. */
type Print<T> = (value: T) => string;

/** Schema of one value: `parse` gives undefined for what it is not. */
export function leaf<T>(expected: string, parse: (value: unknown) => T | undefined, print: Print<T> = String) {
  return leafOf(expected, parse, () => expected, print);
}

/** The same where what is wrong decides what the message says was expected. */
function leafOf<T>(
  form: string,
  parse: (value: unknown) => T | undefined,
  expected: (value: unknown) => string,
  print: Print<T>,
) {
  const schema = z.unknown().transform((value, context): T => {
    const parsed = parse(value);
    if (parsed !== undefined) return parsed;
    context.addIssue({ code: 'custom', message: expected(value) });
    return z.NEVER;
  });
  return schema.meta({ form, print });
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

/** A map of which exactly one field is given. Of more the issue has the names, for problem.ts. */
export function exactlyOne<Sources extends z.ZodType<object>>(sources: Sources, expected: string): Sources {
  return sources.superRefine((value, context) => {
    const names = Object.entries(value).flatMap(([name, source]) => (source === undefined ? [] : [name]));
    if (names.length === 1) return;
    context.addIssue({ code: 'custom', message: expected, params: { [TOO_MANY]: names } });
  });
}

/** Of an issue: the names of the fields of which one was to be given. */
export const TOO_MANY = 'tooMany';

export function choice<const T extends string>(values: readonly T[], note = '') {
  const form = oneOf(values.map((value) => `\`${value}\``));
  return leaf(oneOf(values) + note, (value) => values.find((known) => known === value)).meta({ form });
}

export function flag() {
  return leaf('true or false', (value) => (typeof value === 'boolean' ? value : undefined));
}

export function text(expected: string, pattern: RegExp) {
  return leaf(expected, (value) => (typeof value === 'string' && pattern.test(value) ? value : undefined));
}

export function integer(minimum: number, maximum: number) {
  return leaf(`a whole number from ${minimum} to ${maximum}`, (value) =>
    typeof value === 'number' && Number.isInteger(value) ? within(value, minimum, maximum) : undefined,
  );
}

export function duration(minimumMs: number, maximumMs: number) {
  const form = `a duration from ${durationText(minimumMs)} to ${durationText(maximumMs)}`;
  const parse = (value: unknown) => within(parseDuration(value), minimumMs, maximumMs);
  const example = 'a duration such as 30s, 5m or 24h';
  return leafOf(form, parse, (value) => (parseDuration(value) === undefined ? example : form), durationText);
}

export function size(minimumBytes: number, maximumBytes: number) {
  const form = `a size from ${sizeText(minimumBytes)} to ${sizeText(maximumBytes)}`;
  const parse = (value: unknown) => within(parseSize(value), minimumBytes, maximumBytes);
  const example = 'a size such as 8MiB or 1TiB';
  return leafOf(form, parse, (value) => (parseSize(value) === undefined ? example : form), sizeText);
}

/** Permission bits of a socket file. */
export function mode() {
  const quoted = 'an octal mode in quotes, such as "0660"';
  const example = 'an octal mode such as "0660"';
  return leafOf(quoted, parseMode, (value) => (typeof value === 'number' ? quoted : example), modeText);
}

/** A point in time, in Unix milliseconds. */
export function instant() {
  return leaf('a time such as 2027-06-30T00:00:00Z', parseInstant, (ms) => new Date(ms).toISOString());
}

/** `a`, `a or b`, `a, b or c`. */
export function oneOf(values: readonly string[]): string {
  if (values.length < 2) return values.join('');
  return `${values.slice(0, -1).join(', ')} or ${values.at(-1)}`;
}

function within(value: number | undefined, minimum: number, maximum: number): number | undefined {
  return value !== undefined && value >= minimum && value <= maximum ? value : undefined;
}
