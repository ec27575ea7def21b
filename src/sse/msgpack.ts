/**
 * MessagePack (github.com/msgpack/msgpack/blob/master/spec.md), reading only, and of it what MinIO's files hold: no floats, no
 * extensions but the times it skips. Lengths are checked against the bytes that are there before anything is made of them.
 */
import { SelloError } from '../errors.ts';

export type Packed = null | boolean | number | bigint | string | Buffer | Packed[] | Map<string, Packed>;

/** MinIO's own structures are five deep. */
const maxDepth = 16;

export class PackReader {
  readonly #bytes: Buffer;
  #at: number;

  constructor(bytes: Buffer, at = 0) {
    this.#bytes = bytes;
    this.#at = at;
  }

  /** Position behind the last value. */
  get at(): number {
    return this.#at;
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  /** @throws SelloError SELLO_OBJECT_FORMAT_UNKNOWN */
  value(depth = 0): Packed {
    if (depth > maxDepth) throw malformed();
    const type = this.#take(1)[0]!;
    if (type <= 0x7f) return type;
    if (type >= 0xe0) return type - 0x100;
    if (type <= 0x8f) return this.#map(type & 0x0f, depth);
    if (type <= 0x9f) return this.#array(type & 0x0f, depth);
    if (type <= 0xbf) return this.#text(type & 0x1f);
    switch (type) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
        return this.#take(this.#unsigned(1));
      case 0xc5:
        return this.#take(this.#unsigned(2));
      case 0xc6:
        return this.#take(this.#unsigned(4));
      case 0xcc:
        return this.#unsigned(1);
      case 0xcd:
        return this.#unsigned(2);
      case 0xce:
        return this.#unsigned(4);
      case 0xcf:
        return narrowed(this.#take(8).readBigUInt64BE());
      case 0xd0:
        return this.#take(1).readInt8();
      case 0xd1:
        return this.#take(2).readInt16BE();
      case 0xd2:
        return this.#take(4).readInt32BE();
      case 0xd3:
        return narrowed(this.#take(8).readBigInt64BE());
      case 0xd9:
        return this.#text(this.#unsigned(1));
      case 0xda:
        return this.#text(this.#unsigned(2));
      case 0xdb:
        return this.#text(this.#unsigned(4));
      case 0xdc:
        return this.#array(this.#unsigned(2), depth);
      case 0xdd:
        return this.#array(this.#unsigned(4), depth);
      case 0xde:
        return this.#map(this.#unsigned(2), depth);
      case 0xdf:
        return this.#map(this.#unsigned(4), depth);
      default:
        throw malformed();
    }
  }

  #take(length: number): Buffer {
    /* Precondition: nothing behind the end is read. */
    if (this.#at + length > this.#bytes.length) throw malformed();
    const taken = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return taken;
  }

  #unsigned(bytes: 1 | 2 | 4): number {
    return this.#take(bytes).readUIntBE(0, bytes);
  }

  #text(length: number): string {
    return this.#take(length).toString('utf8');
  }

  #array(length: number, depth: number): Packed[] {
    const values: Packed[] = [];
    // Each value takes a byte at the least, so a length that lies ends with the bytes.
    for (let i = 0; i < length; i++) values.push(this.value(depth + 1));
    return values;
  }

  #map(length: number, depth: number): Map<string, Packed> {
    const values = new Map<string, Packed>();
    for (let i = 0; i < length; i++) {
      const name = this.value(depth + 1);
      /* Precondition: names are texts, and each is there once. */
      if (typeof name !== 'string' || values.has(name)) throw malformed();
      values.set(name, this.value(depth + 1));
    }
    return values;
  }
}

/** A writer may take eight bytes for any number: one value has one form here. */
function narrowed(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

function malformed(): SelloError {
  return new SelloError('SELLO_OBJECT_FORMAT_UNKNOWN', { detail: 'not MessagePack as MinIO writes it' });
}
