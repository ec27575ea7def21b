/** Request ids: they join log lines, audit records and answers. Unique, not secret. */
import { randomBytes } from 'node:crypto';

/** Tells processes and their restarts apart. */
const processPart = randomBytes(8).toString('hex');

/** Two digits per byte: `toString(16)` of a number beyond 2^31 takes 2 µs. */
const digits = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

let count = 0;

/** 24 hexadecimal digits: 16 of the process, 8 of a counter. Unique for 2^32 requests of one process. */
export function newRequestId(): string {
  count = (count + 1) >>> 0;
  return (
    processPart +
    digits[count >>> 24]! +
    digits[(count >>> 16) & 0xff]! +
    digits[(count >>> 8) & 0xff]! +
    digits[count & 0xff]!
  );
}
