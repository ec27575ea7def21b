/**
 * What a connection is about to send. Frames of one turn of the event loop are written side by side into one piece of memory and leave with one write to
 * TLS; long bodies are not copied but named between them. Memory that has been sent is overwritten: data keys pass through it.
 */
import type { TLSSocket } from 'node:tls';

const slabBytes = 16_384;
/** Kept for the next turn, of all connections together. */
const mostSpareSlabs = 64;
const spare: Buffer[] = [];

export class Outbox {
  readonly #socket: TLSSocket;
  readonly #onSent: () => void;
  #slab: Buffer | undefined;
  /** What of the slab is already among the pieces. */
  #from = 0;
  #to = 0;
  #pieces: Buffer[] = [];
  /** To be overwritten once sent: what was written here, and secrets that were referred to. */
  #wiped: Buffer[] = [];
  #slabs: Buffer[] = [];
  #sent: (() => void)[] = [];
  #isScheduled = false;
  #underWay = 0;

  /** @param onSent after each write that TLS has taken */
  constructor(socket: TLSSocket, onSent: () => void) {
    this.#socket = socket;
    this.#onSent = onSent;
  }

  /** Bytes that wait, here or for the client to take them. */
  get waitingBytes(): number {
    let bytes = this.#to - this.#from + this.#socket.writableLength;
    for (const piece of this.#pieces) bytes += piece.length;
    return bytes;
  }

  /** The client has not taken what left in an earlier turn. */
  get isStuck(): boolean {
    return this.#underWay > 0;
  }

  /**
   * Memory for `bytes` more, at {@link at}; {@link wrote} says where it ends. A frame is written in one piece.
   */
  room(bytes: number): Buffer {
    if (this.#slab !== undefined && this.#slab.length - this.#to >= bytes) return this.#slab;
    this.#close();
    this.#slab =
      bytes > slabBytes ? Buffer.allocUnsafeSlow(bytes) : (spare.pop() ?? Buffer.allocUnsafeSlow(slabBytes));
    return this.#slab;
  }

  get at(): number {
    return this.#to;
  }

  wrote(end: number): void {
    this.#to = end;
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    process.nextTick(flush, this);
  }

  /** Puts bytes behind what was written so far, which must stay as they are until `sent`. */
  refer(bytes: Buffer): void {
    this.#cut();
    this.#pieces.push(bytes);
  }

  /** Overwrites these once they are sent. */
  wipeWhenSent(bytes: Buffer): void {
    this.#wiped.push(bytes);
  }

  /** Calls back when all that was put here so far is sent. */
  whenSent(done: () => void): void {
    this.#sent.push(done);
  }

  flush(): void {
    this.#isScheduled = false;
    this.#close();
    const pieces = this.#pieces;
    const wiped = this.#wiped;
    const slabs = this.#slabs;
    const sent = this.#sent;
    if (pieces.length === 0 && sent.length === 0) return;
    this.#pieces = [];
    this.#wiped = [];
    this.#slabs = [];
    this.#sent = [];
    const socket = this.#socket;
    const done = (): void => {
      this.#underWay--;
      for (const bytes of wiped) bytes.fill(0);
      if (spare.length < mostSpareSlabs) spare.push(...slabs);
      for (const each of sent) each();
      this.#onSent();
    };
    this.#underWay++;
    if (socket.destroyed || pieces.length === 0) {
      process.nextTick(done);
      return;
    }
    const last = pieces.length - 1;
    if (last === 0) socket.write(pieces[0]!, done);
    else {
      socket.cork();
      for (let i = 0; i < last; i++) socket.write(pieces[i]!);
      socket.write(pieces[last]!, done);
      socket.uncork();
    }
  }

  #cut(): void {
    if (this.#slab === undefined || this.#to === this.#from) return;
    const piece = this.#slab.subarray(this.#from, this.#to);
    this.#pieces.push(piece);
    this.#wiped.push(piece);
    this.#from = this.#to;
  }

  #close(): void {
    if (this.#slab === undefined) return;
    this.#cut();
    if (this.#slab.length === slabBytes) this.#slabs.push(this.#slab);
    this.#slab = undefined;
    this.#from = 0;
    this.#to = 0;
  }
}

function flush(outbox: Outbox): void {
  outbox.flush();
}
