/**
 * Erasure coding a second time, by another way: the data shards' bytes are a polynomial's values at 0, 1, …; parity shards are its values at the
 * points that follow, by Lagrange's formula. Products are made bit by bit.
 */
function product(a: number, b: number): number {
  let sum = 0;
  for (let bit = 0; bit < 8; bit++) {
    if ((b >> bit) & 1) sum ^= a;
    a = a & 0x80 ? (a << 1) ^ 0x11d : a << 1;
  }
  return sum;
}

function reciprocal(value: number): number {
  for (let i = 1; i < 256; i++) if (product(value, i) === 1) return i;
  throw new RangeError('zero');
}

/** All shards of one block, data first; the last data shards are filled up with zeros. */
export function shardsOf(block: Buffer, data: number, parity: number): Buffer[] {
  const length = Math.ceil(block.length / data);
  const padded = Buffer.alloc(length * data);
  block.copy(padded);
  const shards = Array.from({ length: data }, (_, i) => padded.subarray(i * length, (i + 1) * length));
  for (let at = data; at < data + parity; at++) {
    const weights = shards.slice(0, data).map((_, i) => {
      let weight = 1;
      for (let j = 0; j < data; j++)
        if (j !== i) weight = product(weight, product(at ^ j, reciprocal(i ^ j)));
      return weight;
    });
    const shard = Buffer.alloc(length);
    for (const [i, weight] of weights.entries())
      for (let byte = 0; byte < length; byte++) shard[byte]! ^= product(shards[i]![byte]!, weight);
    shards.push(shard);
  }
  return shards;
}
