/** The schemas as JSON Schema documents, for editors: config/*.schema.json. */
import { kindKeyword } from './kinds.ts';
import { kesSchema } from './schema-kes.ts';
import { selloSchema } from './schema-sello.ts';
import { schemaNode } from './reader.ts';
import type { SchemaNode } from './reader.ts';

/** A variable anywhere in a scalar: what stands there in the end is checked when the file is read. */
const variable = { type: 'string', pattern: '\\$\\{[^}]+\\}' } as const;

type Json = Record<string, unknown>;

export function publishedSchemas(): { sello: Json; kes: Json } {
  return {
    sello: document(schemaNode(selloSchema), 'Sello configuration, version sello/v1'),
    kes: document(
      schemaNode(kesSchema),
      'KES configuration, version v1, as Sello reads it (older forms are read too, with warnings)',
    ),
  };
}

function document(schema: SchemaNode, title: string): Json {
  return { $schema: 'https://json-schema.org/draft/2020-12/schema', title, ...publish(schema) };
}

function publish(schema: SchemaNode): Json {
  const { [kindKeyword]: _kind, ...node } = schema;
  if (schema.type === 'object') {
    const properties = Object.entries(schema.properties ?? {});
    const required = properties.filter(
      ([name, { default: value }]) => schema.required?.includes(name) && value === undefined,
    );
    const patterns = Object.entries(schema.patternProperties ?? {});
    return {
      ...node,
      // Empty, as in `tls:` with nothing below, reads as if it were not there.
      ...(schema.default === undefined ? {} : { type: ['object', 'null'] }),
      ...(properties.length > 0
        ? { properties: Object.fromEntries(properties.map(([name, property]) => [name, publish(property)])) }
        : {}),
      ...(patterns.length > 0
        ? { patternProperties: Object.fromEntries(patterns.map(([name, entry]) => [name, publish(entry)])) }
        : {}),
      required: required.map(([name]) => name),
    };
  }
  if (schema.type === 'array') {
    return {
      ...node,
      ...(schema.default === undefined ? {} : { type: ['array', 'null'] }),
      items: publish(schema.items!),
    };
  }
  return scalar(node);
}

function scalar({ description, default: value, ...rest }: Omit<SchemaNode, typeof kindKeyword>): Json {
  const isFree = rest.type === 'string' && rest.pattern === undefined && rest.enum === undefined;
  const about = {
    ...(description === undefined ? {} : { description }),
    ...(value === undefined ? {} : { default: value }),
  };
  // `on` and `off` are words here, but YAML 1.1 editors read them as booleans; `2021` reads as a number.
  const alsoRead = yamlReadings(rest.enum ?? []);
  if (isFree) return { type: ['string', 'number', 'boolean'], ...omitType(rest), ...about };
  return { anyOf: [rest, ...alsoRead, variable], ...about };
}

function omitType({ type: _type, ...rest }: Json): Json {
  return rest;
}

function yamlReadings(values: readonly string[]): Json[] {
  const numbers = values.filter((value) => /^\d+$/.test(value)).map(Number);
  return [
    ...(values.includes('on') ? [{ type: 'boolean' }] : []),
    ...(numbers.length > 0 ? [{ enum: numbers }] : []),
  ];
}
