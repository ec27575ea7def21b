/**
 * What Sello judges a certificate by, read once from its DER (RFC 5280 §4.1). `X509Certificate.ca` is not used: it is
 * false for a CA:TRUE certificate whose key usage lacks keyCertSign, and KES goes by basicConstraints alone.
 */
import type { X509Certificate } from 'node:crypto';
import { createHash } from 'node:crypto';
import { bool, derTag, DerReader, MalformedDer, openSequence, readExtensions, serialHex, smallInteger, timeMs } from './der.ts'; // prettier-ignore
import type { DerExtension } from './der.ts';
import type { Identity } from './identity.ts';

export interface CertificateFacts {
  readonly x509: X509Certificate;
  readonly der: Buffer;
  /** Lower-case hex SHA-256 of the SubjectPublicKeyInfo as sent. */
  readonly spkiSha256: Identity;
  readonly serial: string;
  /** DER of the names, for comparison byte by byte. */
  readonly issuer: Buffer;
  readonly subject: Buffer;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly isCa: boolean;
  readonly maxPathLength: number | undefined;
  /** undefined: no keyUsage extension, so no limit. */
  readonly keyUsage: { readonly certSign: boolean; readonly crlSign: boolean } | undefined;
  /** undefined: no extKeyUsage extension. */
  readonly extendedKeyUsage: { readonly clientAuth: boolean; readonly any: boolean } | undefined;
  /** True when a critical extension is there that we do not process, such as nameConstraints. */
  readonly hasUnknownCriticalExtension: boolean;
  /** Hex of the signature algorithm's OID. */
  readonly signatureOid: string;
}

const oid = {
  keyUsage: '551d0f',
  subjectAltName: '551d11',
  issuerAltName: '551d12',
  basicConstraints: '551d13',
  certificatePolicies: '551d20',
  extKeyUsage: '551d25',
  anyExtendedKeyUsage: '551d2500',
  clientAuth: '2b06010505070302',
} as const;

/** Names and policies restrict nothing here: identity is the key, and no policy is asked for. */
const processedExtensions: ReadonlySet<string> = new Set([
  oid.keyUsage, oid.subjectAltName, oid.issuerAltName, oid.basicConstraints, oid.certificatePolicies, oid.extKeyUsage,
]); // prettier-ignore

/** @throws MalformedDer */
export function readCertificate(x509: X509Certificate): CertificateFacts {
  const der = x509.raw;
  const certificate = openSequence(der);
  const tbs = new DerReader(certificate.expect(derTag.sequence).content);
  const signatureOid = new DerReader(certificate.expect(derTag.sequence).content)
    .expect(derTag.oid)
    .content.toString('hex');
  tbs.optional(0xa0); // version
  const serial = serialHex(tbs.expect(derTag.integer));
  tbs.expect(derTag.sequence); // signature algorithm; OpenSSL checks that both are equal
  const issuer = tbs.expect(derTag.sequence).raw;
  const validity = new DerReader(tbs.expect(derTag.sequence).content);
  const notBeforeMs = timeMs(validity.next());
  const notAfterMs = timeMs(validity.next());
  const subject = tbs.expect(derTag.sequence).raw;
  const spki = tbs.expect(derTag.sequence).raw;
  tbs.optional(0x81); // unique identifiers
  tbs.optional(0x82);
  const extensionsField = tbs.optional(0xa3);
  tbs.end();
  const extensions = extensionsField === undefined ? [] : readExtensions(extensionsField.content);
  const valueOf = (wanted: string) => extensions.find((each) => each.oid === wanted)?.value;
  return {
    x509,
    der,
    spkiSha256: createHash('sha256').update(spki).digest('hex') as Identity,
    serial,
    issuer,
    subject,
    notBeforeMs,
    notAfterMs,
    ...basicConstraints(valueOf(oid.basicConstraints)),
    keyUsage: keyUsage(valueOf(oid.keyUsage)),
    extendedKeyUsage: extendedKeyUsage(valueOf(oid.extKeyUsage)),
    hasUnknownCriticalExtension: extensions.some(isUnknownAndCritical),
    signatureOid,
  };
}

function isUnknownAndCritical(extension: DerExtension): boolean {
  return extension.critical && !processedExtensions.has(extension.oid);
}

/** `BasicConstraints ::= SEQUENCE { cA BOOLEAN DEFAULT FALSE, pathLenConstraint INTEGER OPTIONAL }` */
function basicConstraints(value: Buffer | undefined): Pick<CertificateFacts, 'isCa' | 'maxPathLength'> {
  if (value === undefined) return { isCa: false, maxPathLength: undefined };
  const fields = openSequence(value);
  const ca = fields.optional(derTag.boolean);
  const length = fields.optional(derTag.integer);
  fields.end();
  return {
    isCa: ca !== undefined && bool(ca.content),
    maxPathLength: length === undefined ? undefined : smallInteger(length.content),
  };
}

function keyUsage(value: Buffer | undefined): CertificateFacts['keyUsage'] {
  if (value === undefined) return undefined;
  const reader = new DerReader(value);
  const bits = reader.expect(derTag.bitString).content;
  reader.end();
  if (bits.length < 1) throw new MalformedDer('key usage');
  const first = bits[1] ?? 0;
  return { certSign: (first & 0x04) !== 0, crlSign: (first & 0x02) !== 0 };
}

function extendedKeyUsage(value: Buffer | undefined): CertificateFacts['extendedKeyUsage'] {
  if (value === undefined) return undefined;
  const reader = openSequence(value);
  const usages = new Set<string>();
  while (!reader.isAtEnd) usages.add(reader.expect(derTag.oid).content.toString('hex'));
  return { clientAuth: usages.has(oid.clientAuth), any: usages.has(oid.anyExtendedKeyUsage) };
}
