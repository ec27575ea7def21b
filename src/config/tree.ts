/**
 * A YAML file as a tree of mappings, sequences and texts, each with its place. Scalars stay text: what `on`,
 * `0600` or `2021` means is for the schema to say, not for YAML (Go's reader in KES does the same).
 */
import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument } from 'yaml';
import type { Document, Node, Pair } from 'yaml';
import { expand } from './environment.ts';
import type { Environment } from './environment.ts';
import type { Position, ProblemList } from './problem.ts';

export interface ScalarTree {
  readonly kind: 'scalar';
  readonly text: string;
  /** The text as the file has it: what messages may show, since `text` can come from the environment. */
  readonly shown: string;
  /** Empty, `~` or `null` without quotes: reads as if the field were not there. */
  readonly isNull: boolean;
  /** A problem about it is told already. */
  readonly isRefused?: boolean;
  readonly at: Position;
}

export interface MappingTree {
  readonly kind: 'mapping';
  readonly entries: Map<string, { readonly keyAt: Position; readonly value: Tree }>;
  readonly at: Position;
}

export interface SequenceTree {
  readonly kind: 'sequence';
  readonly items: readonly Tree[];
  readonly at: Position;
}

export type Tree = ScalarTree | MappingTree | SequenceTree;

/** A configuration is small; aliases must not make it large (the "billion laughs" document). */
const maxNodes = 200_000;
const maxDepth = 32;
/** Policies for a thousand tenants fit easily. */
export const maxFileBytes = 4 * 1024 * 1024;

const nullTexts = new Set(['', '~', 'null', 'Null', 'NULL']);

/** Problems of syntax and repeated keys go to `problems`; undefined when there is nothing to read. */
export function parseTree(text: string, problems: ProblemList): Tree | undefined {
  if (Buffer.byteLength(text) > maxFileBytes) {
    problems.refuse(`the file is larger than ${maxFileBytes} bytes`);
    return undefined;
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, schema: 'failsafe', prettyErrors: false });
  // After the first mistake of syntax a parser only guesses; repeated fields it tells reliably.
  const syntax = document.errors.filter(({ code }) => code !== 'DUPLICATE_KEY').slice(0, 1);
  const repeated = document.errors.filter(({ code }) => code === 'DUPLICATE_KEY');
  for (const { message, pos } of [...syntax, ...repeated, ...document.warnings]) {
    const { line, col } = lines.linePos(pos[0]);
    problems.refuse(`not valid YAML: ${message}`, { line, column: col });
  }
  if (document.errors.length > 0 || document.contents === null) return undefined;
  return new TreeBuilder(document, lines, problems).build(document.contents, 0);
}

class TreeBuilder {
  readonly #document: Document;
  readonly #lines: LineCounter;
  readonly #problems: ProblemList;
  #nodes = 0;

  constructor(document: Document, lines: LineCounter, problems: ProblemList) {
    this.#document = document;
    this.#lines = lines;
    this.#problems = problems;
  }

  build(node: Node, depth: number): Tree {
    const at = this.#position(node);
    if (++this.#nodes > maxNodes || depth > maxDepth) {
      if (this.#nodes <= maxNodes + 1) {
        this.#problems.refuse(
          `the file nests deeper than ${maxDepth} or has more than ${maxNodes} values`,
          at,
        );
      }
      this.#nodes = maxNodes + 1;
      return { kind: 'scalar', text: '', shown: '', isNull: true, at };
    }
    if (isAlias(node)) {
      const target = node.resolve(this.#document);
      if (target !== undefined) return this.build(target, depth + 1);
      this.#problems.refuse(`the alias '*${node.source}' has no anchor`, at);
      return { kind: 'scalar', text: '', shown: '', isNull: true, at };
    }
    if (isMap(node)) {
      return { kind: 'mapping', entries: this.#entries(node.items as Pair<Node, Node | null>[], depth), at };
    }
    if (isSeq(node)) {
      return { kind: 'sequence', items: node.items.map((item) => this.build(item as Node, depth + 1)), at };
    }
    return this.#scalar(isScalar(node) ? node : undefined, at);
  }

  #entries(pairs: readonly Pair<Node, Node | null>[], depth: number): MappingTree['entries'] {
    const entries: MappingTree['entries'] = new Map();
    const merged: MappingTree[] = [];
    for (const { key, value } of pairs) {
      const keyAt = this.#position(key);
      if (!isScalar(key)) {
        this.#problems.refuse('a field name must be a plain text', keyAt);
        continue;
      }
      const name = typeof key.value === 'string' ? key.value : String(key.source ?? '');
      const tree: Tree =
        value === null
          ? { kind: 'scalar', text: '', shown: '', isNull: true, at: keyAt }
          : this.build(value, depth + 1);
      if (name === '<<') merged.push(...mergeSources(tree));
      else entries.set(name, { keyAt, value: tree });
    }
    // YAML merge keys, which KES files may use: what stands in the mapping itself wins.
    for (const source of merged) {
      for (const [name, entry] of source.entries) if (!entries.has(name)) entries.set(name, entry);
    }
    return entries;
  }

  #scalar(node: { value: unknown; source?: string; type?: string } | undefined, at: Position): ScalarTree {
    const source = typeof node?.value === 'string' ? node.value : (node?.source ?? '');
    const isNull = (node?.type === undefined || node.type === 'PLAIN') && nullTexts.has(source);
    return { kind: 'scalar', text: source, shown: source, isNull, at };
  }

  #position(node: Node): Position {
    const { line, col } = this.#lines.linePos(node.range?.[0] ?? 0);
    return { line, column: col };
  }
}

function mergeSources(tree: Tree): MappingTree[] {
  if (tree.kind === 'mapping') return [tree];
  return tree.kind === 'sequence' ? tree.items.flatMap(mergeSources) : [];
}

/**
 * Replaces variables in every scalar but those below a path that `leave` names.
 * An unset one is a problem in KES's words, with its line.
 */
export function expandTree(
  tree: Tree,
  env: Environment,
  problems: ProblemList,
  leave: (path: readonly string[]) => boolean = () => false,
  path: readonly string[] = [],
): Tree {
  if (leave(path)) return tree;
  if (tree.kind === 'mapping') {
    const entries: MappingTree['entries'] = new Map();
    for (const [name, { keyAt, value }] of tree.entries) {
      entries.set(name, { keyAt, value: expandTree(value, env, problems, leave, [...path, name]) });
    }
    return { ...tree, entries };
  }
  if (tree.kind === 'sequence') {
    const items = tree.items.map((item, i) => expandTree(item, env, problems, leave, [...path, String(i)]));
    return { ...tree, items };
  }
  const { text, unset } = expand(tree.text, env);
  for (const name of unset) {
    const why = `referenced env. variable '${name}' in line '${tree.at.line}' not found`;
    problems.refuse(why, tree.at);
  }
  return { ...tree, text, isRefused: unset.length > 0 };
}

/** The place of a path in the tree, or of the nearest thing above it that exists. */
export function locate(tree: Tree | undefined, path: readonly (string | number)[]): Position | undefined {
  let at = tree?.at;
  let here = tree;
  for (const step of path) {
    if (here?.kind === 'mapping') {
      const entry = here.entries.get(String(step));
      if (entry === undefined) return at;
      // An entry is shown where its name stands when its value is a block of its own.
      at = entry.value.kind === 'scalar' ? entry.value.at : entry.keyAt;
      here = entry.value;
    } else if (here?.kind === 'sequence') {
      const item = here.items[Number(step)];
      if (item === undefined) return at;
      at = item.at;
      here = item;
    } else return at;
  }
  return at;
}
