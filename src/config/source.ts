import { type Document, LineCounter, type Node, parseDocument, type YAMLError } from 'yaml';
import { MAX_ALIASES, MAX_VALUES, TOO_DEEP, TOO_LARGE, Tree } from './tree.ts';

export type Path = readonly (string | number)[];

/** Something wrong in the file: where, and what is to be read there. */
export interface Problem {
  readonly path: Path;
  readonly text: string;
  /** Point at the field's name instead of its value. */
  readonly atName?: boolean;
  /** Where YAML itself is broken and no path leads: offset into the text. */
  readonly offset?: number;
}

/** A configuration's YAML, with the positions of everything in it. */
export interface Source {
  /** What it says, as plain values. Only without problems. */
  readonly value: unknown;
  readonly problems: readonly Problem[];
  /** Of a problem, counted from 1. For a path that is not in the file: of the nearest map or list that is. */
  position(problem: Problem): { readonly line: number; readonly column: number };
  /** The node that a path leads to, aliases followed; undefined when it is not in the file. */
  nodeAt(path: Path): Node | undefined;
}

/** In time and memory that grow no faster than the text, whatever it is. */
export function parseSource(text: string): Source {
  const lines = new LineCounter();
  let document: Document;
  try {
    // prettyErrors would quote the line at fault, which may hold what nobody should see. uniqueKeys would compare each field with every other.
    document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: false });
  } catch {
    return broken(TOO_DEEP);
  }
  const tree = new Tree(document);
  const problems = yamlProblems([...document.errors, ...document.warnings]);
  if (problems.length === 0) problems.push(...tree.problems());
  let value: unknown;
  if (problems.length === 0) {
    try {
      // It counts what an anchor stands for as well.
      value = document.toJS({ maxAliasCount: MAX_ALIASES + 1 });
    } catch {
      problems.push({ path: [], text: `more than ${MAX_ALIASES} aliases` });
    }
  }
  if (exceeds(value, MAX_VALUES)) problems.push({ path: [], text: TOO_LARGE });
  return {
    value,
    problems,
    position: (problem) => {
      const { line, col } = lines.linePos(problem.offset ?? tree.offsetOf(problem));
      return { line: line || 1, column: col || 1 };
    },
    nodeAt: (path) => tree.nodeAt(path),
  };
}

/** Whether a value has more parts than that, without looking at more. */
function exceeds(value: unknown, most: number): boolean {
  const waiting = [value];
  for (let seen = 0; waiting.length > 0; seen++) {
    if (seen > most) return true;
    const next = waiting.pop();
    if (typeof next !== 'object' || next === null) continue;
    const parts = Object.values(next);
    if (parts.length > most) return true;
    waiting.push(...parts);
  }
  return false;
}

/** Names and not values: of a value in YAML that does not parse nobody knows what it is. */
const YAML_TEXTS: Readonly<Record<string, string>> = {
  TAB_AS_INDENT: 'found a tab, expected spaces: YAML does not indent with tabs',
  MULTIPLE_DOCS: 'found a second YAML document, expected one',
  BAD_ALIAS: 'an alias without a name, or of an anchor that is not there',
  TAG_RESOLVE_FAILED: 'found a YAML tag, expected a plain value',
  MISSING_CHAR: 'not YAML: a quote, bracket, comma or colon is missing hereabouts',
  BAD_INDENT: 'not YAML: the indentation does not fit the lines before',
  RESOURCE_EXHAUSTION: TOO_DEEP,
};

/** After the first few, faults of syntax only follow from one another. */
const MAX_YAML_PROBLEMS = 3;

function yamlProblems(errors: readonly YAMLError[]): Problem[] {
  const deep = errors.find((error) => error.code === 'RESOURCE_EXHAUSTION');
  return (deep === undefined ? errors.slice(0, MAX_YAML_PROBLEMS) : [deep]).map((error) => ({
    path: [],
    text: YAML_TEXTS[error.code] ?? 'not YAML: cannot be read from here on',
    offset: error.pos[0],
  }));
}

function broken(text: string): Source {
  return {
    value: undefined,
    problems: [{ path: [], text }],
    position: () => ({ line: 1, column: 1 }),
    nodeAt: () => undefined,
  };
}
