/** Certificates of two tenants and of those who would like to be one of them: each made in memory, once per test file. */
import {
  issueCertificate,
  issueRevocationList,
  type IssuedCertificate,
} from '../../src/access/issue-certificate.ts';

export const hourMs = 3_600_000;
export const dayMs = 24 * hourMs;

/** What a TLS client presents. `cert` may be a chain: leaf first. */
export interface Credentials {
  readonly cert: string;
  readonly key: string;
}

export type Issued = IssuedCertificate;
type Request = Parameters<typeof issueCertificate>[0];

/** A certificate that is good in every way but those that `over` changes. */
export function issue(commonName: string, over: Partial<Request> = {}): Issued {
  const now = Date.now();
  return issueCertificate({
    commonName,
    notBefore: new Date(now - hourMs),
    notAfter: new Date(now + dayMs),
    keyKind: 'ed25519',
    extendedKeyUsage: ['clientAuth'],
    ...over,
  });
}

export function authority(commonName: string, notAfter = new Date(Date.now() + dayMs)): Issued {
  const notBefore = new Date(Date.now() - 400 * dayMs);
  return issue(commonName, { ca: true, extendedKeyUsage: [], notBefore, notAfter });
}

export function serverCertificate(notAfter = new Date(Date.now() + dayMs)): Issued {
  return issue('sello', {
    keyKind: 'p256',
    notAfter,
    extendedKeyUsage: ['serverAuth'],
    dnsNames: ['localhost', 'kms.example.org'],
    ipAddresses: ['127.0.0.1'],
  });
}

export function revocationList(issuer: Issued, revoked: readonly Issued[], number = 1): string {
  const now = Date.now();
  return issueRevocationList({
    issuer,
    thisUpdate: new Date(now - hourMs + number * 1000),
    nextUpdate: new Date(now + dayMs),
    revoked: revoked.map(({ serial }) => ({ serial, at: new Date(now - hourMs) })),
    number,
  });
}

export function credentialsOf(leaf: Issued, ...behind: readonly Issued[]): Credentials {
  return {
    cert: [leaf, ...behind].map((each) => each.certificatePem).join(''),
    key: leaf.privateKeyPem,
  };
}
