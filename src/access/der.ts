/**
 * A reader for the DER that certificates and CRLs are made of (X.690): single-byte tags, definite lengths in their
 * shortest form, nothing outside its parent. Node shows neither the raw SubjectPublicKeyInfo of a certificate (an
 * exported key is encoded anew, and KES hashes what was sent) nor CRLs. Signatures are OpenSSL's to check.
 */
export const derTag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  enumerated: 0x0a,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
} as const;

export class MalformedDer extends Error {
  constructor(what: string) {
    super(`malformed DER: ${what}`);
    this.name = 'MalformedDer';
  }
}

export interface DerElement {
  readonly tag: number;
  /** Header and content. */
  readonly raw: Buffer;
  readonly content: Buffer;
}

/** Walks the elements of one constructed value. */
export class DerReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  /** Tag of the next element, undefined at the end. */
  get nextTag(): number | undefined {
    return this.#bytes[this.#at];
  }

  next(): DerElement {
    const start = this.#at;
    const tag = this.#byte();
    if ((tag & 0x1f) === 0x1f) throw new MalformedDer('tag of more than one byte');
    let length = this.#byte();
    if (length >= 0x80) {
      const lengthBytes = length & 0x7f;
      if (lengthBytes === 0 || lengthBytes > 4) throw new MalformedDer('length');
      length = 0;
      for (let index = 0; index < lengthBytes; index += 1) length = length * 256 + this.#byte();
      if (length < 0x80 || length < 2 ** (8 * (lengthBytes - 1)))
        throw new MalformedDer('length is not the shortest');
    }
    const contentStart = this.#at;
    const end = contentStart + length;
    if (end > this.#bytes.length) throw new MalformedDer('length runs out of its parent');
    this.#at = end;
    return { tag, raw: this.#bytes.subarray(start, end), content: this.#bytes.subarray(contentStart, end) };
  }

  expect(tag: number): DerElement {
    const element = this.next();
    if (element.tag !== tag) throw new MalformedDer(`tag ${element.tag} where ${tag} belongs`);
    return element;
  }

  optional(tag: number): DerElement | undefined {
    return this.nextTag === tag ? this.next() : undefined;
  }

  end(): void {
    if (!this.isAtEnd) throw new MalformedDer('bytes after the last element');
  }

  #byte(): number {
    const byte = this.#bytes[this.#at];
    if (byte === undefined) throw new MalformedDer('cut short');
    this.#at += 1;
    return byte;
  }
}

/** The one element `bytes` consist of, entered. */
export function openSequence(bytes: Buffer): DerReader {
  const outer = new DerReader(bytes);
  const sequence = outer.expect(derTag.sequence);
  outer.end();
  return new DerReader(sequence.content);
}

/** Hex of the magnitude without leading zeros: one form for a serial number wherever it comes from. */
export function serialHex(integer: DerElement): string {
  const { content } = integer;
  if (content.length === 0) throw new MalformedDer('empty integer');
  let start = 0;
  while (start < content.length - 1 && content[start] === 0) start += 1;
  return content.toString('hex', start);
}

/** Small non-negative integers: versions, path lengths. */
export function smallInteger(content: Buffer): number {
  if (content.length === 0 || content.length > 4 || content[0]! >= 0x80) throw new MalformedDer('integer');
  return content.readUIntBE(0, content.length);
}

export function bool(content: Buffer): boolean {
  if (content.length !== 1) throw new MalformedDer('boolean');
  return content[0] !== 0;
}

/** UTCTime or GeneralizedTime as RFC 5280 §4.1.2.5 allows them: to the second, in UTC. Milliseconds since the epoch. */
export function timeMs(element: DerElement): number {
  const text = element.content.toString('latin1');
  const isUtcTime = element.tag === derTag.utcTime;
  if (!isUtcTime && element.tag !== derTag.generalizedTime) throw new MalformedDer('time');
  const match = (
    isUtcTime ? /^(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/ : /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/
  ).exec(text);
  if (match === null) throw new MalformedDer('time');
  const [year, month, day, hour, minute, second] = match.slice(1).map(Number) as [
    number, number, number, number, number, number,
  ]; // prettier-ignore
  const fullYear = isUtcTime ? year + (year < 50 ? 2000 : 1900) : year;
  const date = new Date(0);
  date.setUTCFullYear(fullYear, month - 1, day);
  date.setUTCHours(hour, minute, second);
  if (
    date.getUTCMonth() !== month - 1 ||
    date.getUTCDate() !== day ||
    hour > 23 ||
    minute > 59 ||
    second > 59
  ) {
    throw new MalformedDer('time');
  }
  return date.getTime();
}

export interface DerExtension {
  /** Content bytes of the OID in hex. */
  readonly oid: string;
  readonly critical: boolean;
  readonly value: Buffer;
}

/** `Extensions ::= SEQUENCE OF SEQUENCE { OID, critical BOOLEAN DEFAULT FALSE, OCTET STRING }`, no OID twice (RFC 5280 §4.2). */
export function readExtensions(sequence: Buffer): DerExtension[] {
  const reader = openSequence(sequence);
  const extensions: DerExtension[] = [];
  while (!reader.isAtEnd) {
    const fields = new DerReader(reader.expect(derTag.sequence).content);
    const oid = fields.expect(derTag.oid).content.toString('hex');
    const critical = fields.optional(derTag.boolean);
    const value = fields.expect(derTag.octetString).content;
    fields.end();
    if (extensions.some((each) => each.oid === oid)) throw new MalformedDer('extension is there twice');
    extensions.push({ oid, critical: critical !== undefined && bool(critical.content), value });
  }
  return extensions;
}
