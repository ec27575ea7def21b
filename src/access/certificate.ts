/** What we read from certificates: whose key it is. */
import { createHash, X509Certificate } from 'node:crypto';
import { SelloError } from '../errors.ts';
import { openSequence, type DerElement } from './der.ts';
import type { Identity } from './identity.ts';

/**
 * The identity of a certificate: hex SHA-256 of its SubjectPublicKeyInfo as it stands in the certificate. It is
 * not encoded anew: OpenSSL may write a key in another form than the certificate does, and KES hashes the latter.
 * Of PEM text the first certificate counts.
 *
 * @throws SelloError SELLO_CLIENT_CERTIFICATE_REJECTED when it is not a certificate
 */
export function identityOfCertificate(certificate: X509Certificate | Buffer | string): Identity {
  try {
    const parsed = certificate instanceof X509Certificate ? certificate : new X509Certificate(certificate);
    return identityOfPublicKey(fieldsOfCertificate(parsed.raw).publicKey);
  } catch (error) {
    throw new SelloError('SELLO_CLIENT_CERTIFICATE_REJECTED', {
      detail: 'not an X.509 certificate',
      cause: error,
    });
  }
}

/** The identity of a DER SubjectPublicKeyInfo. */
export function identityOfPublicKey(subjectPublicKeyInfo: Uint8Array): Identity {
  return createHash('sha256').update(subjectPublicKeyInfo).digest('hex') as Identity;
}

/** Subject and SubjectPublicKeyInfo of a DER certificate, as they stand in it (RFC 5280 §4.1). */
export function fieldsOfCertificate(der: Buffer): { subject: Buffer; publicKey: Buffer } {
  const body = openSequence(openSequence(der).next().raw);
  const fields: DerElement[] = [];
  while (!body.isAtEnd) fields.push(body.next());
  // version [0] is absent in version 1; then: serial, signature, issuer, validity, subject, public key.
  const first = fields[0]?.tag === 0xa0 ? 1 : 0;
  const [subject, publicKey] = [fields[first + 4], fields[first + 5]];
  if (subject === undefined || publicKey === undefined) throw new RangeError('certificate has no public key');
  return { subject: subject.raw, publicKey: publicKey.raw };
}
