/**
 * Memory for secrets. A secret lives in bytes that nothing else shares, and is overwritten when it is no
 * longer needed: `Buffer.from` and `Buffer.allocUnsafe` take small buffers from a pool that other code reads.
 */

/**
 * V8 keeps typed arrays of up to this many bytes inside its own heap, where a collection moves them and leaves
 * the old copy behind.
 */
const largestOnHeapBytes = 64;

/** Uninitialised memory of its own for a secret, outside V8's heap; the caller fills it and wipes it. */
export function secretBytes(length: number): Buffer {
  return length > largestOnHeapBytes
    ? Buffer.allocUnsafeSlow(length)
    : Buffer.allocUnsafeSlow(largestOnHeapBytes + 1).subarray(0, length);
}

/** A copy of `bytes` in memory of its own. */
export function secretCopy(bytes: Uint8Array): Buffer {
  const copy = secretBytes(bytes.length);
  copy.set(bytes);
  return copy;
}

/** Overwrites every given buffer with zeros. */
export function wipe(...buffers: (Uint8Array | undefined)[]): void {
  for (const buffer of buffers) buffer?.fill(0);
}

/** 350 answers of a data key: the cost of memory outside V8's heap, and of its finalizer, is spread over them. */
const slabBytes = 65_536;
const largestSliceBytes = 1024;

let slab: Buffer = Buffer.alloc(0);
let used = 0;

/**
 * Memory for a short-lived secret on the hot path: a slice of a larger block, handed out once and never again. The holder wipes
 * it. A slice keeps its block alive, so what is kept for long belongs in {@link secretBytes}.
 */
export function secretSlice(length: number): Buffer {
  if (length > largestSliceBytes) return secretBytes(length);
  if (slab.length - used < length) {
    slab = secretBytes(slabBytes);
    used = 0;
  }
  const start = used;
  used += length;
  return slab.subarray(start, used);
}
