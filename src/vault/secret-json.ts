/**
 * Strings inside JSON, read and written as bytes: the value of a stored key never becomes a JavaScript string, so that it can be
 * wiped (style: keys are bytes).
 */
import { secretBytes } from '../crypto/index.ts';

const quote = 0x22;
const backslash = 0x5c;

/**
 * The string at `path` of a JSON object, unescaped, in memory of its own. Undefined when there is none there; of equal names
 * the last one counts, as in JSON.parse and Go. Assumes the text is JSON: of anything else it finds nothing or something wrong.
 */
export function secretStringAt(json: Buffer, path: readonly string[]): Buffer | undefined {
  let place: Span | undefined = { start: 0, end: json.length };
  for (const name of path) {
    place = memberOf(json, place, Buffer.from(name));
    if (place === undefined) return undefined;
  }
  return json[place.start] === quote ? unescape(json, place.start + 1, place.end - 1) : undefined;
}

interface Span {
  readonly start: number;
  /** After the last byte. */
  readonly end: number;
}

/** The value of member `name` of the object that stands at `within`. */
function memberOf(json: Buffer, within: Span, name: Buffer): Span | undefined {
  let at = skipSpace(json, within.start);
  if (json[at] !== 0x7b) return undefined;
  at = skipSpace(json, at + 1);
  let found: Span | undefined;
  while (at < within.end && json[at] === quote) {
    const nameEnd = endOfString(json, at + 1);
    const isIt = unescape(json, at + 1, nameEnd)?.equals(name) === true;
    at = skipSpace(json, nameEnd + 1);
    if (json[at] !== 0x3a) return undefined;
    const start = skipSpace(json, at + 1);
    const end = endOfValue(json, start);
    if (isIt) found = { start, end };
    at = skipSpace(json, end);
    if (json[at] !== 0x2c) break;
    at = skipSpace(json, at + 1);
  }
  return found;
}

function endOfValue(json: Buffer, start: number): number {
  if (json[start] === quote) return endOfString(json, start + 1) + 1;
  if (json[start] !== 0x7b && json[start] !== 0x5b) {
    let at = start;
    while (at < json.length && json[at] !== 0x2c && json[at] !== 0x7d && json[at] !== 0x5d) at++;
    return at;
  }
  let depth = 0;
  let at = start;
  for (; at < json.length; at++) {
    const byte = json[at];
    if (byte === quote) at = endOfString(json, at + 1);
    else if (byte === 0x7b || byte === 0x5b) depth++;
    else if ((byte === 0x7d || byte === 0x5d) && --depth === 0) return at + 1;
  }
  return at;
}

/** Index of the closing quote. */
function endOfString(json: Buffer, start: number): number {
  let at = start;
  while (at < json.length && json[at] !== quote) at += json[at] === backslash ? 2 : 1;
  return Math.min(at, json.length);
}

function skipSpace(json: Buffer, from: number): number {
  let at = from;
  while (json[at] === 0x20 || json[at] === 0x09 || json[at] === 0x0a || json[at] === 0x0d) at++;
  return at;
}

const shortEscapes: Readonly<Record<string, number>> = {
  '"': 0x22,
  '\\': 0x5c,
  '/': 0x2f,
  b: 0x08,
  f: 0x0c,
  n: 0x0a,
  r: 0x0d,
  t: 0x09,
};

/** RFC 8259 §7. Undefined when an escape is none. */
function unescape(json: Buffer, start: number, end: number): Buffer | undefined {
  const target = secretBytes(Math.max(0, end - start));
  let length = 0;
  for (let at = start; at < end; at++) {
    const byte = json[at]!;
    if (byte !== backslash) {
      target[length++] = byte;
      continue;
    }
    const letter = String.fromCharCode(json[++at]!);
    if (letter !== 'u') {
      const plain = shortEscapes[letter];
      if (plain === undefined) return undefined;
      target[length++] = plain;
      continue;
    }
    let point = hex4(json, at + 1, end);
    at += 4;
    if (point >= 0xd800 && point < 0xdc00 && json[at + 1] === backslash && json[at + 2] === 0x75) {
      const low = hex4(json, at + 3, end);
      if (low >= 0xdc00 && low < 0xe000) {
        point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
        at += 6;
      }
    }
    if (point < 0) return undefined;
    // Half a surrogate pair becomes U+FFFD, as in Go.
    if (point >= 0xd800 && point < 0xe000) point = 0xfffd;
    length += writeUtf8(target, length, point);
  }
  return target.subarray(0, length);
}

function hex4(json: Buffer, start: number, end: number): number {
  const text = start + 4 <= end ? json.toString('latin1', start, start + 4) : '';
  return /^[0-9a-fA-F]{4}$/.test(text) ? parseInt(text, 16) : -1;
}

function writeUtf8(target: Buffer, at: number, point: number): number {
  if (point < 0x80) {
    target[at] = point;
    return 1;
  }
  if (point < 0x800) {
    target[at] = 0xc0 | (point >> 6);
    target[at + 1] = 0x80 | (point & 63);
    return 2;
  }
  if (point < 0x10000) {
    target[at] = 0xe0 | (point >> 12);
    target[at + 1] = 0x80 | ((point >> 6) & 63);
    target[at + 2] = 0x80 | (point & 63);
    return 3;
  }
  target[at] = 0xf0 | (point >> 18);
  target[at + 1] = 0x80 | ((point >> 12) & 63);
  target[at + 2] = 0x80 | ((point >> 6) & 63);
  target[at + 3] = 0x80 | (point & 63);
  return 4;
}

/** The value at `path`, as a view of `json`. */
export function elementAt(json: Buffer, path: readonly string[]): Buffer | undefined {
  let place: Span | undefined = { start: 0, end: json.length };
  for (const name of path) {
    place = memberOf(json, place, Buffer.from(name));
    if (place === undefined) return undefined;
  }
  return json.subarray(place.start, place.end);
}

/** The elements of the array at `path`, as views of `json`; undefined when there is none. */
export function elementsAt(json: Buffer, path: readonly string[]): Buffer[] | undefined {
  const array = elementAt(json, path);
  if (array?.[0] !== 0x5b) return undefined;
  const elements: Buffer[] = [];
  let at = skipSpace(array, 1);
  while (at < array.length && array[at] !== 0x5d) {
    const end = endOfValue(array, at);
    elements.push(array.subarray(at, end));
    at = skipSpace(array, end);
    if (array[at] !== 0x2c) break;
    at = skipSpace(array, at + 1);
  }
  return elements;
}

/** A part of a JSON text: plain, or a secret that becomes a string in quotes. */
export type JsonPart = string | { readonly secret: Uint8Array };

/** JSON from parts. Secrets must be UTF-8; they are escaped and never become strings. The caller wipes the result. */
export function secretJson(...parts: readonly JsonPart[]): Buffer {
  const plain = parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : undefined));
  let length = 0;
  for (const [i, part] of parts.entries()) {
    length += plain[i]?.length ?? 2 + escapedLength((part as { secret: Uint8Array }).secret);
  }
  const target = secretBytes(length);
  let at = 0;
  for (const [i, part] of parts.entries()) {
    if (plain[i] !== undefined) at += plain[i].copy(target, at);
    else at = writeString(target, at, (part as { secret: Uint8Array }).secret);
  }
  return target;
}

/** Bytes that a text takes between its quotes. */
export function escapedLength(text: Uint8Array): number {
  let length = 0;
  for (const byte of text) length += byte < 0x20 ? 6 : byte === quote || byte === backslash ? 2 : 1;
  return length;
}

const hexDigits = Buffer.from('0123456789abcdef');

function writeString(target: Buffer, from: number, text: Uint8Array): number {
  let at = from;
  target[at++] = quote;
  for (const byte of text) {
    if (byte < 0x20) {
      at += target.write('\\u00', at, 'latin1');
      target[at++] = hexDigits[byte >> 4]!;
      target[at++] = hexDigits[byte & 15]!;
    } else {
      if (byte === quote || byte === backslash) target[at++] = backslash;
      target[at++] = byte;
    }
  }
  target[at++] = quote;
  return at;
}

/** The whole number at `path`; undefined when there is none. */
export function numberAt(json: Buffer, path: readonly string[]): number | undefined {
  let place: Span | undefined = { start: 0, end: json.length };
  for (const name of path) {
    place = memberOf(json, place, Buffer.from(name));
    if (place === undefined) return undefined;
  }
  const text = json.toString('latin1', place.start, Math.min(place.end, place.start + 20)).trim();
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}
