/**
 * Bodies of Vault's API: one JSON object, whatever its content type says, within Vault's own limits. Fields nobody knows are left alone.
 * Plaintexts are taken out as bytes before the rest becomes text.
 */
import { isUtf8 } from 'node:buffer';
import { decodeBase64Into, secretBytes } from '../../crypto/index.ts';
import { fault, type VaultFault } from './answers.ts';
import type { Fields } from './fields.ts';

const none: Fields = Object.freeze(Object.create(null) as Record<string, unknown>);

/** Vault's defaults. */
const mostDepth = 300;
const mostElements = 10_000;
const mostTextBytes = 1_048_576;

/** @throws VaultFault */
export function parseFields(body: Buffer): Fields {
  // Every writer of JSON writes UTF-8.
  if (!isUtf8(body)) throw fault(400, `${notJson}: invalid UTF-8`);
  const text = body.toString();
  if (!/\S/.test(text)) return none;
  const value = parseJson(text);
  if (value === null) return none;
  if (typeof value !== 'object' || Array.isArray(value) || JSON.isRawJSON(value))
    throw fault(
      400,
      `${notJson}: json: cannot unmarshal ${kindOf(value)} into Go value of type map[string]interface {}`,
    );
  const members = countMembers(value, 1);
  if (members !== countNames(text)) throw fault(500, `duplicate key '${repeatedName(text) ?? ''}' in object`);
  return value as Fields;
}

const notJson = 'error parsing JSON: failed to parse JSON input';

declare global {
  interface JSON {
    rawJSON(text: string): { readonly rawJSON: string };
    isRawJSON(value: unknown): value is { readonly rawJSON: string };
  }
}

/** Numbers that JavaScript may change. They follow a colon, a comma or a bracket, and no base64 has those. */
const unsafeNumber = /[:,[]\s*(?:-?\d{16}|-?\d+[.eE]|-0)/;

function parseJson(text: string): unknown {
  try {
    return unsafeNumber.test(text) ? JSON.parse(text, keepNumbers) : JSON.parse(text);
  } catch {
    // No cause: its message quotes the body.
    throw syntaxFault(text);
  }
}

/** For `JSON.parse`: a number that JavaScript would change stays as it was written. */
export function keepNumbers(
  this: unknown,
  _name: string,
  value: unknown,
  context?: { source?: string },
): unknown {
  if (typeof value !== 'number' || context?.source === undefined || String(value) === context.source)
    return value;
  return JSON.rawJSON(context.source);
}

/** What a body lacks that ends too early, Vault says; of all other mistakes it tells the place in Go's words. */
function syntaxFault(text: string): VaultFault {
  const first = text.trimStart()[0];
  if (first !== '{' && first !== '[')
    return fault(400, `${notJson}: invalid character '${first ?? ''}' looking for beginning of value`);
  let isInText = false;
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    const character = text[at]!;
    if (isInText && character === '\\') at++;
    else if (character === '"') isInText = !isInText;
    else if (!isInText) depth += '{['.includes(character) ? 1 : '}]'.includes(character) ? -1 : 0;
  }
  if (isInText) return fault(500, 'malformed JSON, unclosed string');
  return fault(500, depth > 0 ? 'malformed JSON, unclosed containers' : 'malformed JSON');
}

function kindOf(value: unknown): string {
  if (Array.isArray(value)) return 'array';
  return typeof value === 'boolean' ? 'bool' : typeof value === 'string' ? 'string' : 'number';
}

/** Members of all objects in a value, within the limits. @throws VaultFault */
function countMembers(value: unknown, depth: number): number {
  if (typeof value === 'string') {
    checkText(value);
    return 0;
  }
  if (typeof value !== 'object' || value === null || JSON.isRawJSON(value)) return 0;
  if (depth > mostDepth) throw fault(500, 'JSON input exceeds allowed nesting depth');
  let count = 0;
  if (Array.isArray(value)) {
    if (value.length > mostElements) throw fault(500, 'JSON array exceeds allowed element count');
    for (const each of value) count += countMembers(each, depth + 1);
    return count;
  }
  const names = Object.keys(value);
  if (names.length > mostElements) throw fault(500, 'JSON object exceeds allowed entry count');
  for (const name of names) {
    checkText(name);
    count += 1 + countMembers((value as Record<string, unknown>)[name], depth + 1);
  }
  return count;
}

function checkText(text: string): void {
  if (
    text.length > mostTextBytes ||
    (3 * text.length > mostTextBytes && Buffer.byteLength(text) > mostTextBytes)
  )
    throw fault(500, 'JSON string value exceeds allowed length');
}

/** Names of members in JSON that is known to be good: texts with a colon after them. */
function countNames(json: string): number {
  let count = 0;
  for (let start = json.indexOf('"'); start !== -1;) {
    let end = json.indexOf('"', start + 1);
    while (isEscaped(json, end)) end = json.indexOf('"', end + 1);
    let next = end + 1;
    while (json.charCodeAt(next) <= 0x20) next++;
    if (json.charCodeAt(next) === 0x3a) count++;
    start = json.indexOf('"', next);
  }
  return count;
}

/** The first name that is twice in one object. */
function repeatedName(json: string): string | undefined {
  const open: Set<string>[] = [];
  for (const { 0: token, 1: text, 2: colon } of json.matchAll(/"((?:[^"\\]|\\.)*)"(\s*:)?|[{}]/g)) {
    if (token === '{') open.push(new Set());
    else if (token === '}') open.pop();
    else if (colon !== undefined) {
      const name = JSON.parse(`"${text!}"`) as string;
      if (open.at(-1)?.has(name) === true) return name;
      open.at(-1)?.add(name);
    }
  }
  return undefined;
}

function isEscaped(json: string, at: number): boolean {
  let before = at - 1;
  while (json.charCodeAt(before) === 0x5c) before--;
  return (at - before) % 2 === 0;
}

const empty = Buffer.alloc(0);

/** What Go's decoder says of text that is not base64; the bytes otherwise. For what is no secret. */
export function decoded(text: string): Buffer | string {
  return text === '' ? empty : decodedInto(text, Buffer.allocUnsafe);
}

/** The same in memory of its own. */
export function decodedSecret(text: string): Buffer | string {
  return decodedInto(text, secretBytes);
}

function decodedInto(text: string, allocate: (bytes: number) => Buffer): Buffer | string {
  const source = Buffer.from(text);
  const target = allocate(Math.floor(source.length / 4) * 3);
  const length = decodeBase64Into(target, source, 0, source.length);
  source.fill(0);
  if (length >= 0) return target.subarray(0, length);
  target.fill(0);
  return notBase64(length);
}

/** @param length what the decoder gave, below zero */
function notBase64(length: number): string {
  return `illegal base64 data at input byte ${String(-1 - length)}`;
}

const marker = 0x23;
const backslash = 0x5c;

/** A request's fields, and the plaintexts in it as bytes. Its owner wipes them. */
export interface SecretFields {
  readonly fields: Fields;
  /** The bytes of a field's text, or what Go's decoder says of it. */
  bytesOf(text: string): Buffer | string;
  wipe(): void;
}

/**
 * Takes the values of `"plaintext"` out of a body before they become strings, which nothing can wipe: each gives way to `#NUMBER#…` of
 * its own length. `#` is in no base64, so a body that has one is read the plain way; and so is one with a backslash, which could write
 * it otherwise, or a quotation mark inside of a text: without one, `"plaintext"` before a colon is a name wherever it stands.
 * Overwrites `body`.
 * @throws VaultFault
 */
export function parseSecretFields(body: Buffer): SecretFields {
  const secrets: (Buffer | string)[] = [];
  const ends = (): void => {
    for (const secret of secrets) if (typeof secret !== 'string') secret.fill(0);
  };
  try {
    if (!body.includes(marker) && !body.includes(backslash)) takeSecrets(body, secrets);
    const fields = parseFields(body);
    return {
      fields,
      bytesOf: (text) => (text.charCodeAt(0) === marker ? secretAt(secrets, text) : decodedSecret(text)),
      wipe: ends,
    };
  } catch (error) {
    ends();
    throw error;
  } finally {
    body.fill(0);
  }
}

function secretAt(secrets: readonly (Buffer | string)[], text: string): Buffer | string {
  const number = Number(/^#(\d+)#/.exec(text)?.[1] ?? NaN);
  return secrets[number] ?? 'illegal base64 data at input byte 0';
}

const namePattern = Buffer.from('"plaintext"');

function takeSecrets(body: Buffer, secrets: (Buffer | string)[]): void {
  let from = 0;
  /** One piece of memory for all: each of its own would cost more than its work. */
  let room: Buffer | undefined;
  for (;;) {
    const name = body.indexOf(namePattern, from);
    if (name === -1) return;
    let at = skipSpace(body, name + namePattern.length);
    from = at;
    if (body[at] !== 0x3a) continue;
    at = skipSpace(body, at + 1);
    if (body[at] !== 0x22) continue;
    const start = at + 1;
    const end = body.indexOf(0x22, start);
    from = end;
    const label = `#${String(secrets.length)}#`;
    if (end === -1) return;
    // What is shorter than its label is no key.
    if (end - start < Math.max(4, label.length)) continue;
    room ??= secretBytes(Math.ceil((body.length - start) / 4) * 3);
    const target = room.subarray(0, Math.floor((end - start) / 4) * 3);
    room = room.subarray(target.length);
    const length = decodeBase64Into(target, body, start, end);
    secrets.push(length >= 0 ? target.subarray(0, length) : notBase64(length));
    if (length < 0) target.fill(0);
    body.fill(marker, start, end);
    body.write(label, start, 'latin1');
  }
}

function skipSpace(body: Buffer, from: number): number {
  let at = from;
  while (body[at] === 0x20 || body[at] === 0x0a || body[at] === 0x0d || body[at] === 0x09) at++;
  return at;
}
