/**
 * How records are chained (docs/formats/audit-log.md): each line of a stream names its sequence number and the hash of the
 * line before it. That hash is the line's leaf hash in the Merkle tree, so chain and tree cost one SHA-256 per record
 * between them, and the tree's inner nodes one more.
 */
import { hash } from 'node:crypto';
import { Frontier, leafHash, type Hash } from './merkle.ts';

/** What the first record of a stream names as its predecessor. */
export const noPrevious: Hash = '0'.repeat(64);

/** Streams are named by 16 random bytes. */
export const streamName = /^[0-9a-f]{32}$/;

/**
 * The chain stands first in `sello`. No value can imitate the mark: a quotation mark in a value is escaped, so it has a
 * backslash before it where the mark has none.
 */
const mark = Buffer.from(',"sello":{');

/** Longest text that {@link Chain} puts into a line. */
export const maxChainBytes = 224;

const lineFeed = 0x0a;

/** Leaves that may wait: some 8 KiB of hashes, and a tenth of a millisecond to settle. */
const worthSettling = 128;

/** What a line says of its place. */
export interface ChainFields {
  readonly previous: Hash;
  readonly sequence: number;
  readonly stream: string;
  /** Milliseconds of the machine's monotonic clock when the record was written. */
  readonly uptimeMs: number;
}

const chainText =
  /^"chain":\{"previous":"([0-9a-f]{64})","sequence":(0|[1-9][0-9]{0,15}),"stream":"([0-9a-f]{32})","uptime":(0|[1-9][0-9]{0,15})\},/;

/** The chain fields of a line, newline excluded; undefined when it has none in the one form there is. */
export function chainFieldsOf(line: Buffer): ChainFields | undefined {
  const at = line.indexOf(mark);
  if (at === -1) return undefined;
  const found = chainText.exec(line.toString('latin1', at + mark.length, at + mark.length + maxChainBytes));
  if (found === null) return undefined;
  const [, previous = '', sequence, stream = '', uptime] = found;
  return { previous, sequence: Number(sequence), stream, uptimeMs: Number(uptime) };
}

/** Where a stream stands: enough to go on after its last record. */
export interface ChainState {
  readonly size: number;
  /** Leaf hash of the last record. */
  readonly previous: Hash;
  /** Of the tree over all records (see {@link Frontier}). */
  readonly roots: readonly Hash[];
}

export const noRecords: ChainState = { size: 0, previous: noPrevious, roots: [] };

/** A stream's chain and tree as it grows. */
export class Chain {
  readonly stream: string;
  #previous: Hash;
  #frontier: Frontier;
  /** Leaves that are in the file and not in the tree yet: it can wait until nobody waits. */
  #leaves: Hash[] = [];
  /** What the batch under way would add. */
  #tentative: { leaves: Hash[]; previous: Hash } | undefined;
  #room = Buffer.allocUnsafeSlow(262_144);

  constructor(stream: string, state: ChainState = noRecords) {
    this.stream = stream;
    this.#previous = state.previous;
    this.#frontier = Frontier.of(state.size, state.roots);
  }

  /** Records in the chain. */
  get size(): number {
    return this.#frontier.size + this.#leaves.length;
  }

  get previous(): Hash {
    return this.#previous;
  }

  /**
   * The lines of `batch` with their places in the chain. They count once {@link commit} is called; without it the next batch
   * takes the same places. The bytes are valid until the next call.
   *
   * @throws TypeError when a line is not one of line.ts
   */
  extend(batch: Buffer, uptimeMs: number): Buffer {
    let sequence = this.size;
    let previous = this.#previous;
    const leaves: Hash[] = [];
    const after = `,"stream":"${this.stream}","uptime":${Math.floor(uptimeMs)}},`;
    // The byte before a line becomes the leaf prefix while it is hashed, so the first line has one too.
    let at = 1;
    let start = 0;
    while (start < batch.length) {
      const end = batch.indexOf(lineFeed, start);
      const place = batch.indexOf(mark, start) + mark.length;
      if (end === -1 || place < mark.length || place > end) throw new TypeError('not a record line');
      if (at + (end - start) + maxChainBytes > this.#room.length) this.#grow(end - start);
      const room = this.#room;
      const from = at;
      at += batch.copy(room, at, start, place);
      at += room.write(`"chain":{"previous":"${previous}","sequence":${sequence}${after}`, at, 'latin1');
      at += batch.copy(room, at, place, end);
      const before = room[from - 1]!;
      room[from - 1] = 0;
      previous = hash('sha256', room.subarray(from - 1, at), 'hex');
      room[from - 1] = before;
      room[at++] = lineFeed;
      leaves.push(previous);
      sequence++;
      start = end + 1;
    }
    this.#tentative = { leaves, previous };
    return this.#room.subarray(1, at);
  }

  /** The batch is in the file. */
  commit(): void {
    if (this.#tentative === undefined) return;
    this.#previous = this.#tentative.previous;
    if (this.#leaves.length === 0) this.#leaves = this.#tentative.leaves;
    else for (const leaf of this.#tentative.leaves) this.#leaves.push(leaf);
    this.#tentative = undefined;
  }

  /** A line that is in the file already; false, and nothing is taken, when it does not follow on the last one. */
  follow(line: Buffer): boolean {
    const fields = chainFieldsOf(line);
    if (fields?.sequence !== this.size) return false;
    if (fields.previous !== this.#previous || fields.stream !== this.stream) return false;
    this.#previous = leafHash(line);
    this.#leaves.push(this.#previous);
    this.settle();
    return true;
  }

  /**
   * Puts into the tree what {@link commit} left for later, once it is worth while: where threads share a core, a lone caller waits for what its
   * record's thread does after the write.
   */
  settleMany(): void {
    if (this.#leaves.length >= worthSettling) this.settle();
  }

  /** Puts into the tree what {@link commit} left for later. */
  settle(): void {
    for (const leaf of this.#leaves) this.#frontier.append(leaf);
    this.#leaves = [];
  }

  /** The tree's root over all committed records. */
  root(): Hash {
    this.settle();
    return this.#frontier.root();
  }

  state(): ChainState {
    this.settle();
    return { size: this.#frontier.size, previous: this.#previous, roots: [...this.#frontier.roots] };
  }

  #grow(lineBytes: number): void {
    const larger = Buffer.allocUnsafeSlow(this.#room.length * 2 + lineBytes);
    this.#room.copy(larger);
    this.#room = larger;
  }
}
