import { closeSync, openSync, readSync } from 'node:fs';
import { DekdError } from '../errors.ts';
import { buildConfig } from './build.ts';
import type { Config } from './config.ts';
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
}

/** Ten times what 100 keys need; the parser takes a second for the worst that fits. */
const MAX_FILE_BYTES = 256 * 1024;

/**
 * Reads, checks and freezes a configuration file. Throws DekdError INVALID_REQUEST whose message has one line for each thing that
 * is wrong: `FILE:LINE:COL: path: found …, expected …`.
 */
export function loadConfig(file: string, options: ParseOptions = {}): Config {
  return parseConfig(decode(readBounded(file), file), file, options);
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
  const config = buildConfig(parsed.data, { file, groupFile: options.groupFile ?? '/etc/group', warnings });
  return isProblems(config) ? fail(config) : config;
}

function isProblems(value: Config | readonly Problem[]): value is readonly Problem[] {
  return Array.isArray(value);
}

/** Not readFileSync: a configuration of /dev/zero would fill the memory. */
function readBounded(file: string): Buffer {
  const bytes = Buffer.alloc(MAX_FILE_BYTES + 1);
  let length = 0;
  try {
    const descriptor = openSync(file, 'r');
    try {
      for (let read = -1; read !== 0 && length < bytes.length; length += read) {
        read = readSync(descriptor, bytes, length, bytes.length - length, null);
      }
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    throw new DekdError('INVALID_REQUEST', `${file}: ${systemText(error)}`, { cause: error });
  }
  if (length > MAX_FILE_BYTES)
    throw new DekdError('INVALID_REQUEST', `${file}: over 256 KiB; a configuration is smaller`);
  return bytes.subarray(0, length);
}

function systemText(error: unknown): string {
  const { code } = error as NodeJS.ErrnoException;
  const texts: Readonly<Record<string, string>> = {
    ENOENT: 'no such file; name an existing configuration file',
    EACCES: 'may not be read by this user; change its mode or owner',
    EISDIR: 'a directory; name the file inside it',
  };
  return texts[code ?? ''] ?? `cannot be read (${code ?? 'unknown error'})`;
}

function decode(bytes: Buffer, file: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new DekdError('INVALID_REQUEST', `${file}:${badLine(bytes)}:1: not UTF-8 text; save the file as UTF-8`);
  }
}

/** No UTF-8 sequence crosses a line feed, so each line stands for itself. */
function badLine(bytes: Buffer): number {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let line = 1;
  for (let start = 0; start < bytes.length; line++) {
    const end = bytes.indexOf(0x0a, start);
    try {
      decoder.decode(bytes.subarray(start, end < 0 ? bytes.length : end));
    } catch {
      return line;
    }
    if (end < 0) break;
    start = end + 1;
  }
  return line;
}
