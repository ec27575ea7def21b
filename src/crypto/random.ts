/**
 * Random bytes for the hot path, from the operating system's generator through OpenSSL's DRBG.
 *
 * A call into the generator costs 1.4 µs however few bytes it returns, so bytes are drawn in slabs and handed
 * out as slices. Each byte is handed out once; a slab is never refilled, so a slice stays its holder's alone.
 * Slices that are secret (data keys) are wiped by their holder after use. A slab lies outside V8's heap: the
 * garbage collector never copies it.
 *
 * A slice keeps its whole slab alive. Copy what is kept for long.
 */
import { randomFillSync } from 'node:crypto';
import { secretBytes } from './secret.ts';

/** 136 data keys per slab: the generator's fixed cost is spread to 20 ns each. */
const slabBytes = 8192;

/** Requests larger than this get memory of their own: they would only waste the rest of a slab. */
const largestSliceBytes = 256;

let slab: Buffer = Buffer.alloc(0);
let used = 0;

/** `length` fresh random bytes. The caller owns them and wipes them when they are secret. */
export function takeRandom(length: number): Buffer {
  if (!Number.isSafeInteger(length) || length < 0) throw new RangeError(`random length: got ${length}`);
  if (length > largestSliceBytes) return randomFillSync(secretBytes(length));
  if (slab.length - used < length) {
    slab.fill(0, used); // the tail is never handed out
    slab = randomFillSync(secretBytes(slabBytes));
    used = 0;
  }
  const start = used;
  used += length;
  return slab.subarray(start, used);
}
