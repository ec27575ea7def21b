import { createHash, X509Certificate } from 'node:crypto';
import t from 'tap';
import { identityOfCertificate } from '../../src/access/certificate.ts';
import { issueCertificate } from '../../src/access/issue-certificate.ts';
import { certificates } from '../keys/kes-vectors.ts';

t.test('a certificate has the identity KES gives it, in every form', (t) => {
  for (const { type, note = '', cert_pem, identity } of certificates()) {
    const certificate = new X509Certificate(cert_pem);
    t.equal(identityOfCertificate(cert_pem), identity, `${type} ${note} PEM`);
    t.equal(identityOfCertificate(Buffer.from(cert_pem)), identity, `${type} ${note} PEM bytes`);
    t.equal(identityOfCertificate(certificate.raw), identity, `${type} ${note} DER`);
    t.equal(identityOfCertificate(certificate), identity, `${type} ${note} parsed`);
  }
  t.end();
});

t.test('the identity of a new certificate is the hash of its exported public key', (t) => {
  for (const keyKind of ['ed25519', 'p256', 'p384', 'rsa2048'] as const) {
    const dates = { notBefore: new Date(0), notAfter: new Date(1e12) };
    const issued = issueCertificate({ commonName: keyKind, keyKind, ...dates });
    const { publicKey } = new X509Certificate(issued.certificatePem);
    const expected = createHash('sha256')
      .update(publicKey.export({ format: 'der', type: 'spki' }))
      .digest('hex');
    t.equal(identityOfCertificate(issued.certificateDer), expected, keyKind);
    t.equal(issued.identity, expected, keyKind);
  }
  t.end();
});

t.test('what is no certificate is refused', (t) => {
  const der = new X509Certificate(certificates()[0]!.cert_pem).raw;
  for (const input of [
    '',
    'text',
    Buffer.alloc(0),
    Buffer.alloc(100),
    der.subarray(0, -1),
    der.subarray(1),
  ]) {
    t.throws(() => identityOfCertificate(input), { code: 'SELLO_CLIENT_CERTIFICATE_REJECTED' });
  }
  t.end();
});
