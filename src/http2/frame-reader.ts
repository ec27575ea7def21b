/**
 * Cuts what arrives on a connection into frames (RFC 9113 §4.1). Payloads of DATA are handed on as they come, without being gathered; all others
 * whole, since none of them is longer than {@link maxFrameBytes}.
 */
import {
  errorCode,
  flag,
  frameHeadBytes,
  frameType,
  maxFrameBytes,
  preface,
  readUint31,
  type ErrorCode,
} from './frame.ts';

/** Ends the connection with a GOAWAY of this code (RFC 9113 §5.4.1). */
export class ConnectionError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

/** Each may throw a {@link ConnectionError}. */
export interface FrameHandler {
  /** A frame that is not DATA. `payload` is valid during the call. */
  onFrame(type: number, flags: number, stream: number, payload: Buffer): void;
  /** A DATA frame begins; `length` counts against the windows, padding included. */
  onDataBegin(stream: number, length: number): void;
  /** Bytes of a DATA frame that are no data. */
  onPadding(stream: number, length: number): void;
  onData(stream: number, part: Buffer): void;
  onDataEnd(stream: number, isEndOfStream: boolean, isEmpty: boolean): void;
}

const none = Buffer.alloc(0);

export class FrameReader {
  readonly #handler: FrameHandler;
  /** Bytes of the client's preface seen. */
  #prefaceAt = 0;
  /** A frame's head that has not come whole. */
  readonly #head = Buffer.alloc(frameHeadBytes);
  #headAt = 0;
  #isInPayload = false;
  #type = 0;
  #flags = 0;
  #stream = 0;
  /** Bytes of the payload, or of its data, still to come. */
  #left = 0;
  /** Bytes of padding behind the data. */
  #padding = 0;
  #awaitsPadLength = false;
  #isEmpty = false;
  /** A payload that has not come whole. */
  #gathered: Buffer = none;
  #gatheredAt = 0;
  #isStopped = false;

  constructor(handler: FrameHandler) {
    this.#handler = handler;
  }

  /** Frames begun. */
  frames = 0;

  /** Something has begun and not come whole: the preface, or a frame that is not DATA. */
  get isWithin(): boolean {
    return (
      this.#prefaceAt < preface.length ||
      this.#headAt > 0 ||
      (this.#isInPayload && this.#type !== frameType.data)
    );
  }

  /** What still comes is not read. */
  stop(): void {
    this.#isStopped = true;
    this.#gathered = none;
  }

  /** @throws ConnectionError */
  feed(chunk: Buffer): void {
    let at = this.#prefaceAt < preface.length ? this.#readPreface(chunk) : 0;
    while (!this.#isStopped) {
      if (!this.#isInPayload) {
        if (chunk.length - at >= frameHeadBytes && this.#headAt === 0) {
          this.#begin(chunk, at);
          at += frameHeadBytes;
        } else {
          const taken = chunk.copy(this.#head, this.#headAt, at, at + frameHeadBytes - this.#headAt);
          at += taken;
          this.#headAt += taken;
          if (this.#headAt < frameHeadBytes) return;
          this.#headAt = 0;
          this.#begin(this.#head, 0);
        }
      }
      at = this.#type === frameType.data ? this.#readData(chunk, at) : this.#readPayload(chunk, at);
      if (this.#isInPayload) return;
      if (at === chunk.length) return;
    }
  }

  #readPreface(chunk: Buffer): number {
    const length = Math.min(chunk.length, preface.length - this.#prefaceAt);
    if (preface.compare(chunk, 0, length, this.#prefaceAt, this.#prefaceAt + length) !== 0)
      throw new ConnectionError(errorCode.protocolError, 'not the preface of HTTP/2');
    this.#prefaceAt += length;
    return length;
  }

  #begin(head: Buffer, at: number): void {
    const length = (head[at]! << 16) | (head[at + 1]! << 8) | head[at + 2]!;
    this.#type = head[at + 3]!;
    this.#flags = head[at + 4]!;
    this.#stream = readUint31(head, at + 5);
    if (length > maxFrameBytes) throw new ConnectionError(errorCode.frameSizeError, 'frame too large');
    this.#left = length;
    this.#isInPayload = true;
    this.frames++;
    if (this.#type !== frameType.data) return;
    this.#isEmpty = length === 0;
    this.#handler.onDataBegin(this.#stream, length);
    this.#padding = 0;
    this.#awaitsPadLength = (this.#flags & flag.padded) !== 0;
    if (this.#awaitsPadLength && length === 0)
      throw new ConnectionError(errorCode.frameSizeError, 'no pad length');
  }

  #readPayload(chunk: Buffer, at: number): number {
    const here = Math.min(chunk.length - at, this.#left);
    if (this.#gatheredAt === 0 && here === this.#left) {
      this.#isInPayload = false;
      this.#handler.onFrame(this.#type, this.#flags, this.#stream, chunk.subarray(at, at + here));
      return at + here;
    }
    if (this.#gatheredAt === 0) this.#gathered = Buffer.allocUnsafeSlow(this.#left);
    chunk.copy(this.#gathered, this.#gatheredAt, at, at + here);
    this.#gatheredAt += here;
    this.#left -= here;
    if (this.#left > 0) return at + here;
    const payload = this.#gathered;
    this.#gathered = none;
    this.#gatheredAt = 0;
    this.#isInPayload = false;
    this.#handler.onFrame(this.#type, this.#flags, this.#stream, payload);
    // It may have been a block with a customer's key.
    payload.fill(0);
    return at + here;
  }

  #readData(chunk: Buffer, start: number): number {
    let at = start;
    if (this.#awaitsPadLength) {
      if (at === chunk.length) return at;
      this.#padding = chunk[at++]!;
      this.#awaitsPadLength = false;
      this.#left--;
      if (this.#padding > this.#left)
        throw new ConnectionError(errorCode.protocolError, 'more padding than frame');
      this.#handler.onPadding(this.#stream, this.#padding + 1);
    }
    const data = Math.min(chunk.length - at, this.#left - this.#padding);
    if (data > 0) {
      this.#handler.onData(this.#stream, chunk.subarray(at, at + data));
      at += data;
      this.#left -= data;
    }
    if (this.#left <= this.#padding) {
      const skipped = Math.min(chunk.length - at, this.#padding);
      at += skipped;
      this.#left -= skipped;
      this.#padding -= skipped;
    }
    if (this.#left > 0) return at;
    this.#isInPayload = false;
    this.#handler.onDataEnd(this.#stream, (this.#flags & flag.endStream) !== 0, this.#isEmpty);
    return at;
  }
}
