/** Cuts bytes at the given places, in any order and as often as they come. */
export function* pieces(bytes: Buffer, cuts: readonly number[]): Generator<Buffer> {
  let from = 0;
  for (const to of [...cuts].filter((cut) => cut < bytes.length).sort((a, b) => a - b)) {
    yield bytes.subarray(from, to);
    from = to;
  }
  yield bytes.subarray(from);
}

/** A cut every `step` bytes. */
export function cutsOf(length: number, step: number): number[] {
  return Array.from({ length: Math.floor(length / step) }, (_, i) => (i + 1) * step);
}
