import { DekdError } from '../errors.ts';
import { buildConfig } from './build.ts';
import type { Config } from './config.ts';
import { readText } from './file-text.ts';
import type { KekProblem } from './kek-problems.ts';
import { problemLines, schemaProblems } from './problem.ts';
import { meaningProblems } from './rules.ts';
import { schema } from './schema.ts';
import { type Problem, parseSource } from './source.ts';
import { configWarnings } from './warnings.ts';

export interface ParseOptions {
  /** Where names of groups are looked up. Default /etc/group. */
  readonly groupFile?: string;
  /** Unix milliseconds, for what has expired. Default now. */
  readonly nowMs?: number;
  /** What is wrong with the reference of a KEK. Default nothing. */
  readonly kekProblem?: KekProblem;
}

/**
 * Reads, checks and freezes a configuration file. Throws DekdError INVALID_REQUEST whose message has one line for each thing that
 * is wrong: `FILE:LINE:COL: path: found …, expected …`.
 */
export function loadConfig(file: string, options: ParseOptions = {}): Config {
  return parseConfig(readText(file, 'configuration'), file, options);
}

/** The same for text that was read already. First the form of every field is checked; what fields mean together, when all have it. */
export function parseConfig(text: string, file: string, options: ParseOptions = {}): Config {
  const source = parseSource(text);
  const linesOf = (problems: readonly Problem[]): string[] => problemLines(file, source, problems);
  const fail = (problems: readonly Problem[]): never => {
    throw new DekdError('INVALID_REQUEST', linesOf(problems).join('\n'));
  };
  if (source.problems.length > 0) return fail(source.problems);
  const parsed = schema.safeParse(source.value, { jitless: true });
  if (!parsed.success) return fail(schemaProblems(parsed.error.issues, source));
  const contradictions = meaningProblems(parsed.data);
  if (contradictions.length > 0) return fail(contradictions);
  const warnings = linesOf(configWarnings(parsed.data, options.nowMs ?? Date.now()));
  const { groupFile = '/etc/group', kekProblem } = options;
  const config = buildConfig(parsed.data, { file, groupFile, warnings, kekProblem });
  return isProblems(config) ? fail(config) : config;
}

function isProblems(value: Config | readonly Problem[]): value is readonly Problem[] {
  return Array.isArray(value);
}
