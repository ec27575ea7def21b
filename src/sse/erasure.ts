/**
 * Reed-Solomon over GF(2^8), as MinIO spreads blocks over drives: of `data + parity` shards any `data` give the block back. The field's polynomial is
 * x^8 + x^4 + x^3 + x^2 + 1 with generator 2; the code is a Vandermonde matrix made systematic, so that the data shards are the data itself.
 * (Plank, "A tutorial on Reed-Solomon coding for fault-tolerance in RAID-like systems", with the 2003 correction; the layout is that of Backblaze's
 * JavaReedSolomon, which MinIO's library follows.)
 *
 * This guards against missing drives, not against changed bytes: those the AEAD finds.
 */
import { SelloError } from '../errors.ts';

const polynomial = 0x11d;

const exponents = new Uint8Array(510);
const logarithms = new Uint8Array(256);
for (let i = 0, value = 1; i < 255; i++) {
  exponents[i] = exponents[i + 255] = value;
  logarithms[value] = i;
  value <<= 1;
  if (value > 255) value ^= polynomial;
}

function multiply(a: number, b: number): number {
  return a === 0 || b === 0 ? 0 : exponents[logarithms[a]! + logarithms[b]!]!;
}

function power(base: number, exponent: number): number {
  if (exponent === 0) return 1;
  return base === 0 ? 0 : exponents[(logarithms[base]! * exponent) % 255]!;
}

type Matrix = readonly Uint8Array[];

function product(left: Matrix, right: Matrix): Matrix {
  return left.map((row) =>
    right[0]!.map((_, column) => row.reduce((sum, value, i) => sum ^ multiply(value, right[i]![column]!), 0)),
  );
}

/** Gauss-Jordan. Any `data` rows of the code's matrix are independent. */
function inverse(matrix: Matrix): Matrix {
  const size = matrix.length;
  const rows = matrix.map((row, i) => {
    const wide = new Uint8Array(2 * size);
    wide.set(row);
    wide[size + i] = 1;
    return wide;
  });
  for (let column = 0; column < size; column++) {
    const pivot = rows.findIndex((row, i) => i >= column && row[column] !== 0);
    /* Precondition: the rows are independent. */
    if (pivot < 0) throw new TypeError('matrix has no inverse');
    [rows[column], rows[pivot]] = [rows[pivot]!, rows[column]!];
    const scale = exponents[(255 - logarithms[rows[column]![column]!]!) % 255]!;
    rows[column] = rows[column]!.map((value) => multiply(value, scale));
    for (let i = 0; i < size; i++) {
      const factor = rows[i]![column]!;
      if (i === column || factor === 0) continue;
      rows[i] = rows[i]!.map((value, at) => value ^ multiply(factor, rows[column]![at]!));
    }
  }
  return rows.map((row) => row.subarray(size));
}

function codeMatrix(dataShards: number, shards: number): Matrix {
  const vandermonde = Array.from({ length: shards }, (_, row) =>
    Uint8Array.from({ length: dataShards }, (_, column) => power(row, column)),
  );
  return product(vandermonde, inverse(vandermonde.slice(0, dataShards)));
}

/** The data shards of blocks, from whichever shards there are. Made once for a set of shards, used for every block. */
export class ShardJoiner {
  /** Shards to read, in the order in which {@link join} takes them. */
  readonly needed: readonly number[];
  readonly #dataShards: number;
  /** For each data shard that is missing, how much of each shard that is read it takes. */
  readonly #recipes: ReadonlyMap<number, Uint8Array>;

  /**
   * @param present numbers of the shards that are there, from 0; those of data come first
   * @throws SelloError SELLO_OBJECT_FORMAT_UNKNOWN when they are too few
   */
  constructor(dataShards: number, parityShards: number, present: readonly number[]) {
    const shards = dataShards + parityShards;
    /* Precondition: the field has room for 256 shards, and no more than `data` may be missing. */
    if (dataShards < 1 || parityShards < 0 || shards > 256)
      throw unknown(`${dataShards}+${parityShards} shards`);
    const usable = [...new Set(present)]
      .filter((shard) => shard >= 0 && shard < shards)
      .sort((a, b) => a - b);
    if (usable.length < dataShards)
      throw unknown(
        `object is spread over ${shards} drives: ${dataShards} of them are needed, got ${usable.length}`,
      );
    this.#dataShards = dataShards;
    this.needed = usable.slice(0, dataShards);
    const missing = Array.from({ length: dataShards }, (_, i) => i).filter((i) => !this.needed.includes(i));
    if (missing.length === 0) {
      this.#recipes = new Map();
      return;
    }
    const code = codeMatrix(dataShards, shards);
    const decode = inverse(this.needed.map((shard) => code[shard]!));
    this.#recipes = new Map(missing.map((shard) => [shard, decode[shard]!]));
  }

  /** One block. @param shards as long as each other, in the order of {@link needed} */
  join(shards: readonly Buffer[], blockBytes: number): Buffer {
    if (this.#dataShards === 1 && this.#recipes.size === 0) return shards[0]!.subarray(0, blockBytes);
    const joined = Array.from({ length: this.#dataShards }, (_, shard) => {
      const recipe = this.#recipes.get(shard);
      return recipe === undefined ? shards[this.needed.indexOf(shard)]! : mixed(shards, recipe);
    });
    return Buffer.concat(joined).subarray(0, blockBytes);
  }
}

function mixed(shards: readonly Buffer[], recipe: Uint8Array): Buffer {
  const sum = Buffer.alloc(shards[0]!.length);
  for (const [i, shard] of shards.entries()) {
    const factor = recipe[i]!;
    if (factor === 0) continue;
    const products = Uint8Array.from({ length: 256 }, (_, value) => multiply(value, factor));
    for (let at = 0; at < sum.length; at++) sum[at]! ^= products[shard[at]!]!;
  }
  return sum;
}

function unknown(detail: string): SelloError {
  return new SelloError('SELLO_OBJECT_FORMAT_UNKNOWN', { detail });
}
