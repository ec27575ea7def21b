/**
 * Reads a tree by a schema: the value with defaults filled in, and every problem with its place. The schema is the
 * one that is published, so what an editor accepts and what the server accepts cannot drift apart.
 *
 * Reading goes on after a problem, with a neutral value in the place of what was refused, so that later checks can
 * run and a person sees everything at once. Nobody uses such a value: the problems stop the start.
 */
import type { Static, TSchema } from 'typebox';
import { kindKeyword, kinds } from './kinds.ts';
import type { Kind, KindName } from './kinds.ts';
import type { Position, ProblemList } from './problem.ts';
import { didYouMean } from './suggestion.ts';
import type { MappingTree, ScalarTree, Tree } from './tree.ts';

export interface ReadContext {
  readonly problems: ProblemList;
  /** Relative paths start here. */
  readonly folder: string;
}

/** The part of JSON Schema that our schemas use. */
export interface SchemaNode {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly patternProperties?: Readonly<Record<string, SchemaNode>>;
  readonly required?: readonly string[];
  readonly items?: SchemaNode;
  readonly enum?: readonly string[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly minItems?: number;
  readonly minProperties?: number;
  readonly maxProperties?: number;
  readonly pattern?: string;
  readonly default?: unknown;
  readonly description?: string;
  readonly [kindKeyword]?: KindName;
}

/** The schema as the code that walks it sees it. */
export function schemaNode(schema: TSchema): SchemaNode {
  return schema as unknown as SchemaNode;
}

/** The value of the whole tree; an empty file reads as an empty mapping. */
export function read<T extends TSchema>(schema: T, tree: Tree | undefined, context: ReadContext): Static<T> {
  const reader = new Reader(context);
  const start: Position = { line: 1, column: 1 };
  return reader.value(schemaNode(schema), tree ?? emptyMapping(start), []) as Static<T>;
}

class Reader {
  readonly #context: ReadContext;

  constructor(context: ReadContext) {
    this.#context = context;
  }

  value(schema: SchemaNode, tree: Tree, path: readonly string[]): unknown {
    switch (schema.type) {
      case 'object':
        return this.#mapping(schema, tree, path);
      case 'array':
        return this.#sequence(schema, tree, path);
      default:
        return this.#scalar(schema, tree, path);
    }
  }

  #mapping(schema: SchemaNode, tree: Tree, path: readonly string[]): unknown {
    if (tree.kind !== 'mapping') {
      if (tree.kind !== 'scalar' || !tree.isNull) {
        this.#refuse(tree.at, path, 'must be a mapping of names to values');
      }
      return this.#mapping(schema, emptyMapping(tree.at), path);
    }
    const entry = Object.values(schema.patternProperties ?? {})[0];
    const read = entry === undefined ? this.#fields(schema, tree, path) : this.#named(entry, tree, path);
    const { minProperties = 0, maxProperties = Infinity } = schema;
    const size = [...tree.entries.values()].filter(({ value }) => !isNull(value)).length;
    if (size < minProperties || size > maxProperties) {
      const known = Object.keys(schema.properties ?? {}).join(', ');
      this.#refuse(tree.at, path, `must have exactly one of: ${known}`);
    }
    return read;
  }

  #fields(schema: SchemaNode, tree: MappingTree, path: readonly string[]): Record<string, unknown> {
    const properties = schema.properties ?? {};
    const read: Record<string, unknown> = {};
    for (const [name, { keyAt }] of tree.entries) {
      if (Object.hasOwn(properties, name)) continue;
      const where = path.length === 0 ? '' : ` in '${path.join('.')}'`;
      const near = didYouMean(name, Object.keys(properties));
      this.#context.problems.refuse(`unknown field '${name}'${where}${near}`, keyAt);
    }
    for (const [name, property] of Object.entries(properties)) {
      const entry = tree.entries.get(name);
      if (entry !== undefined && !isNull(entry.value)) {
        read[name] = this.value(property, entry.value, [...path, name]);
      } else if (property.default !== undefined) {
        read[name] = this.#defaultOf(property, path);
      } else if (schema.required?.includes(name)) {
        this.#refuse(entry?.keyAt ?? tree.at, [...path, name], 'is missing');
        read[name] = neutral(property);
      }
    }
    return read;
  }

  #named(entry: SchemaNode, tree: MappingTree, path: readonly string[]): Record<string, unknown> {
    // Without a prototype: a policy may be called `constructor`.
    const read = Object.create(null) as Record<string, unknown>;
    for (const [name, { value }] of tree.entries) read[name] = this.value(entry, value, [...path, name]);
    return read;
  }

  #sequence(schema: SchemaNode, tree: Tree, path: readonly string[]): unknown[] {
    if (tree.kind !== 'sequence') {
      if (tree.kind !== 'scalar' || !tree.isNull) this.#refuse(tree.at, path, 'must be a list');
      return [];
    }
    const { minItems = 0 } = schema;
    if (tree.items.length < minItems) this.#refuse(tree.at, path, `must have at least ${minItems} entries`);
    return tree.items.map((item, i) => this.value(schema.items!, item, [...path, String(i)]));
  }

  #scalar(schema: SchemaNode, tree: Tree, path: readonly string[]): unknown {
    if (tree.kind !== 'scalar') {
      this.#refuse(tree.at, path, `must be ${meaning(schema)}`);
      return neutral(schema);
    }
    if (tree.isRefused) return neutral(schema);
    if (tree.isNull) {
      this.#refuse(tree.at, path, `is empty; it must be ${meaning(schema)}`);
      return neutral(schema);
    }
    const value = parseScalar(schema, tree.text, this.#context.folder);
    if (value !== undefined) return value;
    this.#refuse(tree.at, path, this.#explain(schema, tree));
    return neutral(schema);
  }

  #explain(schema: SchemaNode, tree: ScalarTree): string {
    const kind: Kind | undefined = schema[kindKeyword] && kinds[schema[kindKeyword]];
    const own = kind?.explain?.(tree.text);
    // Only what the file itself shows may be repeated: an expanded variable can be a secret.
    const mayShow = tree.text === tree.shown;
    const shown = tree.shown.length > 100 ? `${tree.shown.slice(0, 100)}…` : tree.shown;
    const near = schema.enum === undefined || !mayShow ? '' : didYouMean(tree.text, schema.enum);
    return own !== undefined && mayShow
      ? `is wrong: ${own}`
      : `is '${shown}' but must be ${meaning(schema)}${near}`;
  }

  #defaultOf(schema: SchemaNode, path: readonly string[]): unknown {
    if (schema.type === 'object') return this.#mapping(schema, emptyMapping({ line: 1, column: 1 }), path);
    if (schema.type === 'array') return [];
    return parseScalar(schema, String(schema.default), this.#context.folder);
  }

  #refuse(at: Position, path: readonly string[], what: string): void {
    this.#context.problems.refuse(path.length === 0 ? `the file ${what}` : `'${path.join('.')}' ${what}`, at);
  }
}

function isNull(tree: Tree): boolean {
  return tree.kind === 'scalar' && tree.isNull;
}

function emptyMapping(at: Position): MappingTree {
  return { kind: 'mapping', entries: new Map(), at };
}

// YAML 1.1's words too, where a boolean is asked for, as Go's reader in KES takes them.
const truths = new Set(['true', 'True', 'TRUE', 'yes', 'Yes', 'YES', 'on', 'On', 'ON', 'y', 'Y']);
const falsehoods = new Set(['false', 'False', 'FALSE', 'no', 'No', 'NO', 'off', 'Off', 'OFF', 'n', 'N']);

function parseScalar(schema: SchemaNode, text: string, folder: string): unknown {
  const kind = schema[kindKeyword];
  if (kind !== undefined) return (kinds[kind] as Kind).parse(text, folder);
  if (schema.enum !== undefined) return schema.enum.includes(text) ? text : undefined;
  if (schema.type === 'boolean') return truths.has(text) ? true : falsehoods.has(text) ? false : undefined;
  if (schema.type === 'integer') {
    const value = /^[+-]?\d{1,15}$/.test(text) ? Number(text) : NaN;
    return value >= (schema.minimum ?? -Infinity) && value <= (schema.maximum ?? Infinity)
      ? value
      : undefined;
  }
  if (text.length < (schema.minLength ?? 0)) return undefined;
  return schema.pattern === undefined || new RegExp(schema.pattern, 'u').test(text) ? text : undefined;
}

/** "must be …", for messages and the reference. */
export function meaning(schema: SchemaNode): string {
  const kind = schema[kindKeyword];
  if (kind !== undefined) return kinds[kind].means;
  if (schema.enum !== undefined) return `one of: ${schema.enum.map((value) => value || "''").join(', ')}`;
  if (schema.type === 'boolean') return 'true or false';
  if (schema.type === 'integer') {
    const { minimum, maximum } = schema;
    if (minimum !== undefined && maximum !== undefined) return `a whole number from ${minimum} to ${maximum}`;
    return minimum === undefined ? 'a whole number' : `a whole number of at least ${minimum}`;
  }
  if (schema.type === 'object') return 'a mapping of names to values';
  if (schema.type === 'array') return 'a list';
  return (schema.minLength ?? 0) > 0 ? 'a text that is not empty' : 'a text';
}

function neutral(schema: SchemaNode): unknown {
  if (schema.type === 'object') {
    if (schema.patternProperties !== undefined) return Object.create(null);
    const required = Object.entries(schema.properties ?? {}).filter(
      ([name, property]) => schema.required?.includes(name) || property.default !== undefined,
    );
    return Object.fromEntries(required.map(([name, property]) => [name, neutral(property)]));
  }
  if (schema.type === 'array') return [];
  if (schema.type === 'boolean') return false;
  if (schema.type === 'integer') return schema.minimum ?? 0;
  const kind = schema[kindKeyword];
  if (kind === 'duration' || kind === 'bytes') return 0;
  if (kind === 'address' || kind === 'optional address') return { host: '', port: 0 };
  return schema.enum?.[0] ?? '';
}
