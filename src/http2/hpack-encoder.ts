/**
 * HPACK for writing (RFC 7541): literals that are never put into a table, strings as they are. Answers are short and few of their fields
 * repeat; what a table would save on the wire it would cost in looking up, and a table keeps what passed through it.
 */
import type { OutgoingHttpHeaders } from 'node:http';
import { connectionSpecific } from './field.ts';
import { staticIndexOfName, staticIndexOfStatus } from './static-table.ts';

const statusNameIndex = 8;

/** Written first on a connection: a table of no size, whatever the client allows (RFC 7541 §4.2, §6.3). */
export const noTable = 0x20;

/** What {@link encodeHead} writes at the most. */
export function headRoom(headers: OutgoingHttpHeaders | undefined): number {
  let bytes = fixedRoom;
  for (const name in headers) {
    const value = headers[name];
    if (value === undefined) continue;
    if (typeof value === 'string') bytes += name.length + value.length + fieldRoom;
    else if (typeof value === 'number') bytes += name.length + numberRoom + fieldRoom;
    else for (const each of value) bytes += name.length + each.length + fieldRoom;
  }
  return bytes;
}

/** Status, date, table update. */
const fixedRoom = 64;
/** Of the lengths and the index of one field. */
const fieldRoom = 12;
const numberRoom = 24;

/**
 * Writes the fields of an answer. Fields that HTTP/2 does not have are left out.
 * @param isFinal has a date (RFC 9110 §6.6.1); an informational answer has none
 * @returns where it ends
 */
export function encodeHead(
  into: Buffer,
  start: number,
  status: number,
  headers: OutgoingHttpHeaders | undefined,
  isFinal: boolean,
): number {
  let at = start;
  const index = staticIndexOfStatus.get(status);
  if (index !== undefined) into[at++] = 0x80 | index;
  else {
    into[at++] = statusNameIndex;
    at = writeString(into, at, String(status));
  }
  if (isFinal && headers?.['date'] === undefined) at += dateField().copy(into, at);
  for (const name in headers) {
    const value = headers[name];
    if (value === undefined || connectionSpecific.has(name)) continue;
    if (typeof value === 'string') at = writeField(into, at, name, value);
    else if (typeof value === 'number') at = writeField(into, at, name, String(value));
    else for (const each of value) at = writeField(into, at, name, each);
  }
  return at;
}

function writeField(into: Buffer, start: number, name: string, value: string): number {
  let at = start;
  const index = staticIndexOfName.get(name);
  if (index === undefined) {
    into[at++] = 0;
    at = writeString(into, at, name);
  } else at = writeInteger(into, at, index, 4);
  return writeString(into, at, value);
}

/** Of a field's value, on its way out: what would become a line break or be cut to a byte. */
const unsendable = /[^\t\x20-\x7e\x80-\xff]/;

function writeString(into: Buffer, start: number, text: string): number {
  /* Precondition: whoever answers with bytes of a request has looked at them. */
  if (unsendable.test(text)) throw new TypeError('a header field that cannot be sent');
  const at = writeInteger(into, start, text.length, 7);
  return at + into.write(text, at, 'latin1');
}

function writeInteger(into: Buffer, start: number, value: number, bits: number): number {
  const mask = (1 << bits) - 1;
  let at = start;
  if (value < mask) {
    into[at++] = value;
    return at;
  }
  into[at++] = mask;
  let rest = value - mask;
  for (; rest >= 128; rest = Math.floor(rest / 128)) into[at++] = (rest & 127) | 128;
  into[at++] = rest;
  return at;
}

let dateBytes = Buffer.alloc(0);
let dateSecond = -1;

/** Changes once a second. */
function dateField(): Buffer {
  const second = Math.floor(Date.now() / 1000);
  if (second !== dateSecond) {
    dateSecond = second;
    const bytes = Buffer.alloc(64);
    dateBytes = bytes.subarray(0, writeField(bytes, 0, 'date', new Date(second * 1000).toUTCString()));
  }
  return dateBytes;
}
