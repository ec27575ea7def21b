/**
 * The file end of a stream, inside the writer thread: every call here may block for as long as the disk likes.
 *
 * A batch is whole lines in one write(2) with O_APPEND, which Linux file systems do under the inode's lock: batches of
 * several processes never mix. What can still tear a line is an error in mid-write (no space). An exclusive file is then
 * cut back to where the batch began; a shared one is not, since another process may have appended in between: the torn
 * piece is closed off by a newline before anything else is written.
 */
import fs from 'node:fs';
import path from 'node:path';
import type { SlotLetter } from './slot.ts';

/** For pipes: POSIX writes up to this many bytes in one piece (PIPE_BUF on Linux). No line is longer. */
const pipePieceBytes = 4096;

/** Between two tries on a non-blocking pipe that is full. */
const fullPipePauseMs = 2;

/** How long another process's write may look like a torn line. */
const otherWriterPauseMs = 5;

/** Readable by a log shipper's group, by nobody else. */
const fileMode = 0o640;

const newline = Buffer.from('\n');
const lineFeed = 0x0a;
const lastByte = Buffer.alloc(1);
const pause = new Int32Array(new SharedArrayBuffer(4));

export class Target {
  readonly #letter: SlotLetter;
  #fd = -1;
  #regular = false;
  #device = 0n;
  #inode = 0n;
  #checkedAtMs = 0;
  /** Where this process last saw the file end. */
  #end = 0;
  /** The file ends in a piece of a line. */
  #torn = false;
  /** Torn lines closed off since last asked. */
  tornLines = 0;

  constructor(letter: SlotLetter) {
    this.#letter = letter;
  }

  /** Opens, or opens anew. */
  open(): void {
    this.close();
    const file = this.#letter.path;
    if (file === '-') {
      this.#fd = 1;
      this.#regular = false;
      return;
    }
    const before = fs.statSync(file, { throwIfNoEntry: false });
    // Reading back the last byte needs O_RDWR; on a pipe that would make us its own reader, and no lost reader noticed.
    const fd = fs.openSync(file, before === undefined || before.isFile() ? 'a+' : 'a', fileMode);
    this.#fd = fd;
    const status = fs.fstatSync(fd, { bigint: true });
    this.#regular = status.isFile();
    this.#device = status.dev;
    this.#inode = status.ino;
    this.#checkedAtMs = performance.now();
    this.#torn = false;
    if (!this.#regular) return;
    this.#end = Number(status.size);
    if (before === undefined && this.#letter.sync) syncDirectory(path.dirname(file));
    this.#closeTornLine(this.#end);
  }

  write(batch: Buffer): void {
    if (this.#fd === -1) this.open();
    if (!this.#regular) {
      this.#writePieces(batch);
      return;
    }
    if (performance.now() - this.#checkedAtMs >= this.#letter.identityCheckMs) this.#followPath();
    if (this.#letter.shared) {
      const size = fs.fstatSync(this.#fd).size;
      if (size !== this.#end) this.#closeTornLine(size);
    } else if (this.#torn) {
      this.#closeTornLine(fs.fstatSync(this.#fd).size);
    }
    let written = 0;
    try {
      while (written < batch.length)
        written += fs.writeSync(this.#fd, batch, written, batch.length - written);
    } catch (error) {
      if (written > 0) this.#undo(written);
      throw error;
    }
    this.#end += written;
    if (this.#letter.sync) fs.fdatasyncSync(this.#fd);
  }

  close(): void {
    const fd = this.#fd;
    this.#fd = -1;
    if (fd > 2) fs.closeSync(fd);
  }

  /** logrotate moved the file, or somebody removed it: go on in the one that the path names now. */
  #followPath(): void {
    this.#checkedAtMs = performance.now();
    const now = fs.statSync(this.#letter.path, { bigint: true, throwIfNoEntry: false });
    if (now?.ino !== this.#inode || now.dev !== this.#device) this.open();
  }

  /** Makes sure that what follows starts on a line of its own. `size` is the file's size now. */
  #closeTornLine(size: number): void {
    this.#end = size;
    this.#torn = this.#endsInPiece(size);
    if (this.#torn && this.#letter.shared) {
      // A file grows page by page while another process writes, so what looks torn may be a batch on its way. Should it take
      // longer than this, the newline lands behind that batch: an empty line, which readers skip.
      Atomics.wait(pause, 0, 0, otherWriterPauseMs);
      this.#end = fs.fstatSync(this.#fd).size;
      this.#torn = this.#end === size && this.#endsInPiece(size);
    }
    if (!this.#torn) return;
    fs.writeSync(this.#fd, newline);
    this.#torn = false;
    this.tornLines++;
    this.#end++;
  }

  #endsInPiece(size: number): boolean {
    return size > 0 && fs.readSync(this.#fd, lastByte, 0, 1, size - 1) === 1 && lastByte[0] !== lineFeed;
  }

  /** After an error in mid-write: takes back what is there of the batch, where that is safe. */
  #undo(written: number): void {
    this.#torn = true;
    if (this.#letter.shared || fs.fstatSync(this.#fd).size !== this.#end + written) return;
    fs.ftruncateSync(this.#fd, this.#end);
    this.#torn = false;
  }

  /** Pipes and terminals: pieces of whole lines that the kernel takes in one go. */
  #writePieces(batch: Buffer): void {
    if (this.#torn) {
      this.#writeAll(newline);
      this.#torn = false;
      this.tornLines++;
    }
    let start = 0;
    while (start < batch.length) {
      const last = start + pipePieceBytes - 1;
      const end = last >= batch.length ? batch.length : batch.lastIndexOf(lineFeed, last) + 1;
      this.#writeAll(batch.subarray(start, end));
      start = end;
    }
  }

  #writeAll(piece: Buffer): void {
    let written = 0;
    while (written < piece.length) {
      try {
        written += fs.writeSync(this.#fd, piece, written, piece.length - written);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EAGAIN') {
          Atomics.wait(pause, 0, 0, fullPipePauseMs);
          continue;
        }
        this.#torn = written > 0;
        throw error;
      }
    }
  }
}

function syncDirectory(directory: string): void {
  const fd = fs.openSync(directory, 'r');
  try {
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}
