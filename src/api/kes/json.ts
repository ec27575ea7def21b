/**
 * Request bodies as KES's clients may send them: Go's encoding/json rules, read from bytes so that key
 * material never becomes a string. What Go accepts (recordings wire/bodies): the first value decides and what
 * follows it is ignored; field names match without case, U+017F and U+212A included; unknown fields are skipped; `null`
 * leaves a field empty; bytes are base64 or an array of numbers; invalid UTF-8 in strings is tolerated.
 */
import { decodeBase64 } from '../../crypto/index.ts';
import { goJson } from '../../go-json.ts';

/** Go: json.Decoder gives up at this depth. */
const maxDepth = 10_000;

/** What a field must hold: bytes, bytes that are a secret (in memory of their own), or text. */
export type FieldKind = 'bytes' | 'secret' | 'text';
export type Fields = Record<string, FieldKind>;
export type Parsed<F extends Fields> = { [K in keyof F]?: F[K] extends 'text' ? string : Buffer };

class Malformed extends Error {}
const malformed = new Malformed('malformed JSON');

const quote = 0x22;
const backslash = 0x5c;

class Scanner {
  readonly source: Buffer;
  at = 0;
  #depth = 0;

  constructor(source: Buffer) {
    this.source = source;
  }

  space(): void {
    for (;;) {
      const byte = this.source[this.at];
      if (byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09) this.at++;
      else return;
    }
  }

  peek(): number {
    return this.source[this.at] ?? -1;
  }

  expect(byte: number): void {
    if (this.source[this.at] !== byte) throw malformed;
    this.at++;
  }

  enter(): void {
    if (++this.#depth > maxDepth) throw malformed;
  }

  leave(): void {
    this.#depth--;
  }

  word(text: string): void {
    for (let i = 0; i < text.length; i++) this.expect(text.charCodeAt(i));
  }

  /** Skips a string and returns where its content lies; `escaped` when it holds a backslash. */
  string(): { start: number; end: number; escaped: boolean } {
    this.expect(quote);
    const start = this.at;
    let escaped = false;
    for (;;) {
      const byte = this.source[this.at];
      if (byte === undefined || byte < 0x20) throw malformed;
      if (byte === quote) break;
      if (byte === backslash) {
        escaped = true;
        this.#escape();
      } else this.at++;
    }
    return { start, end: this.at++, escaped };
  }

  #escape(): void {
    const kind = this.source[this.at + 1] ?? -1;
    if (kind === 0x75 /* u */) {
      for (let i = 2; i < 6; i++) {
        const digit = (this.source[this.at + i] ?? 0) | 0x20;
        if (!((digit >= 0x30 && digit <= 0x39) || (digit >= 0x61 && digit <= 0x66))) throw malformed;
      }
      this.at += 6;
    } else if ('"\\/bfnrt'.includes(String.fromCharCode(kind))) this.at += 2;
    else throw malformed;
  }

  /** RFC 8259 §6; returns the number's text. */
  number(): string {
    const start = this.at;
    if (this.peek() === 0x2d) this.at++;
    if (this.peek() === 0x30) this.at++;
    else this.#digits();
    if (this.peek() === 0x2e) {
      this.at++;
      this.#digits();
    }
    if ((this.peek() | 0x20) === 0x65) {
      this.at++;
      if (this.peek() === 0x2b || this.peek() === 0x2d) this.at++;
      this.#digits();
    }
    return this.source.toString('latin1', start, this.at);
  }

  #digits(): void {
    const start = this.at;
    while (this.peek() >= 0x30 && this.peek() <= 0x39) this.at++;
    if (this.at === start) throw malformed;
  }

  /** Skips any value. Iterative: nesting of 10,000 must not exhaust the stack. */
  skip(): void {
    const closers: number[] = [];
    for (;;) {
      this.space();
      const byte = this.peek();
      let closed = false;
      if (byte === 0x7b || byte === 0x5b) {
        this.enter();
        this.at++;
        this.space();
        const closer = byte + 2;
        if (this.peek() === closer) {
          this.at++;
          this.leave();
          closed = true;
        } else {
          closers.push(closer);
          if (closer === 0x7d) this.#name();
          continue;
        }
      }
      if (!closed) this.#scalar(byte);
      for (;;) {
        const closer = closers.at(-1);
        if (closer === undefined) return;
        this.space();
        if (this.peek() === 0x2c) {
          this.at++;
          if (closer === 0x7d) this.#name();
          break;
        }
        this.expect(closer);
        closers.pop();
        this.leave();
      }
    }
  }

  #name(): void {
    this.space();
    this.string();
    this.space();
    this.expect(0x3a);
  }

  #scalar(byte: number): void {
    if (byte === quote) this.string();
    else if (byte === 0x74) this.word('true');
    else if (byte === 0x66) this.word('false');
    else if (byte === 0x6e) this.word('null');
    else this.number();
  }
}

/** Go folds names for comparison: ASCII case, and the two letters outside ASCII that fold into it. */
function foldName(name: string): string {
  return name.replaceAll('\u017f', 's').replaceAll('\u212a', 'k').toLowerCase();
}

/** The string's text as Go reads it: lone surrogates and invalid UTF-8 become U+FFFD. */
function text(scanner: Scanner, token: { start: number; end: number; escaped: boolean }): string {
  const raw = scanner.source.toString('utf8', token.start, token.end);
  return token.escaped ? (JSON.parse(`"${raw}"`) as string).toWellFormed() : raw;
}

function bytesOfString(
  scanner: Scanner,
  token: { start: number; end: number; escaped: boolean },
  kind: 'bytes' | 'secret',
): Buffer | undefined {
  if (!token.escaped)
    return decodeBase64(scanner.source, token.start, token.end, kind === 'secret' ? 'own' : 'pooled');
  // An escape inside base64 can only be one of its letters, `\/`, or a line break that decoding ignores.
  const plain = Buffer.from(text(scanner, token), 'utf8');
  const decoded = decodeBase64(plain, 0, plain.length);
  plain.fill(0);
  return decoded;
}

/** `[104,105]`: Go reads a byte slice from numbers 0 to 255 too. Returns undefined for a wrong element. */
function bytesOfArray(scanner: Scanner): Buffer | undefined {
  scanner.expect(0x5b);
  scanner.enter();
  const values: number[] = [];
  let fits = true;
  scanner.space();
  if (scanner.peek() === 0x5d) scanner.at++;
  else {
    for (;;) {
      scanner.space();
      const start = scanner.peek();
      if (start === 0x2d || (start >= 0x30 && start <= 0x39)) {
        const number = scanner.number();
        const value = Number(number);
        if (/^\d+$/.test(number) && value <= 255) values.push(value);
        else fits = false;
      } else if (start === 0x6e) {
        scanner.word('null');
        values.push(0);
      } else {
        scanner.skip();
        fits = false;
      }
      scanner.space();
      if (scanner.peek() === 0x2c) scanner.at++;
      else {
        scanner.expect(0x5d);
        break;
      }
    }
  }
  scanner.leave();
  if (!fits) return undefined;
  const bytes = Buffer.allocUnsafeSlow(values.length);
  bytes.set(values);
  values.fill(0);
  return bytes;
}

function readObject<F extends Fields>(scanner: Scanner, fields: F): Parsed<F> | undefined {
  const result: Record<string, Buffer | string | undefined> = {};
  let fits = true;
  scanner.expect(0x7b);
  scanner.enter();
  scanner.space();
  if (scanner.peek() === 0x7d) {
    scanner.at++;
    scanner.leave();
    return result as Parsed<F>;
  }
  for (;;) {
    scanner.space();
    const token = scanner.string();
    const exact = text(scanner, token);
    const name = fields[exact] === undefined ? foldName(exact) : exact;
    const kind = Object.hasOwn(fields, name) ? fields[name] : undefined;
    scanner.space();
    scanner.expect(0x3a);
    scanner.space();
    if (kind === undefined) scanner.skip();
    else if (scanner.peek() === 0x6e) {
      scanner.word('null');
      if (kind !== 'text') result[name] = undefined;
    } else if (scanner.peek() === quote) {
      const value = scanner.string();
      const read = kind === 'text' ? text(scanner, value) : bytesOfString(scanner, value, kind);
      if (read === undefined) fits = false;
      result[name] = read;
    } else if (kind !== 'text' && scanner.peek() === 0x5b) {
      const read = bytesOfArray(scanner);
      if (read === undefined) fits = false;
      result[name] = read;
    } else {
      scanner.skip();
      fits = false;
    }
    scanner.space();
    if (scanner.peek() === 0x2c) scanner.at++;
    else {
      scanner.expect(0x7d);
      scanner.leave();
      break;
    }
  }
  return fits ? (result as Parsed<F>) : undefined;
}

/** Reads one object (or `null`) from the start of `body`. Undefined: KES's "invalid request body". */
export function parseObject<F extends Fields>(body: Buffer, fields: F): Parsed<F> | undefined {
  const scanner = new Scanner(body);
  try {
    scanner.space();
    if (scanner.peek() === 0x6e) {
      scanner.word('null');
      return {};
    }
    if (scanner.peek() !== 0x7b) return undefined;
    return readObject(scanner, fields);
  } catch (error) {
    if (error === malformed) return undefined;
    throw error;
  }
}

/** Reads an array of such objects, at most `most` of them (KES's bulk routes). */
export function parseObjects<F extends Fields>(
  body: Buffer,
  fields: F,
  most: number,
): Parsed<F>[] | 'too many' | undefined {
  const scanner = new Scanner(body);
  try {
    scanner.space();
    if (scanner.peek() === 0x6e) {
      scanner.word('null');
      return [];
    }
    if (scanner.peek() !== 0x5b) return undefined;
    scanner.at++;
    scanner.enter();
    const items: Parsed<F>[] = [];
    scanner.space();
    if (scanner.peek() === 0x5d) return items;
    for (;;) {
      scanner.space();
      if (scanner.peek() === 0x6e) {
        scanner.word('null');
        items.push({});
      } else {
        const item = readObject(scanner, fields);
        if (item === undefined) return undefined;
        items.push(item);
      }
      if (items.length > most) return 'too many';
      scanner.space();
      if (scanner.peek() === 0x2c) scanner.at++;
      else {
        scanner.expect(0x5d);
        return items;
      }
    }
  } catch (error) {
    if (error === malformed) return undefined;
    throw error;
  }
}

/** A JSON string as Go's encoder writes it, with U+FFFD (invalid input) escaped besides. */
export function goString(value: string): string {
  return goJson(value.toWellFormed()).replaceAll('\ufffd', '\\ufffd');
}
