/**
 * Values of a request's fields as Vault takes them: a number may be text, a truth a number, a duration either; and Vault's words for one
 * that is of another type. Its words name types of Go.
 */
import { fault, VaultFault } from './answers.ts';

export type Fields = Readonly<Record<string, unknown>>;

interface TypeOf {
  readonly string: string;
  readonly int: number;
  readonly bool: boolean;
  /** A duration. */
  readonly seconds: number;
  readonly any: unknown;
}

export type FieldType = keyof TypeOf;

/** What a route knows. */
export type FieldTypes = Readonly<Record<string, FieldType>>;

export type Values<T extends FieldTypes> = { readonly [Name in keyof T]?: TypeOf[T[Name]] };

const prefix = 'Field validation failed: ';

/**
 * The fields that a route knows. One that is null, or an empty text, is there and has the value of nothing: 0, false, ''.
 * @throws VaultFault
 */
export function readFields<T extends FieldTypes>(types: T, fields: Fields): Values<T> {
  const values: Partial<Record<string, unknown>> = {};
  for (const name in types) {
    const value = fields[name];
    if (value !== undefined && Object.hasOwn(fields, name))
      values[name] = converted(types[name]!, name, value);
  }
  return values as Values<T>;
}

/** Vault looks at the fields of some routes in another place, and says less of them. */
export function withoutPrefix(error: unknown): unknown {
  if (!(error instanceof VaultFault) || error.texts[0]?.startsWith(prefix) !== true) return error;
  return fault(error.status, error.texts[0].slice(prefix.length));
}

/** @throws VaultFault where it is there and is no text */
export function textField(fields: Fields, name: string): string | undefined {
  return fieldOf('string', fields, name);
}

/** @throws VaultFault */
export function numberField(fields: Fields, name: string): number | undefined {
  return fields[name] === '' ? undefined : fieldOf('int', fields, name);
}

/** @throws VaultFault */
export function booleanField(fields: Fields, name: string): boolean | undefined {
  return fields[name] === '' ? undefined : fieldOf('bool', fields, name);
}

/** @throws VaultFault */
export function secondsField(fields: Fields, name: string): number | undefined {
  return fields[name] === '' ? undefined : fieldOf('seconds', fields, name);
}

function fieldOf<T extends FieldType>(type: T, fields: Fields, name: string): TypeOf[T] | undefined {
  const value = fields[name];
  return value === undefined || value === null ? undefined : (converted(type, name, value) as TypeOf[T]);
}

function converted(type: FieldType, name: string, value: unknown): unknown {
  try {
    return convert(type, value);
  } catch (error) {
    if (!(error instanceof Unconvertible)) throw error;
    throw fault(400, `${prefix}error converting input for field "${name}": ${error.message}`);
  }
}

class Unconvertible extends Error {}

function convert(type: FieldType, value: unknown): unknown {
  switch (type) {
    case 'any':
      return value;
    case 'string':
      if (typeof value === 'string') return value;
      if (value === null) return '';
      if (typeof value === 'boolean') return value ? '1' : '0';
      return numberText(value) ?? unconvertible('string', value);
    case 'int':
      return intOf(value);
    case 'bool':
      return boolOf(value);
    case 'seconds':
      return secondsOf(value);
  }
}

function intOf(value: unknown): number {
  if (typeof value === 'number' && Number.isSafeInteger(value)) return value;
  if (value === null || value === '') return 0;
  if (typeof value === 'boolean') return value ? 1 : 0;
  const text = typeof value === 'string' ? value : (numberText(value) ?? unconvertible('int', value));
  if (!/^[+-]?\d+$/.test(text)) throw new Unconvertible(`cannot parse '' as int: ${parseIntFault(text)}`);
  const number = Number(text);
  if (Math.abs(number) >= 2 ** 63)
    throw new Unconvertible(
      `cannot parse '' as int: strconv.ParseInt: parsing ${quoted(text)}: value out of range`,
    );
  return number;
}

export function parseIntFault(text: string): string {
  return `strconv.ParseInt: parsing ${quoted(text)}: invalid syntax`;
}

const truths: ReadonlyMap<string, boolean> = new Map([
  ...['1', 't', 'T', 'true', 'TRUE', 'True'].map((text) => [text, true] as const),
  ...['', '0', 'f', 'F', 'false', 'FALSE', 'False'].map((text) => [text, false] as const),
]);

function boolOf(value: unknown): boolean {
  if (typeof value === 'boolean') return value;
  if (value === null) return false;
  const text = typeof value === 'string' ? value : (numberText(value) ?? unconvertible('bool', value));
  const truth = truths.get(text);
  if (truth === undefined)
    throw new Unconvertible(
      `cannot parse '' as bool: strconv.ParseBool: parsing ${quoted(text)}: invalid syntax`,
    );
  return truth;
}

const unitSeconds: Readonly<Record<string, number>> = {
  ns: 1e-9, us: 1e-6, µs: 1e-6, μs: 1e-6, ms: 1e-3, s: 1, m: 60, h: 3600,
}; // prettier-ignore

/** A number of seconds, Go's form of a duration (`1h30m`), or days (`2d`). */
function secondsOf(value: unknown): number {
  if (value === null || value === '') return 0;
  const text = typeof value === 'string' ? value : numberText(value);
  if (text === undefined) throw new Unconvertible('could not parse duration from input');
  const seconds = Math.trunc(durationOf(text));
  if (seconds < 0) throw new Unconvertible(`cannot provide negative value '${String(seconds)}'`);
  return seconds;
}

function durationOf(text: string): number {
  if (/^[+-]?\d{1,12}$/.test(text)) return Number(text);
  const days = /^(\d{1,9})d$/.exec(text);
  if (days !== null) return Number(days[1]) * 86_400;
  const [, sign = '', rest = ''] = /^([+-]?)(.*)$/s.exec(text)!;
  const invalid = (): Unconvertible => new Unconvertible(`time: invalid duration ${quoted(text)}`);
  let seconds = 0;
  for (let at = 0; at < rest.length || at === 0;) {
    const [part = '', number = '', unit = ''] = /^(\d*\.?\d*)([^\d.]*)/.exec(rest.slice(at)) ?? [];
    if (number === '' || number === '.' || number.length > 18) throw invalid();
    if (unit === '') throw new Unconvertible(`time: missing unit in duration ${quoted(text)}`);
    const factor = unitSeconds[unit];
    if (factor === undefined)
      throw new Unconvertible(`time: unknown unit ${quoted(unit)} in duration ${quoted(text)}`);
    seconds += Number(number) * factor;
    at += part.length;
  }
  return sign === '-' ? -seconds : seconds;
}

function unconvertible(wanted: string, value: unknown): never {
  throw new Unconvertible(unconvertibleText('', wanted, value));
}

/** @param at where in the request; '' for a field of its own */
export function unconvertibleText(at: string, wanted: string, value: unknown): string {
  return `'${at}' expected type '${wanted}', got unconvertible type '${goType(value)}', value: '${goText(value)}'`;
}

/** A number as it was written; undefined for anything else. */
export function numberText(value: unknown): string | undefined {
  if (typeof value === 'number') return String(value);
  return JSON.isRawJSON(value) ? value.rawJSON : undefined;
}

/** What Go's decoder makes of JSON. */
export function goType(value: unknown): string {
  if (value === null || value === undefined) return '<nil>';
  if (numberText(value) !== undefined) return 'json.Number';
  if (typeof value === 'string') return 'string';
  if (typeof value === 'boolean') return 'bool';
  return Array.isArray(value) ? '[]interface {}' : 'map[string]interface {}';
}

/** What kind of Go's types that is: a number is kept as text there. */
export function goKind(value: unknown): string {
  const type = goType(value);
  if (type === 'json.Number') return 'string';
  return type.startsWith('[]') ? 'slice' : type.startsWith('map') ? 'map' : type;
}

/** As Go's `%v` writes it. */
function goText(value: unknown): string {
  if (value === null) return '<nil>';
  if (typeof value === 'string') return value;
  if (typeof value === 'boolean') return String(value);
  const number = numberText(value);
  if (number !== undefined) return number;
  if (Array.isArray(value)) return `[${value.map(goText).join(' ')}]`;
  const entries = Object.entries(value as object).sort(([a], [b]) => (a < b ? -1 : 1));
  return `map[${entries.map(([name, entry]) => `${name}:${goText(entry)}`).join(' ')}]`;
}

function quoted(text: string): string {
  return JSON.stringify(text);
}

/** Vault tells of fields that it does not know, and of those that the path had said already. */
export function warningsOf(types: FieldTypes, inPath: readonly string[], fields: Fields): string[] {
  const warnings: string[] = [];
  let ignored: string[] | undefined;
  for (const name in fields)
    if (!Object.hasOwn(types, name) && !inPath.includes(name)) (ignored ??= []).push(name);
  if (ignored !== undefined)
    warnings.push(`Endpoint ignored these unrecognized parameters: [${ignored.sort().join(' ')}]`);
  const replaced = inPath.filter((name) => Object.hasOwn(fields, name));
  if (replaced.length > 0)
    warnings.push(
      `Endpoint replaced the value of these parameters with the values captured from the endpoint's path: [${replaced.join(' ')}]`,
    );
  return warnings;
}
