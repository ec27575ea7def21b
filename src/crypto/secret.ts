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
