/** Just enough DER (ITU-T X.690) to write a certificate. */

export function sequence(...items: readonly Buffer[]): Buffer {
  return element(0x30, Buffer.concat(items));
}

/** A non-negative integer from its big-endian bytes, the first of which must be below 0x80. */
export function integer(bytes: Buffer): Buffer {
  return element(0x02, bytes);
}

export function bool(value: boolean): Buffer {
  return element(0x01, Buffer.of(value ? 0xff : 0));
}

export function octets(content: Buffer): Buffer {
  return element(0x04, content);
}

export function bitString(content: Buffer): Buffer {
  return element(0x03, Buffer.concat([Buffer.of(0), content]));
}

/** Context-specific tag, number below 31. */
export function context(
  number: number,
  content: Buffer,
  form: 'primitive' | 'constructed' = 'primitive',
): Buffer {
  return element(0x80 | number | (form === 'constructed' ? 0x20 : 0), content);
}

export function objectId(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const bytes = [first * 40 + second];
  for (const arc of rest) {
    const digits = [arc & 0x7f];
    for (let left = arc >>> 7; left > 0; left >>>= 7) digits.unshift((left & 0x7f) | 0x80);
    bytes.push(...digits);
  }
  return element(0x06, Buffer.from(bytes));
}

/** YYMMDDHHMMSSZ; for the years 1950 to 2049 (RFC 5280 §4.1.2.5.1). */
export function utcTime(date: Date): Buffer {
  const digits = date.toISOString().replace(/[-:T]|\..*/g, '');
  return element(0x17, Buffer.from(`${digits.slice(2)}Z`));
}

/** A distinguished name of one common name. */
export function name(commonName: string): Buffer {
  const attribute = sequence(objectId('2.5.4.3'), element(0x0c, Buffer.from(commonName)));
  return sequence(element(0x31, attribute));
}

export function pem(label: string, der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}

function element(tag: number, content: Buffer): Buffer {
  const { length } = content;
  const lengthBytes =
    length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.of(tag, ...lengthBytes), content]);
}
