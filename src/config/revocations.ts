import { z } from 'zod';
import { DekdError } from '../errors.ts';
import type { KeyConfig } from './config.ts';
import { readTextLater } from './file-text.ts';
import { leaf, map, named, text } from './leaves.ts';
import { KEY_NAME } from './names.ts';
import { hint } from './nearest.ts';
import { problemLines, schemaProblems } from './problem.ts';
import { type Problem, parseSource } from './source.ts';

/** An entry of a revocations file; without a partition it is the whole key. */
export interface RevocationConfig {
  readonly key: string;
  readonly partition: ReadonlyMap<string, string> | undefined;
}

/** What a revocations file says. */
export interface RevocationsConfig {
  readonly revoked: readonly RevocationConfig[];
  /** What is allowed and hardly meant, each with its place. */
  readonly warnings: readonly string[];
}

type Keys = ReadonlyMap<string, Pick<KeyConfig, 'partitionBy'>>;

/** The longest value that a dek-block holds (docs/envelope.md). */
const MAX_VALUE_BYTES = 256;

const NAME_FORM = 'the name of a context entry, 1 to 256 bytes, without the prefixes dekd: and aws:';
const VALUE_FORM = `the text of a context entry, 1 to ${MAX_VALUE_BYTES} bytes, in quotes where YAML reads a number or a date`;

const entry = map('a map with key and partition', {
  key: text('the name of a key', KEY_NAME),
  partition: named(
    'a map of one or more context entries that the key is partitioned by; without it the whole key is revoked',
    z.string().regex(/^(?!dekd:|aws:).{1,256}$/su, { error: NAME_FORM }),
    leaf(VALUE_FORM, (value) =>
      typeof value === 'string' && value !== '' && Buffer.byteLength(value) <= MAX_VALUE_BYTES ? value : undefined,
    ),
  ).optional(),
});

const schema = map('a map with revoked', {
  revoked: z.array(entry, { error: 'a list of { key, partition }, [] when nothing is revoked' }),
});

/** The text of a revocations file. Throws DekdError INVALID_REQUEST when it cannot be read. */
export function readRevocations(file: string): Promise<string> {
  return readTextLater(file, 'revocations');
}

/** What that text says. Throws DekdError INVALID_REQUEST with one line for each thing that is wrong: `FILE:LINE:COL: path: found …, expected …`. */
export function parseRevocations(fileText: string, file: string, keys: Keys): RevocationsConfig {
  const source = parseSource(fileText);
  const linesOf = (problems: readonly Problem[]): string[] => problemLines(file, source, problems);
  const fail = (problems: readonly Problem[]): never => {
    throw new DekdError('INVALID_REQUEST', linesOf(problems).join('\n'));
  };
  if (source.problems.length > 0) return fail(source.problems);
  const parsed = schema.safeParse(source.value, { jitless: true });
  if (!parsed.success) return fail(schemaProblems(parsed.error.issues, source));
  const revoked = parsed.data.revoked.map(({ key, partition }) => ({
    key,
    partition: partition === undefined ? undefined : new Map(Object.entries(partition)),
  }));
  return { revoked, warnings: linesOf(revoked.flatMap((one, index) => entryWarnings(one, index, keys))) };
}

/** A slip in a name revokes nothing, and one in an old entry must not keep the others from being revoked. */
function entryWarnings({ key, partition }: RevocationConfig, index: number, keys: Keys): Problem[] {
  const config = keys.get(key);
  if (config === undefined) {
    const text = `no key is called ${key}, so nothing is revoked; ${hint(key, [...keys.keys()], 'known')}`;
    return [{ path: ['revoked', index, 'key'], text }];
  }
  const { partitionBy } = config;
  const others = [...(partition?.keys() ?? [])].filter((name) => !partitionBy.includes(name));
  return others.map((name) => {
    const end = partitionBy.length === 0 ? 'it has no partitions' : hint(name, partitionBy, 'it is by');
    const text = `key ${key} is not partitioned by this, so only what was encrypted when it was is revoked; ${end}`;
    return { path: ['revoked', index, 'partition', name], text, atName: true };
  });
}
