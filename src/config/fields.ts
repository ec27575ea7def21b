/**
 * Builders for the fields of the schemas. Each field carries its description, which the reference page repeats,
 * and its default. A field with a default is not optional to the code that reads it; the published schema
 * does not require it (publish.ts).
 */
import Type from 'typebox';
import type { TProperties, TSchema } from 'typebox';
import { kindKeyword, kinds } from './kinds.ts';
import type { Kind, KindName } from './kinds.ts';

interface FieldOptions {
  readonly description: string;
  /** As it would stand in the file. */
  readonly default?: string | number | boolean;
}

/** A scalar of a kind, read as `T`. */
export function scalar<T>(kind: KindName, options: FieldOptions) {
  const { pattern }: Kind = kinds[kind];
  return Type.Unsafe<T>({
    type: 'string',
    ...(pattern === undefined ? {} : { pattern }),
    [kindKeyword]: kind,
    ...options,
  });
}

export const duration = (value: string, description: string) =>
  scalar<number>('duration', { default: value, description });
export const bytes = (value: string, description: string) =>
  scalar<number>('bytes', { default: value, description });
export const path = (description: string) => scalar<string>('path', { description });

export const text = (options: FieldOptions) => Type.String({ minLength: 1, ...options });
export const flag = (value: boolean, description: string) => Type.Boolean({ default: value, description });

export function count(value: number, bounds: { minimum: number; maximum?: number }, description: string) {
  return Type.Integer({ default: value, ...bounds, description });
}

export function choice<const T extends readonly string[]>(values: T, options: FieldOptions) {
  return Type.Unsafe<T[number]>({ type: 'string', enum: [...values], ...options });
}

/** A mapping with these fields and no others. */
export function fields<T extends TProperties>(properties: T, description?: string) {
  return Type.Object(properties, {
    additionalProperties: false,
    ...(description === undefined ? {} : { description }),
  });
}

/** A mapping that may be left out: then each of its fields has its default. */
export function section<T extends TProperties>(description: string, properties: T) {
  return Type.Object(properties, { additionalProperties: false, description, default: {} });
}

/** A sequence that may be left out: then it is empty. */
export function list<T extends TSchema>(item: T, description: string) {
  return Type.Array(item, { description, default: [] });
}

/** A mapping by name that may be left out: then it is empty. */
export function named<T extends TSchema>(value: T, description: string) {
  return Type.Record(Type.String(), value, { description, default: {} });
}
