/**
 * Bodies of answers on their way out, under the client's windows (RFC 9113 §5.2). What they do not take waits, and each that waits gets its
 * turn.
 */
import {
  defaultWindowBytes,
  errorCode,
  flag,
  frameHeadBytes,
  frameType,
  maxFrameBytes,
  mostWindowBytes,
  writeFrameHead,
} from './frame.ts';
import { ConnectionError } from './frame-reader.ts';
import type { Outbox } from './outbox.ts';
import type { StreamPort } from './stream-port.ts';

/** Longer pieces are named in place of copied. */
const mostCopiedBytes = 2048;
/** Above it long bodies wait, so that short answers do not wait behind them. */
const mostQueuedBytes = 131_072;

export class BodySender {
  readonly #out: Outbox;
  /** Ports with bytes that the client's windows or the socket do not take now. */
  readonly #waiting = new Set<StreamPort>();
  /** Of the connection, and what a stream begins with. */
  #window = defaultWindowBytes;
  #streamWindow = defaultWindowBytes;
  /** Long pieces on their way to the socket. */
  queuedBytes = 0;

  constructor(out: Outbox) {
    this.#out = out;
  }

  /** What a stream's window is at its beginning. */
  get streamWindow(): number {
    return this.#streamWindow;
  }

  /** SETTINGS_INITIAL_WINDOW_SIZE; streams that are open follow (RFC 9113 §6.9.2). @throws ConnectionError */
  setStreamWindow(bytes: number, open: Iterable<StreamPort>): void {
    const more = bytes - this.#streamWindow;
    this.#streamWindow = bytes;
    for (const port of open) {
      port.sendWindow += more;
      if (port.sendWindow > mostWindowBytes)
        throw new ConnectionError(errorCode.flowControlError, 'window too large');
    }
  }

  /** @throws ConnectionError */
  widen(bytes: number): void {
    this.#window += bytes;
    if (this.#window > mostWindowBytes)
      throw new ConnectionError(errorCode.flowControlError, 'window too large');
    this.pumpWaiting();
  }

  isWaiting(port: StreamPort): boolean {
    return this.#waiting.has(port);
  }

  forget(port: StreamPort): void {
    this.#waiting.delete(port);
  }

  /** @returns true when all that a port had to send has been put on its way */
  pump(port: StreamPort): boolean {
    const { unsent } = port;
    if (unsent === undefined) return false;
    const { bytes } = unsent;
    const out = this.#out;
    for (;;) {
      const left = bytes.length - unsent.at;
      const length = left === 0 ? 0 : this.#allowed(port, left);
      if (length <= 0 && left > 0) {
        this.#waiting.add(port);
        return false;
      }
      const isLast = length === left;
      const flags = isLast && unsent.isEnd ? flag.endStream : 0;
      const isCopied = length <= mostCopiedBytes;
      const room = out.room(frameHeadBytes + (isCopied ? length : 0));
      let at = writeFrameHead(room, out.at, length, frameType.data, flags, port.id);
      if (isCopied) at += bytes.copy(room, at, unsent.at, unsent.at + length);
      out.wrote(at);
      if (!isCopied) {
        out.refer(bytes.subarray(unsent.at, unsent.at + length));
        this.queuedBytes += length;
        unsent.isReferred = true;
      }
      port.sendWindow -= length;
      this.#window -= length;
      unsent.at += length;
      if (isLast) break;
    }
    port.unsent = undefined;
    this.#waiting.delete(port);
    if (unsent.isSecret) {
      if (unsent.isReferred) out.wipeWhenSent(bytes);
      else bytes.fill(0);
    }
    if (unsent.done !== undefined) out.whenSent(unsent.done);
    return true;
  }

  /** Of the bytes that are left, as many as may go in the next frame; a shrunken window may be below zero. */
  #allowed(port: StreamPort, left: number): number {
    if (left > mostCopiedBytes && this.queuedBytes > mostQueuedBytes) return 0;
    return Math.min(left, port.sendWindow, this.#window, maxFrameBytes);
  }

  pumpWaiting(): void {
    // Each gets its turn: what one leaves of the window is the next one's.
    for (const port of [...this.#waiting]) {
      if (this.#window <= 0) return;
      // Behind the others next time.
      this.#waiting.delete(port);
      port.connection.pump(port);
    }
  }

  /** What was written has left. */
  sent(): void {
    if (!this.#out.isStuck) this.queuedBytes = 0;
    if (this.#waiting.size > 0) this.pumpWaiting();
  }
}
