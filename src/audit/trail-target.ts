/**
 * The file end of a chained stream, inside the writer thread (compare target.ts): a folder of segments that this process alone
 * writes. Each batch is given its places in the chain, then written by one write(2); it counts once that has succeeded.
 *
 * What a crash, a full disk or a stranger left behind the last whole record of the chain is moved to a quarantine
 * file before anything else is written. What is gone from under the chain stays gone: the chain goes on in a new segment at
 * the number it had reached, and the hole is there for a verifier to see.
 */
import fs from 'node:fs';
import path from 'node:path';
import { Chain, noRecords, type ChainState } from './chain.ts';
import { quarantineName, segmentName } from './segment.ts';
import type { SlotLetter, TrailLetter } from './slot.ts';

/** Readable by a log shipper's group, by nobody else. */
const fileMode = 0o640;
const folderMode = 0o750;

const readBytes = 262_144;
const lineFeed = 0x0a;

/** A record line is far shorter; more bytes without a newline are no record. */
const maxRecordBytes = 16_384;

/** Where a stream stands in its files. Kept beside them at each checkpoint, so that a start reads only what came after. */
export interface TrailPosition extends ChainState {
  /** First record of the segment being written. */
  readonly segment: number;
  /** Bytes of that segment that are in the chain. */
  readonly offset: number;
}

export const startOfTrail: TrailPosition = { ...noRecords, segment: 0, offset: 0 };

/** What a checkpoint is made from. */
export interface TrailHead extends TrailPosition {
  readonly root: string;
  /** Segments sealed since the last head. */
  readonly sealed: readonly SealedSegment[];
}

export interface SealedSegment {
  readonly first: number;
  /** The tree that ends with it. */
  readonly size: number;
  readonly root: string;
}

export class TrailTarget {
  readonly #letter: SlotLetter;
  readonly #folder: string;
  readonly #segmentBytes: number;
  #chain: Chain;
  #segment: number;
  /** Where the chain ends in the segment. */
  #end: number;
  #fd = -1;
  #inode = 0n;
  #device = 0n;
  #checkedAtMs = 0;
  #sealed: SealedSegment[] = [];
  /** Bytes behind the chain's end may be records of ours: those of an earlier process, or of a write that failed half-way. */
  #unsure = true;
  /** Times that something was quarantined. */
  tornLines = 0;

  constructor(letter: SlotLetter, trail: TrailLetter) {
    this.#letter = letter;
    this.#folder = letter.path;
    this.#segmentBytes = trail.segmentBytes;
    this.#chain = new Chain(trail.stream, trail.position);
    this.#segment = trail.position.segment;
    this.#end = trail.position.offset;
  }

  get size(): number {
    return this.#chain.size;
  }

  /** Segments sealed since the last head. */
  get sealedSegments(): number {
    return this.#sealed.length;
  }

  /** Opens, or opens anew, and takes into the chain what is in the files behind the place it had reached. */
  open(): void {
    this.close();
    fs.mkdirSync(this.#folder, { recursive: true, mode: folderMode });
    while (!this.#catchUp());
    this.#unsure = false;
  }

  write(batch: Buffer): void {
    if (this.#fd === -1) this.open();
    if (performance.now() - this.#checkedAtMs >= this.#letter.identityCheckMs) this.#checkIdentity();
    if (this.#end >= this.#segmentBytes) this.roll();
    const bytes = this.#chain.extend(batch, uptimeMs());
    let written = 0;
    try {
      while (written < bytes.length) written += fs.writeSync(this.#fd, bytes, written);
    } catch (error) {
      // Where this fails too, the next open finds what was written and takes the whole lines of it into the chain.
      this.#unsure = true;
      if (written > 0) fs.ftruncateSync(this.#fd, this.#end);
      throw error;
    }
    this.#chain.commit();
    this.#end += bytes.length;
    if (this.#letter.sync) fs.fdatasyncSync(this.#fd);
  }

  /** Work that can wait until the callers have been told. */
  settle(): void {
    this.#chain.settleMany();
  }

  /** Seals the segment, if there is anything in it. */
  roll(): void {
    if (this.#fd === -1) this.open();
    if (this.#end === 0) return;
    const next = this.#create(this.#chain.size);
    const old = this.#fd;
    this.#seal();
    this.#adopt(next, this.#chain.size, 0);
    fs.closeSync(old);
  }

  head(): TrailHead {
    const sealed = this.#sealed;
    this.#sealed = [];
    return {
      ...this.#chain.state(),
      root: this.#chain.root(),
      segment: this.#segment,
      offset: this.#end,
      sealed,
    };
  }

  #seal(): void {
    this.#sealed.push({ first: this.#segment, size: this.#chain.size, root: this.#chain.root() });
  }

  close(): void {
    const fd = this.#fd;
    this.#fd = -1;
    if (fd !== -1) fs.closeSync(fd);
  }

  /** Somebody moved, removed, cut or lengthened the file. */
  #checkIdentity(): void {
    this.#checkedAtMs = performance.now();
    const now = fs.statSync(this.#pathOf(this.#segment), { bigint: true, throwIfNoEntry: false });
    if (now?.ino !== this.#inode || now.dev !== this.#device || Number(now.size) !== this.#end) this.open();
  }

  /** One segment's part of {@link open}; false when there is another one to look at. */
  #catchUp(): boolean {
    const file = this.#pathOf(this.#segment);
    const size = fs.statSync(file, { throwIfNoEntry: false })?.size;
    if (size === undefined || size < this.#end) {
      if (this.#end === 0 && this.#chain.size === this.#segment) {
        this.#adopt(this.#create(this.#segment), this.#segment, 0);
        return true;
      }
      // What was in this file is gone, or compressed because it had been sealed: go on behind it.
      const first = this.#chain.size;
      this.#segment = first;
      this.#end = 0;
      return false;
    }
    const fd = fs.openSync(file, 'a+');
    this.#adopt(fd, this.#segment, this.#end);
    if (this.#unsure) this.#follow(fd);
    const left = fs.fstatSync(fd).size - this.#end;
    if (left > 0) this.#quarantine(fd, left);
    // A roll creates the next segment before the first record goes there.
    const next = this.#chain.size;
    if (next === this.#segment || !fs.existsSync(this.#pathOf(next))) return true;
    this.close();
    this.#seal();
    this.#segment = next;
    this.#end = 0;
    return false;
  }

  /** Takes the records behind {@link #end} into the chain, as far as they follow on each other. */
  #follow(fd: number): void {
    let room = Buffer.alloc(0);
    for (let from = this.#end; ;) {
      const chunk = Buffer.alloc(readBytes);
      const length = fs.readSync(fd, chunk, 0, readBytes, from);
      if (length === 0) return;
      from += length;
      room = Buffer.concat([room, chunk.subarray(0, length)]);
      let start = 0;
      for (let end = room.indexOf(lineFeed); end !== -1; end = room.indexOf(lineFeed, start)) {
        if (!this.#chain.follow(room.subarray(start, end))) return;
        this.#end += end + 1 - start;
        start = end + 1;
      }
      room = room.subarray(start);
      if (room.length > maxRecordBytes) return;
    }
  }

  /** Moves the last `bytes` of the file out of it. */
  #quarantine(fd: number, bytes: number): void {
    const out = fs.openSync(path.join(this.#folder, quarantineName(this.#chain.size)), 'a', fileMode);
    try {
      const chunk = Buffer.alloc(Math.min(bytes, readBytes));
      let length: number;
      for (let at = this.#end; (length = fs.readSync(fd, chunk, 0, chunk.length, at)) > 0; at += length) {
        let written = 0;
        while (written < length) written += fs.writeSync(out, chunk, written, length - written);
      }
      fs.fdatasyncSync(out);
    } finally {
      fs.closeSync(out);
    }
    fs.ftruncateSync(fd, this.#end);
    this.tornLines++;
  }

  #create(first: number): number {
    const fd = fs.openSync(this.#pathOf(first), 'a+', fileMode);
    if (this.#letter.sync) syncFolder(this.#folder);
    return fd;
  }

  #adopt(fd: number, segment: number, end: number): void {
    const status = fs.fstatSync(fd, { bigint: true });
    this.#fd = fd;
    this.#inode = status.ino;
    this.#device = status.dev;
    this.#checkedAtMs = performance.now();
    this.#segment = segment;
    this.#end = end;
  }

  #pathOf(segment: number): string {
    return path.join(this.#folder, segmentName(segment));
  }
}

/** Of the machine, not of this process: it goes on over restarts, and nobody sets it. */
function uptimeMs(): number {
  const [secondsUp, nanoseconds] = process.hrtime();
  return secondsUp * 1000 + Math.floor(nanoseconds / 1e6);
}

function syncFolder(folder: string): void {
  const fd = fs.openSync(folder, 'r');
  try {
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}
