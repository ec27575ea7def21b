/**
 * The part of the Protocol Buffers wire format that KES's stored keys need: varints and length-delimited fields.
 * Fields of other numbers, and of the other wire types, are skipped, as every protobuf reader does.
 */

export interface Field {
  readonly number: number;
  /** The value of a varint field (wire type 0). */
  readonly varint: bigint | undefined;
  /** The value of a length-delimited field (wire type 2): a view of the message, not a copy. */
  readonly bytes: Buffer | undefined;
}

/** A message that is cut short or not protobuf. Holds no byte of it. */
export class ProtobufError extends Error {}

/** The fields of a message in the order they stand. @throws ProtobufError */
export function* readFields(message: Buffer): Generator<Field, void, undefined> {
  let at = 0;

  function readVarint(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = message[at++];
      if (byte === undefined) throw new ProtobufError('varint is cut short');
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
    throw new ProtobufError('varint is longer than ten bytes');
  }

  function take(length: number): Buffer {
    if (length > message.length - at) throw new ProtobufError('field is cut short');
    at += length;
    return message.subarray(at - length, at);
  }

  while (at < message.length) {
    const tag = readVarint();
    const number = Number(tag >> 3n);
    if (number < 1 || number > 0x1fffffff) throw new ProtobufError('field number is out of range');
    switch (Number(tag & 7n)) {
      case 0:
        yield { number, varint: readVarint(), bytes: undefined };
        break;
      case 1:
        take(8);
        break;
      case 2: {
        const length = readVarint();
        yield { number, varint: undefined, bytes: take(length > 0x7fffffffn ? Infinity : Number(length)) };
        break;
      }
      case 5:
        take(4);
        break;
      default:
        throw new ProtobufError('wire type is not supported'); // groups, which proto3 does not have
    }
  }
}

/** Bytes a varint takes; negative numbers take ten, as two's complement of 64 bits. */
export function varintLength(value: bigint): number {
  let rest = BigInt.asUintN(64, value);
  let length = 1;
  while (rest >= 0x80n) {
    rest >>= 7n;
    length++;
  }
  return length;
}

/** Writes fields into one buffer whose size was computed before, so that secrets are not copied about. */
export class FieldWriter {
  readonly #target: Buffer;
  #at = 0;

  constructor(target: Buffer) {
    this.#target = target;
  }

  varint(value: bigint): this {
    let rest = BigInt.asUintN(64, value);
    while (rest >= 0x80n) {
      this.#byte(Number(rest & 0x7fn) | 0x80);
      rest >>= 7n;
    }
    this.#byte(Number(rest));
    return this;
  }

  /** Tag of a varint field. */
  varintTag(number: number): this {
    return this.varint(BigInt(number << 3));
  }

  /** Tag and length of a length-delimited field; its content follows. */
  header(number: number, length: number): this {
    return this.varint(BigInt((number << 3) | 2)).varint(BigInt(length));
  }

  bytes(content: Uint8Array): this {
    this.#target.set(content, this.#at);
    this.#at += content.length;
    return this;
  }

  #byte(value: number): void {
    if (this.#at >= this.#target.length) throw new RangeError('protobuf target is too small');
    this.#target[this.#at++] = value;
  }
}
