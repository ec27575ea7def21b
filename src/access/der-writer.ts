/** Writes the part of DER (ITU-T X.690) that the certificates we issue need (RFC 5280). Reading: der.ts. */

const sequenceTag = 0x30;

export function element(tag: number, ...contents: Uint8Array[]): Buffer {
  const length = contents.reduce((sum, content) => sum + content.length, 0);
  if (length < 0x80) return Buffer.concat([Buffer.from([tag, length]), ...contents]);
  const lengthBytes = Math.ceil((32 - Math.clz32(length)) / 8);
  const header = Buffer.alloc(2 + lengthBytes);
  header[0] = tag;
  header[1] = 0x80 | lengthBytes;
  header.writeUIntBE(length, 2, lengthBytes);
  return Buffer.concat([header, ...contents]);
}

export const sequence = (...contents: Uint8Array[]): Buffer => element(sequenceTag, ...contents);
export const setOf = (...contents: Uint8Array[]): Buffer => element(0x31, ...contents);
export const octetString = (bytes: Uint8Array): Buffer => element(0x04, bytes);
export const utf8String = (text: string): Buffer => element(0x0c, Buffer.from(text));
export const boolean = (value: boolean): Buffer => element(0x01, Buffer.from([value ? 0xff : 0x00]));
export const nothing = (): Buffer => element(0x05);

/** `[number] EXPLICIT`, or a constructed implicit tag. */
export const explicit = (number: number, ...contents: Uint8Array[]): Buffer =>
  element(0xa0 | number, ...contents);
/** `[number] IMPLICIT` of a primitive type. */
export const implicit = (number: number, bytes: Uint8Array): Buffer => element(0x80 | number, bytes);

export function bitString(bytes: Uint8Array, unusedBits = 0): Buffer {
  return element(0x03, Buffer.from([unusedBits]), bytes);
}

/** A BIT STRING of named bits: its trailing zero bits are left out. */
export function namedBits(...bits: number[]): Buffer {
  const last = Math.max(...bits);
  const bytes = Buffer.alloc((last >> 3) + 1);
  for (const bit of bits) bytes[bit >> 3]! |= 0x80 >> (bit & 7);
  return bitString(bytes, 7 - (last & 7));
}

/** A non-negative INTEGER from big-endian bytes. */
export function unsignedInteger(bytes: Uint8Array): Buffer {
  let start = 0;
  while (start < bytes.length - 1 && bytes[start] === 0) start++;
  const trimmed = bytes.subarray(start);
  const needsSign = trimmed.length === 0 || trimmed[0]! >= 0x80;
  return element(0x02, needsSign ? Buffer.from([0]) : Buffer.alloc(0), trimmed);
}

export function objectId(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const bytes: number[] = [];
  for (const arc of [first * 40 + second, ...rest]) {
    const groups = [arc & 0x7f];
    for (let left = arc >>> 7; left > 0; left >>>= 7) groups.unshift((left & 0x7f) | 0x80);
    bytes.push(...groups);
  }
  return element(0x06, Buffer.from(bytes));
}

/** UTCTime through 2049, GeneralizedTime from 2050 (RFC 5280 §4.1.2.5). */
export function time(date: Date): Buffer {
  const digits = date.toISOString().replace(/\.\d+Z$/, 'Z').replace(/[-:T]/g, ''); // prettier-ignore
  return date.getUTCFullYear() < 2050
    ? element(0x17, Buffer.from(digits.slice(2), 'latin1'))
    : element(0x18, Buffer.from(digits, 'latin1'));
}
