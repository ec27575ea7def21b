/** Header blocks of a connection: gathered from their frames, read in the order they came, because the table depends on all of them. */
import { ConnectionError } from './frame-reader.ts';
import { errorCode } from './frame.ts';
import type { Field } from './field.ts';
import { HpackDecoder } from './hpack-decoder.ts';
import { RequestHeadReader, type HeadProblem, type RequestHead } from './request-head.ts';

/** As nghttp2: after CVE-2024-28182. */
const mostContinuations = 8;
const mostBlockBytes = 65_536;
const mostRemembered = 8;
const mostRememberedBytes = 128;

/** A block on its way. */
interface Gathering {
  readonly stream: number;
  readonly isEnd: boolean;
  readonly sinceMs: number;
  readonly parts: Buffer[];
  bytes: number;
  frames: number;
}

export interface WholeBlock {
  readonly stream: number;
  /** No body follows. */
  readonly isEnd: boolean;
  /** The reader overwrites it. */
  readonly bytes: Buffer;
}

interface Remembered {
  readonly bytes: Buffer;
  readonly generation: number;
  readonly isWhole: boolean;
  readonly head: RequestHead;
}

export class HeaderBlocks {
  readonly #decoder = new HpackDecoder(4096);
  readonly #heads: RequestHeadReader;
  readonly #remembered: Remembered[] = [];
  #gathering: Gathering | undefined;

  /** @param mostBytes of a request's fields, as RFC 9113 §10.5.1 counts them */
  constructor(mostBytes: number) {
    this.#heads = new RequestHeadReader(mostBytes);
  }

  /** Since when a block has been on its way. */
  get sinceMs(): number | undefined {
    return this.#gathering?.sinceMs;
  }

  /** The first part of a block that goes on in CONTINUATION. */
  begin(stream: number, isEnd: boolean, part: Buffer, nowMs: number): void {
    const parts = [Buffer.from(part)];
    this.#gathering = { stream, isEnd, sinceMs: nowMs, parts, bytes: part.length, frames: 0 };
  }

  /** @returns the block, when this is its end. @throws ConnectionError */
  goOn(stream: number, part: Buffer, isLast: boolean): WholeBlock | undefined {
    const block = this.#gathering;
    if (block?.stream !== stream) throw new ConnectionError(errorCode.protocolError, 'nothing to continue');
    block.bytes += part.length;
    if (++block.frames > mostContinuations || block.bytes > mostBlockBytes)
      throw new ConnectionError(errorCode.enhanceYourCalm, 'header block too long');
    block.parts.push(Buffer.from(part));
    if (!isLast) return undefined;
    this.#gathering = undefined;
    const bytes = Buffer.concat(block.parts);
    // It may carry a customer's key.
    for (const each of block.parts) each.fill(0);
    return { stream, isEnd: block.isEnd, bytes };
  }

  /** A frame of another kind may come now. @throws ConnectionError */
  expectNone(): void {
    if (this.#gathering !== undefined)
      throw new ConnectionError(errorCode.protocolError, 'a header block was broken off');
  }

  /** SETTINGS_HEADER_TABLE_SIZE, once the client has acknowledged it. */
  limitTable(bytes: number): void {
    this.#decoder.limit(bytes);
  }

  /** A block whose fields nobody needs: the table takes them. @throws HpackError */
  skip(block: Buffer): void {
    this.#decoder.decode(block, ignore);
  }

  /**
   * A block of nothing but places in tables means the same as long as the tables do.
   * @param isWhole no body follows
   * @throws HpackError
   */
  read(block: Buffer, isWhole: boolean): RequestHead | HeadProblem {
    const { generation } = this.#decoder;
    const isShort = block.length <= mostRememberedBytes;
    if (isShort) {
      for (const known of this.#remembered) {
        if (known.generation === generation && known.isWhole === isWhole && known.bytes.equals(block))
          return known.head;
      }
    }
    this.#heads.begin();
    this.#decoder.decode(block, this.#heads.take);
    const head = this.#heads.end(isWhole);
    if (typeof head === 'string' || !isShort) return head;
    if (this.#decoder.generation !== generation || !block.every(isIndex)) return head;
    if (this.#remembered.length === mostRemembered) this.#remembered.shift();
    this.#remembered.push({ bytes: Buffer.from(block), generation, isWhole, head });
    return head;
  }
}

function ignore(_field: Field): void {
  // The table takes it.
}

function isIndex(byte: number): boolean {
  return byte >= 0x80 && byte < 0xff;
}
