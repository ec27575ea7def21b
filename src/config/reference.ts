/** The reference of every field, as Markdown tables, from the schemas: docs/configuration.md repeats it. */
import { legacyFields, unsupportedKeystores } from './kes-legacy.ts';
import { kindKeyword } from './kinds.ts';
import { meaning, schemaNode } from './reader.ts';
import type { SchemaNode } from './reader.ts';
import { kesSchema } from './schema-kes.ts';
import { selloSchema } from './schema-sello.ts';

interface Row {
  readonly field: string;
  readonly type: string;
  readonly value: string;
  readonly description: string;
}

/** The generated parts of the page, by the name of their markers. */
export function referenceSections(): Record<string, string> {
  return {
    sello: table(rows(schemaNode(selloSchema), '', false)),
    kes: table(rows(schemaNode(kesSchema), '', false)),
    legacy: [
      '| old field | in KES until | read as |',
      '| --- | --- | --- |',
      ...legacyFields.map(({ field, until, becomes }) => `| \`${field}\` | ${until} | ${becomes} |`),
    ].join('\n'),
    keystores: [
      '| `keystore` | what it is | Sello |',
      '| --- | --- | --- |',
      '| `fs` | files as KES writes them | read and written in place |',
      ...unsupportedKeystores.map(({ name, title }) => `| \`${name}\` | ${title} | refused by name |`),
    ].join('\n'),
  };
}

function rows(schema: SchemaNode, path: string, optional: boolean): Row[] {
  const own = path === '' ? [] : [row(schema, path, optional)];
  const entry = Object.values(schema.patternProperties ?? {})[0];
  if (entry !== undefined) return [...own, ...below(entry, path === '' ? 'NAME' : `${path}.NAME`)];
  if (schema.items !== undefined) return [...own, ...below(schema.items, `${path}[]`)];
  const fields = Object.entries(schema.properties ?? {}).flatMap(([name, property]) =>
    rows(property, path === '' ? name : `${path}.${name}`, !schema.required?.includes(name)),
  );
  return [...own, ...fields];
}

/** Entries of lists and named mappings: a scalar needs no row of its own. */
function below(entry: SchemaNode, path: string): Row[] {
  return entry.properties === undefined ? [] : rows(entry, path, true).slice(1);
}

function row(schema: SchemaNode, path: string, optional: boolean): Row {
  const isContainer = schema.type === 'object' || schema.type === 'array';
  const value =
    isContainer || schema.default === undefined
      ? optional || schema.default !== undefined
        ? ''
        : 'required'
      : `\`${String(schema.default)}\``;
  return { field: `\`${path}\``, type: typeName(schema), value, description: schema.description ?? '' };
}

function typeName(schema: SchemaNode): string {
  const entry = Object.values(schema.patternProperties ?? {})[0];
  if (schema.type === 'array') return `list of ${typeName(schema.items!)}`;
  if (entry !== undefined) return `mapping of ${typeName(entry)}`;
  if (schema.type === 'object') return 'section';
  if (schema[kindKeyword] !== undefined) return schema[kindKeyword];
  if (schema.enum !== undefined) return schema.enum.map((value) => `\`${value}\``).join(', ');
  if (schema.type === 'integer') return meaning(schema);
  return schema.type === 'boolean' ? '`true`, `false`' : 'text';
}

function table(all: readonly Row[]): string {
  const cell = (text: string) => text.replaceAll('|', '\\|');
  return [
    '| field | type | default | |',
    '| --- | --- | --- | --- |',
    ...all.map(
      ({ field, type, value, description }) =>
        `| ${cell(field)} | ${cell(type)} | ${cell(value)} | ${cell(description)} |`,
    ),
  ].join('\n');
}
