/** Frames of a connection on their way out, but for DATA (body-sender.ts). */
import type { OutgoingHttpHeaders } from 'node:http';
import {
  flag,
  frameHeadBytes,
  frameType,
  maxFrameBytes,
  writeFrameHead,
  writeUint32,
  type ErrorCode,
} from './frame.ts';
import { encodeHead, headRoom, noTable } from './hpack-encoder.ts';
import type { Outbox } from './outbox.ts';

export class FrameWriter {
  readonly #out: Outbox;
  #saidNoTable = false;

  constructor(out: Outbox) {
    this.#out = out;
  }

  settings(settings: readonly (readonly [number, number])[]): void {
    const length = settings.length * 6;
    const out = this.#out.room(frameHeadBytes + length);
    let at = writeFrameHead(out, this.#out.at, length, frameType.settings, 0, 0);
    for (const [name, value] of settings) {
      out[at] = 0;
      out[at + 1] = name;
      at = writeUint32(out, at + 2, value);
    }
    this.#out.wrote(at);
  }

  acknowledgeSettings(): void {
    const out = this.#out.room(frameHeadBytes);
    this.#out.wrote(writeFrameHead(out, this.#out.at, 0, frameType.settings, flag.ack, 0));
  }

  windowUpdate(stream: number, bytes: number): void {
    this.#number(frameType.windowUpdate, stream, bytes);
  }

  reset(stream: number, code: ErrorCode): void {
    this.#number(frameType.reset, stream, code);
  }

  #number(type: number, stream: number, value: number): void {
    const out = this.#out.room(frameHeadBytes + 4);
    const at = writeFrameHead(out, this.#out.at, 4, type, 0, stream);
    this.#out.wrote(writeUint32(out, at, value));
  }

  /** @param payload 8 bytes */
  ping(isAnswer: boolean, payload: Buffer): void {
    const out = this.#out.room(frameHeadBytes + 8);
    const at = writeFrameHead(out, this.#out.at, 8, frameType.ping, isAnswer ? flag.ack : 0, 0);
    this.#out.wrote(at + payload.copy(out, at));
  }

  goaway(code: ErrorCode, lastStream: number): void {
    const out = this.#out.room(frameHeadBytes + 8);
    let at = writeFrameHead(out, this.#out.at, 8, frameType.goaway, 0, 0);
    at = writeUint32(out, at, lastStream);
    this.#out.wrote(writeUint32(out, at, code));
  }

  /** Status and fields of an answer; `isEnd`: it has no body. */
  head(stream: number, status: number, headers: OutgoingHttpHeaders | undefined, isEnd: boolean): void {
    const room = this.#out.room(frameHeadBytes + headRoom(headers));
    const from = this.#out.at;
    let at = from + frameHeadBytes;
    if (!this.#saidNoTable) room[at++] = noTable;
    at = encodeHead(room, at, status, headers, status >= 200);
    this.#saidNoTable = true;
    const length = at - from - frameHeadBytes;
    /* Precondition: our own fields are far shorter. */
    if (length > maxFrameBytes) throw new RangeError(`answer with ${length} bytes of fields`);
    const flags = flag.endHeaders | (isEnd ? flag.endStream : 0);
    writeFrameHead(room, from, length, frameType.headers, flags, stream);
    this.#out.wrote(at);
  }
}
