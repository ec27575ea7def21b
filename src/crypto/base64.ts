/**
 * Base64 (RFC 4648 §4) from bytes to bytes, so that a key never becomes a string, which nothing can wipe.
 *
 * Decoding follows Go's `base64.StdEncoding`, which KES and its clients use: padding is required, CR and LF are
 * skipped wherever they stand, unused bits of the last symbol may be set, everything else is invalid.
 */
import { secretBytes } from './secret.ts';

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

const padding = 0x3d;
const invalid = 0xff;
const skipped = 0xfe;
const pad = 0xfd;

const symbols = Uint8Array.from(alphabet, (symbol) => symbol.charCodeAt(0));

const values = new Uint8Array(256).fill(invalid);
for (const [value, symbol] of symbols.entries()) values[symbol] = value;
values[0x0a] = skipped;
values[0x0d] = skipped;
values[padding] = pad;

/** Characters that `byteLength` bytes take, padding included. */
export function base64Length(byteLength: number): number {
  return Math.ceil(byteLength / 3) * 4;
}

/**
 * Writes the base64 form of `bytes` into `target` at `offset`.
 * @returns the offset after the last character
 */
export function encodeBase64Into(target: Buffer, offset: number, bytes: Uint8Array): number {
  const length = bytes.length;
  /* Precondition: room for all of it; typed arrays drop writes past their end silently. */
  if (target.length - offset < base64Length(length)) {
    throw new RangeError(
      `base64 target: expected ${base64Length(length)} bytes, got ${target.length - offset}`,
    );
  }
  const rest = length % 3;
  const whole = length - rest;
  let at = offset;
  for (let i = 0; i < whole; i += 3) {
    const group = (bytes[i]! << 16) | (bytes[i + 1]! << 8) | bytes[i + 2]!;
    target[at++] = symbols[group >> 18]!;
    target[at++] = symbols[(group >> 12) & 63]!;
    target[at++] = symbols[(group >> 6) & 63]!;
    target[at++] = symbols[group & 63]!;
  }
  if (rest === 1) {
    const last = bytes[whole]!;
    target[at++] = symbols[last >> 2]!;
    target[at++] = symbols[(last & 3) << 4]!;
    target[at++] = padding;
    target[at++] = padding;
  } else if (rest === 2) {
    const last = (bytes[whole]! << 8) | bytes[whole + 1]!;
    target[at++] = symbols[last >> 10]!;
    target[at++] = symbols[(last >> 4) & 63]!;
    target[at++] = symbols[(last & 15) << 2]!;
    target[at++] = padding;
  }
  return at;
}

/** The base64 form of `bytes` as bytes, in memory of its own. */
export function encodeBase64(bytes: Uint8Array): Buffer {
  const target = secretBytes(base64Length(bytes.length));
  encodeBase64Into(target, 0, bytes);
  return target;
}

/**
 * The bytes that `source` from `start` to `end` stands for; undefined when it is not valid base64.
 * `own` memory is for secrets; `pooled` is faster for short values that are not (ciphertexts, contexts).
 */
export function decodeBase64(
  source: Uint8Array,
  start = 0,
  end = source.length,
  memory: 'own' | 'pooled' = 'own',
): Buffer | undefined {
  const most = Math.floor((end - start) / 4) * 3;
  const target = memory === 'own' ? secretBytes(most) : Buffer.allocUnsafe(most);
  const length = decodeBase64Into(target, source, start, end);
  if (length < 0) {
    target.fill(0);
    return undefined;
  }
  return length === most ? target : target.subarray(0, length);
}

/**
 * Decodes into `target` (three bytes for every four of the source).
 * @returns the number of bytes written, or `-1 - position` of the fault as Go reports it ("illegal base64 data
 * at input byte N", relative to `start`)
 */
export function decodeBase64Into(target: Uint8Array, source: Uint8Array, start: number, end: number): number {
  let at = start;
  let written = 0;
  // Whole groups without line ends or padding: all that well-formed input has but its last group.
  for (; at + 4 <= end; at += 4) {
    const a = values[source[at]!]!;
    const b = values[source[at + 1]!]!;
    const c = values[source[at + 2]!]!;
    const d = values[source[at + 3]!]!;
    if ((a | b | c | d) > 63) break;
    target[written++] = (a << 2) | (b >> 4);
    target[written++] = (b << 4) | (c >> 2);
    target[written++] = (c << 6) | d;
  }
  // The rest, one character at a time.
  let group = 0;
  let count = 0;
  while (at < end) {
    const value = values[source[at++]!]!;
    if (value <= 63) {
      group = (group << 6) | value;
      if (++count === 4) {
        target[written++] = group >> 16;
        target[written++] = group >> 8;
        target[written++] = group;
        group = 0;
        count = 0;
      }
    } else if (value !== skipped) {
      if (value === invalid || count < 2) return -1 - (at - 1 - start);
      if (count === 2) {
        at = afterLineEnds(source, at, end);
        if (at === end) return -1 - (end - start);
        if (source[at] !== padding) return -1 - (at - 1 - start);
        at++;
      }
      at = afterLineEnds(source, at, end);
      if (at < end) return -1 - (at - start);
      if (count === 2) {
        target[written++] = group >> 4;
      } else {
        target[written++] = group >> 10;
        target[written++] = group >> 2;
      }
      return written;
    }
  }
  return count === 0 ? written : -1 - (end - start - count);
}

function afterLineEnds(source: Uint8Array, from: number, end: number): number {
  let at = from;
  while (at < end && values[source[at]!] === skipped) at++;
  return at;
}
