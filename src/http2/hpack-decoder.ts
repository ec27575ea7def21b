/**
 * HPACK for reading (RFC 7541). Fields of the table are judged when they enter it, so that a client that sends the same fields again, as storage
 * nodes do, costs an index each.
 */
import { field, type Field } from './field.ts';
import { decodeHuffman } from './huffman.ts';
import { staticFields } from './static-table.ts';

/** A block that cannot be read: the state of both sides' tables has parted, so the connection ends with COMPRESSION_ERROR. */
export class HpackError extends Error {}

const firstDynamic = staticFields.length + 1;

export class HpackDecoder {
  /** A ring; the newest field is at {@link #newest}. */
  #ring: (Field | undefined)[] = new Array<Field | undefined>(64);
  #newest = 0;
  #count = 0;
  #bytes = 0;
  /** What the client has said its table holds at most. */
  #maxBytes: number;
  /** What we have allowed. */
  #limitBytes: number;
  /** The limit went below what the table may hold: the next block has to say so first (RFC 7541 §4.2). */
  #awaitsUpdate = false;
  #text = Buffer.alloc(0);
  /** Goes up when the table changes: a block read before means the same fields as long as this is the same. */
  generation = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
    this.#maxBytes = limitBytes;
  }

  /** SETTINGS_HEADER_TABLE_SIZE, once the client has acknowledged it. */
  limit(bytes: number): void {
    this.#limitBytes = bytes;
    if (bytes < this.#maxBytes) this.#awaitsUpdate = true;
  }

  /**
   * Reads one whole block.
   * @throws HpackError
   */
  decode(block: Buffer, take: (field: Field) => void): void {
    const end = block.length;
    let at = 0;
    let maySize = true;
    const reader = this.#reader;
    reader.block = block;
    while (at < end) {
      const first = block[at]!;
      if (first >= 0x80) {
        const index = first < 0xff ? first & 0x7f : reader.integer(at, 7);
        at = first < 0xff ? at + 1 : reader.at;
        this.#begin();
        take(this.#at(index));
      } else if (first >= 0x40) {
        const entry = this.#literal(reader, at, 6);
        at = reader.at;
        this.#add(entry);
        take(entry);
      } else if (first >= 0x20) {
        if (!maySize) throw new HpackError('size update behind a field');
        const bytes = reader.integer(at, 5);
        at = reader.at;
        if (bytes > this.#limitBytes) throw new HpackError('table larger than allowed');
        this.#awaitsUpdate = false;
        this.#maxBytes = bytes;
        this.#evict(bytes);
        continue;
      } else {
        // Without indexing, or never to be indexed.
        const entry = this.#literal(reader, at, 4);
        at = reader.at;
        take(entry);
      }
      maySize = false;
    }
  }

  readonly #reader = new Reader();

  #begin(): void {
    if (this.#awaitsUpdate) throw new HpackError('table not made smaller');
  }

  #literal(reader: Reader, at: number, bits: number): Field {
    this.#begin();
    const index = reader.integer(at, bits);
    const name = index === 0 ? this.#string(reader) : this.#at(index).name;
    return field(name, this.#string(reader));
  }

  #string(reader: Reader): string {
    const { block } = reader;
    if (reader.at >= block.length) throw new HpackError('cut short');
    const isHuffman = block[reader.at]! >= 0x80;
    const length = reader.integer(reader.at, 7);
    const start = reader.at;
    const end = start + length;
    if (end > block.length) throw new HpackError('cut short');
    reader.at = end;
    if (!isHuffman) return block.toString('latin1', start, end);
    const most = Math.ceil((length * 8) / 5);
    if (this.#text.length < most) this.#text = Buffer.alloc(Math.max(256, most));
    const decoded = decodeHuffman(block, start, end, this.#text);
    if (decoded < 0) throw new HpackError('no Huffman code');
    const text = this.#text.toString('latin1', 0, decoded);
    // What has come through here may be a customer's key.
    this.#text.fill(0, 0, decoded);
    return text;
  }

  #at(index: number): Field {
    if (index >= firstDynamic) {
      const back = index - firstDynamic;
      if (back < this.#count) return this.#ring[(this.#newest - back) & (this.#ring.length - 1)]!;
    } else if (index > 0) return staticFields[index - 1]!;
    throw new HpackError(`no field ${index}`);
  }

  #add(entry: Field): void {
    this.generation++;
    this.#evict(this.#maxBytes - entry.bytes);
    // A field larger than the table empties it and is not kept (RFC 7541 §4.4).
    if (entry.bytes > this.#maxBytes) return;
    if (this.#count === this.#ring.length) this.#grow();
    this.#newest = (this.#newest + 1) & (this.#ring.length - 1);
    this.#ring[this.#newest] = entry;
    this.#count++;
    this.#bytes += entry.bytes;
  }

  #evict(mostBytes: number): void {
    while (this.#count > 0 && this.#bytes > mostBytes) {
      const oldest = (this.#newest - this.#count + 1) & (this.#ring.length - 1);
      this.#bytes -= this.#ring[oldest]!.bytes;
      this.#ring[oldest] = undefined;
      this.#count--;
      this.generation++;
    }
  }

  #grow(): void {
    const old = this.#ring;
    this.#ring = new Array<Field | undefined>(old.length * 2);
    for (let back = 0; back < this.#count; back++)
      this.#ring[this.#count - 1 - back] = old[(this.#newest - back) & (old.length - 1)];
    this.#newest = this.#count - 1;
  }
}

/** No length or index of a block is larger; a longer one is an attack or an error. */
const mostInteger = 1_048_576;

class Reader {
  block: Buffer = Buffer.alloc(0);
  /** Where the next part begins. */
  at = 0;

  /** An integer with `bits` in its first byte (RFC 7541 §5.1). @throws HpackError */
  integer(start: number, bits: number): number {
    const { block } = this;
    const mask = (1 << bits) - 1;
    let at = start;
    let value = block[at++]! & mask;
    if (value === mask) {
      for (let shift = 0; ; shift += 7) {
        if (at >= block.length) throw new HpackError('cut short');
        const byte = block[at++]!;
        value += (byte & 0x7f) * 2 ** shift;
        if (value > mostInteger || shift > 21) throw new HpackError('integer too large');
        if (byte < 0x80) break;
      }
    }
    this.at = at;
    return value;
  }
}
