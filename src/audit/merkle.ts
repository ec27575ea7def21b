/**
 * The Merkle tree of RFC 6962 (section 2.1) over SHA-256. Hashes are lower-case hex: they stand in records in that form, and
 * compare and serialise as they are.
 *
 * Nothing here holds a tree. A {@link Frontier} takes leaves one by one and keeps one hash per level, so a log of any length
 * is hashed in a few hundred bytes; a proof names ranges of leaves, and a pass over the log gives each range's root.
 */
import { hash } from 'node:crypto';

/** 64 lower-case hex digits. */
export type Hash = string;

export const hashBytes = 32;

/** RFC 6962: prefixes keep a leaf from being taken for a node. */
const leafPrefix = Buffer.from([0]);
const nodePrefix = 1;

/** Root of the empty tree: the hash of nothing. */
export const emptyRoot: Hash = hash('sha256', '', 'hex');

export function leafHash(data: Uint8Array): Hash {
  return hash('sha256', Buffer.concat([leafPrefix, data]), 'hex');
}

/** One hash at a time, so one buffer for all. */
const node = Buffer.alloc(1 + 2 * hashBytes);
node[0] = nodePrefix;

export function nodeHash(left: Hash, right: Hash): Hash {
  node.write(left, 1, 'hex');
  node.write(right, 1 + hashBytes, 'hex');
  return hash('sha256', node, 'hex');
}

/** The roots of the complete subtrees of a growing tree, largest first: what is needed to go on, and nothing else. */
export class Frontier {
  #size = 0;
  readonly #roots: Hash[] = [];

  /** @throws RangeError when there are not as many roots as `size` has bits set */
  static of(size: number, roots: readonly Hash[]): Frontier {
    if (!Number.isSafeInteger(size) || size < 0 || bitsSet(size) !== roots.length)
      throw new RangeError('the frontier does not belong to a tree of this size');
    const frontier = new Frontier();
    frontier.#size = size;
    frontier.#roots.push(...roots);
    return frontier;
  }

  get size(): number {
    return this.#size;
  }

  get roots(): readonly Hash[] {
    return this.#roots;
  }

  append(leaf: Hash): void {
    let merged = leaf;
    // Each trailing one of the size is a complete subtree as large as what is being appended. Not by bit operations: they end at 32 bits.
    for (let rest = this.#size; rest % 2 === 1; rest = (rest - 1) / 2)
      merged = nodeHash(this.#roots.pop()!, merged);
    this.#roots.push(merged);
    this.#size++;
  }

  root(): Hash {
    let root = this.#roots.at(-1);
    if (root === undefined) return emptyRoot;
    for (let level = this.#roots.length - 2; level >= 0; level--) root = nodeHash(this.#roots[level]!, root);
    return root;
  }

  copy(): Frontier {
    return Frontier.of(this.#size, this.#roots);
  }
}

function bitsSet(size: number): number {
  let count = 0;
  for (let rest = size; rest > 0; rest = Math.floor(rest / 2)) count += rest % 2;
  return count;
}

/** Leaves `start` to `end` (excluded), whose root a proof needs. */
export interface LeafRange {
  readonly start: number;
  readonly end: number;
}

/** RFC 6962, 2.1: where a tree of `size` > 1 leaves is split, the largest power of two below it. */
function split(size: number): number {
  let half = 1;
  while (half * 2 < size) half *= 2;
  return half;
}

/** The ranges of an inclusion proof (RFC 6962, 2.1.1), from the leaf's sibling to the root's child. */
export function inclusionRanges(index: number, size: number): LeafRange[] {
  if (!(index >= 0 && index < size)) throw new RangeError(`there is no leaf ${index} in a tree of ${size}`);
  const ranges: LeafRange[] = [];
  let start = 0;
  let end = size;
  while (end - start > 1) {
    const middle = start + split(end - start);
    if (index < middle) {
      ranges.push({ start: middle, end });
      end = middle;
    } else {
      ranges.push({ start, end: middle });
      start = middle;
    }
  }
  return ranges.reverse();
}

/** The ranges of a consistency proof (RFC 6962, 2.1.2) between trees of `older` and `size` leaves. */
export function consistencyRanges(older: number, size: number): LeafRange[] {
  if (!(older >= 1 && older <= size))
    throw new RangeError(`a tree of ${older} is no earlier one of a tree of ${size}`);
  const ranges: LeafRange[] = [];
  let start = 0;
  let end = size;
  let wholeSoFar = true;
  while (older !== end) {
    const middle = start + split(end - start);
    if (older <= middle) {
      ranges.push({ start: middle, end });
      end = middle;
    } else {
      ranges.push({ start, end: middle });
      start = middle;
      wholeSoFar = false;
    }
  }
  if (!wholeSoFar) ranges.push({ start, end });
  return ranges.reverse();
}

/** The root that a leaf and its proof lead to; undefined when the proof has the wrong length. RFC 9162, 2.1.3.2. */
export function rootOfInclusion(
  leaf: Hash,
  index: number,
  size: number,
  proof: readonly Hash[],
): Hash | undefined {
  if (!(index >= 0 && index < size)) return undefined;
  const ranges = inclusionRanges(index, size);
  if (ranges.length !== proof.length) return undefined;
  return ranges.reduce(
    (root, { start }, at) => (start > index ? nodeHash(root, proof[at]!) : nodeHash(proof[at]!, root)),
    leaf,
  );
}

/** The roots of some ranges, taken from the leaves as they pass. */
export class RangeRoots {
  readonly #ranges: readonly LeafRange[];
  readonly #frontiers: Frontier[];

  constructor(ranges: readonly LeafRange[]) {
    this.#ranges = ranges;
    this.#frontiers = ranges.map(() => new Frontier());
  }

  /** Leaves come in ascending order; those outside all ranges pass by. */
  take(index: number, leaf: Hash): void {
    for (const [at, { start, end }] of this.#ranges.entries())
      if (index >= start && index < end) this.#frontiers[at]!.append(leaf);
  }

  /** In the order of the ranges. */
  roots(): Hash[] {
    return this.#frontiers.map((frontier, at) => {
      const { start, end } = this.#ranges[at]!;
      if (frontier.size !== end - start) throw new RangeError(`leaves ${start} to ${end} are not complete`);
      return frontier.root();
    });
  }
}
