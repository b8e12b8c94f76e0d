import {
  type Alias,
  type Document,
  isAlias,
  isCollection,
  isMap,
  isPair,
  isScalar,
  isSeq,
  type Node,
  type Pair,
  type Scalar,
  visit,
  type YAMLMap,
} from 'yaml';
import type { Path, Problem } from './source.ts';

/** Aliases that a file may use: enough to repeat a list of rules, too few for a bomb. */
export const MAX_ALIASES = 100;

/** Fields and items, those of aliases counted each time: about 1,500 keys. */
export const MAX_VALUES = 50_000;

/** Maps and lists inside one another, and their fields; the deepest field of a configuration is at 11. */
const MAX_DEPTH = 32;

export const TOO_DEEP = 'not a configuration: nested too deeply';
export const TOO_LARGE = `not a configuration: more than ${MAX_VALUES} fields and items`;

/** The nodes of a document, found without searching: there may be as many problems as fields, and each asks for its position. */
export class Tree {
  readonly #document: Document;
  readonly #targets = new Map<Alias, Node>();
  readonly #fields = new Map<Node, ReadonlyMap<unknown, Pair<Node, Node>>>();

  constructor(document: Document) {
    this.#document = document;
  }

  /** What YAML allows and a configuration does not have, up to the first that is too much. Finds what aliases stand for. */
  problems(): Problem[] {
    const problems: Problem[] = [];
    const anchors = new Map<string, Node>();
    let values = 0;
    visit(this.#document, (_, node, parents) => {
      const excess = excessOf(parents.length, this.#targets.size, ++values);
      if (excess !== undefined) {
        problems.push(problem(excess, node));
        return visit.BREAK;
      }
      if (isPair(node)) {
        problems.push(...nameProblems(node));
      } else if (isAlias(node)) {
        problems.push(...this.#aliasProblems(node, anchors.get(node.source), parents));
      } else if (isScalar(node) || isCollection(node)) {
        if (node.anchor !== undefined) anchors.set(node.anchor, node);
        problems.push(...nodeProblems(node));
      }
      return undefined;
    });
    return problems;
  }

  offsetOf({ path, atName }: Problem): number {
    const named = path.at(-1);
    if (atName === true && named !== undefined) {
      const start = this.#pair(this.nodeAt(path.slice(0, -1)), named)?.key.range?.[0];
      if (start !== undefined) return start;
    }
    for (let length = path.length; length >= 0; length--) {
      const start = this.nodeAt(path.slice(0, length))?.range?.[0];
      if (start !== undefined) return start;
    }
    return 0;
  }

  /** Aliases are followed. */
  nodeAt(path: Path): Node | undefined {
    let node = this.#resolved(this.#document.contents);
    for (const step of path) {
      if (!isCollection(node) || (isSeq(node) && typeof step !== 'number')) return undefined;
      node = this.#resolved(isSeq(node) ? node.items[step as number] : this.#pair(node, step)?.value);
    }
    return node;
  }

  #aliasProblems(alias: Alias, target: Node | undefined, parents: readonly unknown[]): Problem[] {
    if (target === undefined) return [problem('an alias of an anchor that is not there', alias)];
    if (parents.includes(target)) return [problem('an alias inside of what it stands for', alias)];
    this.#targets.set(alias, target);
    return [];
  }

  #pair(map: Node | undefined, name: string | number): Pair<Node, Node> | undefined {
    if (!isMap<Node, Node>(map)) return undefined;
    let fields = this.#fields.get(map);
    if (fields === undefined) {
      fields = new Map(map.items.map((pair) => [isScalar(pair.key) ? pair.key.value : undefined, pair]));
      this.#fields.set(map, fields);
    }
    return fields.get(name);
  }

  #resolved(node: unknown): Node | undefined {
    const target = isAlias(node) ? this.#targets.get(node) : node;
    return (target ?? undefined) as Node | undefined;
  }
}

function excessOf(depth: number, aliases: number, values: number): string | undefined {
  if (depth > MAX_DEPTH) return TOO_DEEP;
  if (aliases > MAX_ALIASES) return `more than ${MAX_ALIASES} aliases`;
  // Of a field its pair, its name and its value are visited.
  return values > 3 * MAX_VALUES ? TOO_LARGE : undefined;
}

function nodeProblems(node: Node): Problem[] {
  const tags = node.tag === undefined ? [] : [problem('found a YAML tag, expected a plain value', node)];
  return isMap(node) ? [...tags, ...repeatedNames(node)] : tags;
}

function nameProblems({ key }: Pair): Problem[] {
  if (!isScalar(key) || typeof key.value !== 'string') {
    return [problem('found a field whose name is not text, expected a name (in quotes)', key)];
  }
  return key.value === '__proto__' ? [problem('__proto__: unknown field', key)] : [];
}

function repeatedNames(map: YAMLMap): Problem[] {
  const seen = new Set<unknown>();
  const names = map.items.map(({ key }) => key).filter((key): key is Scalar => isScalar(key));
  const repeated = names.filter(({ value }) => seen.size === seen.add(value).size);
  return repeated.map((name) => problem('this field stands twice in one map', name));
}

function problem(text: string, node: unknown): Problem {
  return { path: [], text, offset: (node as Node | null)?.range?.[0] ?? 0 };
}
