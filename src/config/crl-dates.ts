/**
 * When a certificate revocation list was made and when the next one is due: RFC 5280 section 5.1, the first fields
 * of TBSCertList. Enough to say that a list is stale or is none; revocation itself is decided elsewhere.
 */
export interface CrlDates {
  readonly thisUpdate: Date;
  readonly nextUpdate: Date | undefined;
}

const tag = { integer: 0x02, sequence: 0x30, utcTime: 0x17, generalizedTime: 0x18 } as const;

/** @throws when the bytes are no list in PEM or DER */
export function crlDates(bytes: Buffer): CrlDates {
  const pem = /-----BEGIN X509 CRL-----([\s\S]+?)-----END X509 CRL-----/.exec(bytes.toString('latin1'));
  const list = element(pem === null ? bytes : Buffer.from(pem[1]!, 'base64'), 0, tag.sequence);
  const { content } = element(list.content, 0, tag.sequence);
  let at = 0;
  if (content[at] === tag.integer) at = element(content, at, tag.integer).end;
  const algorithm = element(content, at, tag.sequence);
  const issuer = element(content, algorithm.end, tag.sequence);
  const thisUpdate = time(content, issuer.end);
  const next = content[thisUpdate.end];
  const hasNext = next === tag.utcTime || next === tag.generalizedTime;
  return {
    thisUpdate: thisUpdate.date,
    nextUpdate: hasNext ? time(content, thisUpdate.end).date : undefined,
  };
}

/** One DER element at `at`. */
function element(der: Buffer, at: number, expected: number): { content: Buffer; end: number } {
  const short = der[at + 1];
  if (der[at] !== expected || short === undefined) throw new Error('not a DER certificate revocation list');
  const lengthBytes = short < 0x80 ? 0 : short & 0x7f;
  if (short === 0x80 || lengthBytes > 4) throw new Error('not a DER length');
  const start = at + 2 + lengthBytes;
  if (start > der.length) throw new Error('DER element is cut off');
  const length = lengthBytes === 0 ? short : der.readUIntBE(at + 2, lengthBytes);
  if (start + length > der.length) throw new Error('DER element is cut off');
  return { content: der.subarray(start, start + length), end: start + length };
}

/** RFC 5280 4.1.2.5: UTCTime YYMMDDHHMMSSZ until 2049, GeneralizedTime YYYYMMDDHHMMSSZ from 2050. */
function time(der: Buffer, at: number): { date: Date; end: number } {
  const isUtc = der[at] === tag.utcTime;
  const { content, end } = element(der, at, isUtc ? tag.utcTime : tag.generalizedTime);
  const digits = (
    isUtc ? /^(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/ : /^(\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/
  ).exec(content.toString('latin1'));
  if (digits === null) throw new Error('not a time of RFC 5280');
  const [year, month, day, hour, minute, second] = digits.slice(1).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const fullYear = !isUtc ? year : year >= 50 ? 1900 + year : 2000 + year;
  return { date: new Date(Date.UTC(fullYear, month - 1, day, hour, minute, second)), end };
}
