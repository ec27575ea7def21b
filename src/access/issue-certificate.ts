/**
 * Issues certificates and revocation lists (RFC 5280): the client certificate of an API key, the server certificate
 * of `sello dev`, and every kind of good and bad certificate that tests need. Not a certificate authority: there are
 * no requests, no profiles, no state.
 */
import {
  createHash,
  createPublicKey,
  generateKeyPairSync,
  randomBytes,
  sign,
  type KeyObject,
} from 'node:crypto';
import { fieldsOfCertificate, identityOfPublicKey } from './certificate.ts';
import {
  bitString,
  boolean,
  explicit,
  implicit,
  namedBits,
  nothing,
  objectId,
  octetString,
  sequence,
  setOf,
  time,
  unsignedInteger,
  utf8String,
} from './der-writer.ts';
import { openSequence } from './der.ts';
import type { Identity } from './identity.ts';
import { ipAddressBytes } from './ip-address.ts';

export type CertificateKeyKind = 'ed25519' | 'p256' | 'p384' | 'rsa2048';
export type ExtendedKeyUsage = 'serverAuth' | 'clientAuth';

/** Who signs: a certificate and its private key. */
export interface CertificateIssuer {
  readonly certificateDer: Buffer;
  readonly privateKey: KeyObject;
}

export interface CertificateRequest {
  readonly commonName: string;
  readonly organization?: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** The subject's private key; without one a new key of `keyKind` is made. */
  readonly privateKey?: KeyObject;
  /** Default: p256. */
  readonly keyKind?: CertificateKeyKind;
  /** Without one the certificate signs itself. */
  readonly issuer?: CertificateIssuer;
  readonly ca?: boolean;
  /** Absent or empty: no such extension. */
  readonly extendedKeyUsage?: readonly ExtendedKeyUsage[];
  readonly dnsNames?: readonly string[];
  readonly ipAddresses?: readonly string[];
  /** Big-endian bytes; default: 16 random ones. */
  readonly serial?: Buffer;
}

export interface IssuedCertificate extends CertificateIssuer {
  readonly certificatePem: string;
  /** PKCS#8. */
  readonly privateKeyPem: string;
  /** As node's X509Certificate shows it: upper-case hexadecimal. */
  readonly serial: string;
  readonly identity: Identity;
}

const usageIds: Readonly<Record<ExtendedKeyUsage, string>> = {
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
};

const commonNameId = '2.5.4.3';
const organizationId = '2.5.4.10';

export function issueCertificate(request: CertificateRequest): IssuedCertificate {
  const privateKey = request.privateKey ?? generateKey(request.keyKind ?? 'p256');
  const publicKey = createPublicKey(privateKey).export({ format: 'der', type: 'spki' });
  const serial = request.serial ?? randomSerial();
  const subject = distinguishedName(request);
  const issuer = request.issuer;
  const issuerName = issuer === undefined ? subject : fieldsOfCertificate(issuer.certificateDer).subject;
  const signingKey = issuer?.privateKey ?? privateKey;
  const extensions = [
    extension('2.5.29.19', true, request.ca === true ? sequence(boolean(true)) : sequence()),
    extension('2.5.29.15', true, request.ca === true ? namedBits(0, 5, 6) : namedBits(0)),
    extension('2.5.29.14', false, octetString(keyIdOf(publicKey))),
  ];
  if (issuer !== undefined) {
    const issuerKeyId = keyIdOf(fieldsOfCertificate(issuer.certificateDer).publicKey);
    // An issuer made elsewhere may compute its key id otherwise, and a wrong one breaks the chain.
    if (issuer.certificateDer.includes(issuerKeyId)) {
      extensions.push(extension('2.5.29.35', false, sequence(implicit(0, issuerKeyId))));
    }
  }
  if (request.extendedKeyUsage !== undefined && request.extendedKeyUsage.length > 0) {
    const usages = request.extendedKeyUsage.map((usage) => objectId(usageIds[usage]));
    extensions.push(extension('2.5.29.37', false, sequence(...usages)));
  }
  const names = [
    ...(request.dnsNames ?? []).map((name) => implicit(2, Buffer.from(name, 'latin1'))),
    ...(request.ipAddresses ?? []).map((address) => implicit(7, ipAddressBytes(address))),
  ];
  if (names.length > 0) extensions.push(extension('2.5.29.17', false, sequence(...names)));
  const body = sequence(
    explicit(0, unsignedInteger(Buffer.from([2]))), // version 3
    unsignedInteger(serial),
    signatureAlgorithm(signingKey),
    issuerName,
    sequence(time(request.notBefore), time(request.notAfter)),
    subject,
    publicKey,
    explicit(3, sequence(...extensions)),
  );
  const certificateDer = signed(body, signingKey);
  return {
    certificateDer,
    certificatePem: pem('CERTIFICATE', certificateDer),
    privateKey,
    privateKeyPem: privateKey.export({ format: 'pem', type: 'pkcs8' }) as string,
    serial: serial.toString('hex').toUpperCase().replace(/^(?:00)+(?=..)/, ''), // prettier-ignore
    identity: identityOfPublicKey(publicKey),
  };
}

export interface RevocationListRequest {
  readonly issuer: CertificateIssuer;
  readonly thisUpdate: Date;
  readonly nextUpdate: Date;
  /** Serials in hexadecimal. */
  readonly revoked: readonly { readonly serial: string; readonly at: Date }[];
  /** Grows with each list of one issuer; default 1. */
  readonly number?: number;
}

/** A certificate revocation list (RFC 5280 §5) as PEM. */
export function issueRevocationList(request: RevocationListRequest): string {
  const { issuer, thisUpdate, nextUpdate, revoked, number = 1 } = request;
  const { subject, publicKey } = fieldsOfCertificate(issuer.certificateDer);
  const entries = revoked.map(({ serial, at }) =>
    sequence(unsignedInteger(Buffer.from(serial, 'hex')), time(at)),
  );
  const numberBytes = Buffer.alloc(4);
  numberBytes.writeUInt32BE(number);
  const body = sequence(
    unsignedInteger(Buffer.from([1])), // version 2
    signatureAlgorithm(issuer.privateKey),
    subject,
    time(thisUpdate),
    time(nextUpdate),
    ...(entries.length > 0 ? [sequence(...entries)] : []), // an empty list must be left out
    explicit(
      0,
      sequence(
        extension('2.5.29.35', false, sequence(implicit(0, keyIdOf(publicKey)))),
        extension('2.5.29.20', false, unsignedInteger(numberBytes)),
      ),
    ),
  );
  return pem('X509 CRL', signed(body, issuer.privateKey));
}

const dayMs = 86_400_000;

export interface ServerCertificateRequest {
  readonly names: readonly string[];
  readonly ips: readonly string[];
  readonly days: number;
  readonly now?: Date;
}

/** A self-signed P-256 server certificate, as `sello dev` uses it. */
export function serverCertificate({
  names,
  ips,
  days,
  now = new Date(),
}: ServerCertificateRequest): IssuedCertificate {
  return issueCertificate({
    commonName: names[0] ?? ips[0] ?? 'sello',
    notBefore: now,
    notAfter: new Date(now.getTime() + days * dayMs),
    extendedKeyUsage: ['serverAuth'],
    dnsNames: names,
    ipAddresses: ips,
  });
}

function generateKey(kind: CertificateKeyKind): KeyObject {
  switch (kind) {
    case 'ed25519':
      return generateKeyPairSync('ed25519').privateKey;
    case 'p256':
      return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    case 'p384':
      return generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey;
    case 'rsa2048':
      return generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
  }
}

/** 126 random bits in 16 bytes, positive and always of one length (RFC 5280 §4.1.2.2: at most 20 bytes). */
function randomSerial(): Buffer {
  const serial = randomBytes(16);
  serial[0] = (serial[0]! & 0x7f) | 0x40;
  return serial;
}

function distinguishedName({ commonName, organization }: CertificateRequest): Buffer {
  const attribute = (id: string, value: string) => setOf(sequence(objectId(id), utf8String(value)));
  const parts = organization === undefined ? [] : [attribute(organizationId, organization)];
  return sequence(...parts, attribute(commonNameId, commonName));
}

function extension(id: string, critical: boolean, value: Buffer): Buffer {
  return sequence(objectId(id), ...(critical ? [boolean(true)] : []), octetString(value));
}

/** The first 160 bits of SHA-256 over the public key's bits (RFC 7093 §2, method 1). */
function keyIdOf(subjectPublicKeyInfo: Buffer): Buffer {
  const fields = openSequence(subjectPublicKeyInfo);
  fields.next(); // algorithm
  const bits = fields.next();
  return createHash('sha256').update(bits.content.subarray(1)).digest().subarray(0, 20);
}

function signatureAlgorithm(key: KeyObject): Buffer {
  switch (key.asymmetricKeyType) {
    case 'ed25519':
      return sequence(objectId('1.3.101.112'));
    case 'ec':
      return sequence(objectId('1.2.840.10045.4.3.2')); // ecdsa-with-SHA256
    case 'rsa':
      return sequence(objectId('1.2.840.113549.1.1.11'), nothing()); // sha256WithRSAEncryption
    default:
      throw new TypeError(`a key of type ${key.asymmetricKeyType ?? 'none'} cannot sign certificates`);
  }
}

function signed(body: Buffer, key: KeyObject): Buffer {
  const signature = sign(key.asymmetricKeyType === 'ed25519' ? null : 'sha256', body, key);
  return sequence(body, signatureAlgorithm(key), bitString(signature));
}

function pem(label: string, der: Buffer): string {
  const lines = der.toString('base64').replace(/.{64}(?=.)/g, '$&\n');
  return `-----BEGIN ${label}-----\n${lines}\n-----END ${label}-----\n`;
}
