/** Certificates and CRLs for tests, issued on the spot. */
import './reflect-metadata.ts';
import { KeyObject, randomBytes, webcrypto, X509Certificate } from 'node:crypto';
import * as x509 from '@peculiar/x509';

x509.cryptoProvider.set(webcrypto as unknown as Crypto);

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
export const { KeyUsageFlags } = x509;
export const startMs = Date.UTC(2026, 0, 1);
export const dayMs = 86_400_000;

export interface Issued {
  readonly name: string;
  readonly keys: webcrypto.CryptoKeyPair;
  readonly cert: X509Certificate;
  readonly certPem: string;
  readonly keyPem: string;
}

export interface IssueOptions {
  /** Self-signed when absent. */
  readonly issuer?: Issued;
  readonly isCa?: boolean;
  /** Leaves basicConstraints out altogether. */
  readonly withoutBasicConstraints?: boolean;
  readonly pathLength?: number;
  readonly keyUsage?: number;
  readonly eku?: readonly string[];
  readonly notBeforeMs?: number;
  readonly notAfterMs?: number;
  readonly serialNumber?: string;
  readonly keys?: webcrypto.CryptoKeyPair;
  readonly extensions?: readonly x509.Extension[];
  readonly signingAlgorithm?: typeof algorithm | { name: 'ECDSA'; namedCurve: 'P-256'; hash: 'SHA-1' };
}

export const clientAuth = '1.3.6.1.5.5.7.3.2';
export const serverAuth = '1.3.6.1.5.5.7.3.1';
export const anyUsage = '2.5.29.37.0';

export async function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return (await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
}

export async function issue(name: string, options: IssueOptions = {}): Promise<Issued> {
  const keys = options.keys ?? (await newKeys());
  const extensions: x509.Extension[] = [...(options.extensions ?? [])];
  if (options.withoutBasicConstraints !== true) {
    extensions.push(new x509.BasicConstraintsExtension(options.isCa ?? false, options.pathLength, true));
  }
  if (options.keyUsage !== undefined) extensions.push(new x509.KeyUsagesExtension(options.keyUsage, true));
  if (options.eku !== undefined) extensions.push(new x509.ExtendedKeyUsageExtension([...options.eku]));
  const issued = await x509.X509CertificateGenerator.create({
    serialNumber: options.serialNumber ?? `4${randomBytes(8).toString('hex')}0`,
    subject: `CN=${name}`,
    issuer: `CN=${options.issuer?.name ?? name}`,
    notBefore: new Date(options.notBeforeMs ?? startMs),
    notAfter: new Date(options.notAfterMs ?? startMs + 365 * dayMs),
    publicKey: keys.publicKey as CryptoKey,
    signingKey: (options.issuer?.keys ?? keys).privateKey as CryptoKey,
    signingAlgorithm: options.signingAlgorithm ?? algorithm,
    extensions,
  });
  const certPem = issued.toString('pem');
  const keyPem = KeyObject.from(keys.privateKey).export({ type: 'pkcs8', format: 'pem' }) as string;
  return { name, keys, cert: new X509Certificate(certPem), certPem: `${certPem}\n`, keyPem };
}

export interface CrlOptions {
  readonly revoked?: readonly string[];
  readonly thisUpdateMs?: number;
  readonly nextUpdateMs?: number | null;
  readonly extensions?: readonly x509.Extension[];
  readonly entryExtensions?: readonly x509.Extension[];
}

/** DER of a CRL. */
export async function issueCrl(issuer: Issued, options: CrlOptions = {}): Promise<Buffer> {
  const nextUpdateMs = options.nextUpdateMs === undefined ? startMs + 30 * dayMs : options.nextUpdateMs;
  const crl = await x509.X509CrlGenerator.create({
    issuer: `CN=${issuer.name}`,
    thisUpdate: new Date(options.thisUpdateMs ?? startMs),
    ...(nextUpdateMs === null ? {} : { nextUpdate: new Date(nextUpdateMs) }),
    signingAlgorithm: algorithm,
    signingKey: issuer.keys.privateKey as CryptoKey,
    entries: (options.revoked ?? []).map((serialNumber) => ({
      serialNumber,
      revocationDate: new Date(startMs),
      ...(options.entryExtensions === undefined ? {} : { extensions: [...options.entryExtensions] }),
    })),
    extensions: [...(options.extensions ?? [])],
  });
  return Buffer.from(crl.rawData);
}

export function crlPem(der: Buffer): string {
  return `-----BEGIN X509 CRL-----\n${der.toString('base64').replace(/.{64}/g, '$&\n')}\n-----END X509 CRL-----\n`;
}

/** An extension with arbitrary bytes as its value. */
export function extension(oid: string, critical: boolean, valueHex: string): x509.Extension {
  return new x509.Extension(oid, critical, Uint8Array.from(Buffer.from(valueHex, 'hex')).buffer);
}
