import { isMap, isScalar, isSeq, type Node } from 'yaml';
import type { z } from 'zod';
import { TOO_MANY } from './leaves.ts';
import { hint } from './nearest.ts';
import type { Path, Problem, Source } from './source.ts';
import { isLaterUpstream } from './upstream-schema.ts';

/** As many as somebody reads, and few enough for a log. */
const MAX_LINES = 100;

/**
 * What a schema found wrong, as problems of the source: the issue's message is what was expected (leaves.ts). Of a map that is wrong as a
 * whole because something inside it is, only the inside is said.
 */
export function schemaProblems(issues: readonly z.core.$ZodIssue[], source: Source): Problem[] {
  const problems = issues.flatMap((issue) => issueProblems(issue, source));
  const explained = new Set(
    problems.flatMap(({ path }) => path.map((_, length) => JSON.stringify(path.slice(0, length)))),
  );
  return problems.filter((problem) => !explained.has(JSON.stringify(problem.path)));
}

/** `keys.orders.cache.ttl`, `keys.orders.allow[0].uid`, `keys["a.b"].suite`. */
export function pathText(path: Path): string {
  let text = '';
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`;
    else if (!/^[A-Za-z0-9_-]+$/.test(step)) text += `[${shown(step)}]`;
    else text += text === '' ? step : `.${step}`;
  }
  return text;
}

/** `FILE:LINE:COL: path: text` of each, in order of the file; after the first hundred only how many more there are. */
export function problemLines(file: string, source: Source, problems: readonly Problem[]): string[] {
  const lines = problems
    .map((problem) => ({ problem, position: source.position(problem) }))
    .sort((a, b) => a.position.line - b.position.line || a.position.column - b.position.column)
    .map(({ problem: { path, text }, position: { line, column } }) => {
      const prefix = path.length === 0 ? '' : `${pathText(path)}: `;
      return `${file}:${line}:${column}: ${prefix}${text}`;
    });
  const different = [...new Set(lines)];
  const more = different.length - MAX_LINES;
  return more > 0 ? [...different.slice(0, MAX_LINES), `${file}: and ${more} more`] : different;
}

function issueProblems(issue: z.core.$ZodIssue, source: Source): Problem[] {
  const path = issue.path as Path;
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((field) => unknownField([...path, field], issue.message.split(' ')));
  }
  if (issue.code === 'invalid_key') {
    const expected = issue.issues[0]?.message ?? issue.message;
    return [{ path, text: `found ${shown(String(path.at(-1)))}, expected ${expected}`, atName: true }];
  }
  const several = severalText(issue);
  if (several !== undefined) return [{ path, text: several }];
  const later = isLaterUpstreamType(path, source) ? ' (the other types come in later versions)' : '';
  return [{ path, text: `found ${found(path, source)}, expected ${issue.message}${later}` }];
}

/** Of a map of which exactly one field is to be given, and which has more. */
function severalText(issue: z.core.$ZodIssue): string | undefined {
  const names = (issue.code === 'custom' ? issue.params?.[TOO_MANY] : undefined) as readonly string[] | undefined;
  if (names === undefined || names.length < 2) return undefined;
  const count = names.length === 2 ? 'two' : names.length;
  return `${count} are set, ${names.slice(0, -1).join(', ')} and ${names.at(-1)}; keep one`;
}

function unknownField(path: Path, known: readonly string[]): Problem {
  const field = String(path.at(-1));
  if (field === 'pid') {
    const text = 'rules on pid are refused: a pid is 0 across the containers of a pod; name a uid or gid';
    return { path, text, atName: true };
  }
  return { path, text: `unknown field; ${hint(field, known, 'known here')}`, atName: true };
}

function isLaterUpstreamType(path: Path, source: Source): boolean {
  if (path.length !== 3 || path[0] !== 'upstreams' || path[2] !== 'type') return false;
  const node = source.nodeAt(path);
  return isScalar(node) && isLaterUpstream(node.value);
}

/** Under these somebody may have put the secret itself in place of its file. */
const SECRETS = ['root_key', 'login', 'pin'];

/** What stands there, in words; secrets are never shown. */
function found(path: Path, source: Source): string {
  const node = source.nodeAt(path);
  if (node === undefined && path.length === 0) return 'an empty file';
  if (node === undefined || (isScalar(node) && node.value === null)) return 'nothing';
  if (isMap(node)) return node.items.length === 0 ? 'an empty map' : 'a map';
  if (isSeq(node)) return node.items.length === 0 ? 'an empty list' : `a list of ${node.items.length}`;
  return SECRETS.some((name) => path.includes(name)) ? 'a value that is not shown' : scalarText(node);
}

function scalarText(node: Node): string {
  if (!isScalar(node)) return 'something else';
  if (typeof node.value === 'string') return shown(withoutLogin(node.value));
  return printable(start(node.source ?? String(node.value)));
}

/** An address may hold a password before its host. */
function withoutLogin(value: string): string {
  return value.replace(/\/\/.*@/s, '//…@');
}

const MAX_SHOWN = 40;

function shown(value: string): string {
  return printable(JSON.stringify(start(value)));
}

function start(value: string): string {
  return value.length > MAX_SHOWN ? `${value.slice(0, MAX_SHOWN)}…` : value;
}

/** Terminals obey control characters, and a line must stay one line. */
function printable(value: string): string {
  return value.replace(/[^\x20-\x7e\u00a0-\u024f…]/gu, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);
}
