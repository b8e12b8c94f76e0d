import {
  type Document,
  isAlias,
  isCollection,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  visit,
  type YAMLError,
} from 'yaml';

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
  /** `LINE:COL` of a problem, counted from 1. For a path that is not in the file: of the nearest map or list that is. */
  position(problem: Problem): string;
  /** The node that a path leads to, aliases followed; undefined when it is not in the file. */
  nodeAt(path: Path): Node | undefined;
}

/** Aliases that a file may use: enough to repeat a list of rules, too few for a bomb. */
const MAX_ALIASES = 100;

export function parseSource(text: string): Source {
  const lines = new LineCounter();
  let document: Document;
  try {
    // prettyErrors would quote the line at fault, which may hold what nobody should see.
    document = parseDocument(text, { lineCounter: lines, prettyErrors: false, maxAliasCount: MAX_ALIASES } as object);
  } catch {
    return broken('not a configuration: nested too deeply');
  }
  const problems = yamlProblems([...document.errors, ...document.warnings]);
  if (problems.length === 0) problems.push(...treeProblems(document));
  let value: unknown;
  if (problems.length === 0) {
    try {
      value = document.toJS({ maxAliasCount: MAX_ALIASES });
    } catch {
      problems.push({ path: [], text: `more than ${MAX_ALIASES} aliases` });
    }
  }
  return {
    value,
    problems,
    position: (problem) => {
      const { line, col } = lines.linePos(problem.offset ?? offsetOf(document, problem));
      return `${line || 1}:${col || 1}`;
    },
    nodeAt: (path) => nodeAt(document, path),
  };
}

/** Names and not values: of a value in YAML that does not parse nobody knows what it is. */
const YAML_TEXTS: Readonly<Record<string, string>> = {
  DUPLICATE_KEY: 'this field stands twice in one map',
  TAB_AS_INDENT: 'found a tab, expected spaces: YAML does not indent with tabs',
  MULTIPLE_DOCS: 'found a second YAML document, expected one',
  BAD_ALIAS: 'an alias without a name, or of an anchor that is not there',
  TAG_RESOLVE_FAILED: 'found a YAML tag, expected a plain value',
  MISSING_CHAR: 'not YAML: a quote, bracket, comma or colon is missing hereabouts',
  BAD_INDENT: 'not YAML: the indentation does not fit the lines before',
  RESOURCE_EXHAUSTION: 'not a configuration: nested too deeply',
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

function treeProblems(document: Document): Problem[] {
  const problems: Problem[] = [];
  visit(document, {
    Alias(_, alias) {
      if (alias.resolve(document) !== undefined) return;
      problems.push({ path: [], text: 'an alias of an anchor that is not there', offset: alias.range?.[0] ?? 0 });
    },
    Node(_, node) {
      if (isAlias(node) || node.tag === undefined) return;
      problems.push({ path: [], text: 'found a YAML tag, expected a plain value', offset: node.range?.[0] ?? 0 });
    },
    Pair(_, pair) {
      const name = pair.key;
      const offset = (name as Node | null)?.range?.[0] ?? 0;
      if (!isScalar(name) || typeof name.value !== 'string') {
        problems.push({ path: [], text: 'found a field whose name is not text, expected a name (in quotes)', offset });
      } else if (name.value === '__proto__') {
        problems.push({ path: [], text: '__proto__: unknown field', offset });
      }
    },
  });
  return problems;
}

function offsetOf(document: Document, problem: Problem): number {
  const named = problem.path.at(-1);
  if (problem.atName === true && named !== undefined) {
    const parent = nodeAt(document, problem.path.slice(0, -1));
    const pair = isMap(parent)
      ? parent.items.find((item) => isScalar(item.key) && item.key.value === named)
      : undefined;
    const start = (pair?.key as Node | undefined)?.range?.[0];
    if (start !== undefined) return start;
  }
  for (let length = problem.path.length; length >= 0; length--) {
    const start = nodeAt(document, problem.path.slice(0, length))?.range?.[0];
    if (start !== undefined) return start;
  }
  return 0;
}

function nodeAt(document: Document, path: Path): Node | undefined {
  let node = resolved(document, document.contents);
  for (const step of path) {
    if (!isCollection(node) || (isSeq(node) && typeof step !== 'number')) return undefined;
    node = resolved(document, node.get(step, true));
  }
  return node;
}

function resolved(document: Document, node: unknown): Node | undefined {
  const target = isAlias(node) ? node.resolve(document) : node;
  return (target ?? undefined) as Node | undefined;
}

function broken(text: string): Source {
  return { value: undefined, problems: [{ path: [], text }], position: () => '1:1', nodeAt: () => undefined };
}
