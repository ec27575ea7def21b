import { once } from 'node:events';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { connect, createServer, type TLSSocket } from 'node:tls';
import t from 'tap';
import {
  issueCertificate,
  issueRevocationList,
  serverCertificate,
  type CertificateRequest,
  type IssuedCertificate,
} from '../../src/access/issue-certificate.ts';
import { ipAddressBytes } from '../../src/access/ip-address.ts';

const dayMs = 86_400_000;
const inDays = (days: number) => new Date(Date.now() + days * dayMs);
const valid = { notBefore: inDays(-1), notAfter: inDays(30) };
const authority = issueCertificate({ commonName: 'Test CA', organization: 'Sello', ca: true, ...valid });
const stranger = issueCertificate({ commonName: 'Test CA', organization: 'Sello', ca: true, ...valid });

function client(request: Partial<CertificateRequest> = {}): IssuedCertificate {
  return issueCertificate({
    commonName: 'client',
    issuer: authority,
    extendedKeyUsage: ['clientAuth'],
    ...valid,
    ...request,
  });
}

/** What a TLS server that trusts `authority` says about a client's certificate; undefined when it is content. */
async function verdictOf(
  certificate: IssuedCertificate,
  revocationList?: string,
): Promise<string | undefined> {
  const own = serverCertificate({ names: ['localhost'], ips: ['127.0.0.1'], days: 1 });
  const server = createServer({
    key: own.privateKeyPem,
    cert: own.certificatePem,
    ca: authority.certificatePem,
    ...(revocationList === undefined ? {} : { crl: revocationList }),
    requestCert: true,
    rejectUnauthorized: false,
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const accepted = once(server, 'secureConnection') as Promise<[TLSSocket]>;
  const socket = connect({
    port: (server.address() as AddressInfo).port,
    host: '127.0.0.1',
    ca: own.certificatePem,
    key: certificate.privateKeyPem,
    cert: certificate.certificatePem,
  });
  const [[peer]] = await Promise.all([accepted, once(socket, 'secureConnect')]);
  const verdict = peer.authorized ? undefined : String(peer.authorizationError);
  socket.destroy();
  peer.destroy();
  server.close();
  return verdict;
}

t.test('a leaf of every key kind is accepted by a TLS server that trusts its issuer', async (t) => {
  for (const keyKind of ['ed25519', 'p256', 'p384', 'rsa2048'] as const) {
    t.equal(await verdictOf(client({ keyKind })), undefined, keyKind);
  }
  const edAuthority = issueCertificate({ commonName: 'Ed', ca: true, keyKind: 'ed25519', ...valid });
  const leaf = new X509Certificate(client({ issuer: edAuthority }).certificatePem);
  t.ok(leaf.checkIssued(new X509Certificate(edAuthority.certificatePem)));
  t.ok(leaf.verify(new X509Certificate(edAuthority.certificatePem).publicKey));
});

t.test('each kind of bad leaf is refused for its own reason', async (t) => {
  t.equal(await verdictOf(client({ notAfter: inDays(-0.5) })), 'CERT_HAS_EXPIRED');
  t.equal(await verdictOf(client({ notBefore: inDays(1) })), 'CERT_NOT_YET_VALID');
  t.equal(await verdictOf(client({ extendedKeyUsage: ['serverAuth'] })), 'INVALID_PURPOSE');
  t.equal(await verdictOf(client({ extendedKeyUsage: [] })), undefined, 'no extended key usage passes');
  t.match(
    await verdictOf(client({ issuer: stranger })),
    /UNABLE_TO_GET_ISSUER|UNABLE_TO_VERIFY_LEAF|SIGNATURE_FAILURE/,
  );
  const selfSigned = issueCertificate({ commonName: 'me', extendedKeyUsage: ['clientAuth'], ...valid });
  t.equal(await verdictOf(selfSigned), 'DEPTH_ZERO_SELF_SIGNED_CERT');
});

t.test('a revocation list revokes what it names, and expires', async (t) => {
  const [good, bad] = [client(), client()];
  const list = (revoked: IssuedCertificate[], nextUpdate = inDays(1)) =>
    issueRevocationList({
      issuer: authority,
      thisUpdate: inDays(-1),
      nextUpdate,
      revoked: revoked.map(({ serial }) => ({ serial, at: inDays(-1) })),
    });
  t.equal(await verdictOf(good, list([bad])), undefined);
  t.equal(await verdictOf(bad, list([bad])), 'CERT_REVOKED');
  t.equal(await verdictOf(bad, list([])), undefined);
  t.equal(await verdictOf(good, list([bad], inDays(-0.5))), 'CRL_HAS_EXPIRED');
});

t.test('a certificate says what was asked for', (t) => {
  const issued = client({
    ca: true,
    serial: Buffer.from('00ff01', 'hex'),
    dnsNames: ['a.example', '*.b.example'],
    ipAddresses: ['127.0.0.1', '::1', '2001:db8::7:0:1'],
    notAfter: new Date('2051-01-02T03:04:05Z'),
  });
  const certificate = new X509Certificate(issued.certificatePem);
  t.equal(certificate.serialNumber, 'FF01');
  t.equal(issued.serial, 'FF01');
  t.equal(certificate.ca, true);
  t.equal(
    certificate.subjectAltName,
    'DNS:a.example, DNS:*.b.example, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1, IP Address:2001:DB8:0:0:0:7:0:1',
  );
  t.equal(certificate.validToDate.toISOString(), '2051-01-02T03:04:05.000Z');
  t.equal(certificate.issuer, 'O=Sello\nCN=Test CA');
  t.equal(new X509Certificate(client().certificatePem).ca, false);
  t.ok(certificate.checkPrivateKey(createPrivateKey(issued.privateKeyPem)));
  t.equal(
    new X509Certificate(issueCertificate({ commonName: 'n'.repeat(64), ...valid }).certificatePem).subject
      .length,
    67,
  );
  t.end();
});

t.test('serials have one length and never repeat', (t) => {
  const serials = new Set<string>();
  const key = authority.privateKey;
  for (let i = 0; i < 200; i++) {
    const { serial, certificatePem } = issueCertificate({ commonName: 'x', privateKey: key, ...valid });
    t.equal(new X509Certificate(certificatePem).serialNumber, serial);
    t.equal(serial.length, 32);
    serials.add(serial);
  }
  t.equal(serials.size, 200);
  t.end();
});

t.test('addresses become bytes in network order', (t) => {
  const cases = {
    '10.0.255.1': '0a00ff01',
    '::': '0'.repeat(32),
    '::1': `${'0'.repeat(31)}1`,
    'fe80::1:2': 'fe800000000000000000000000010002',
    '1:2:3:4:5:6:7:8': '00010002000300040005000600070008',
    '::ffff:1.2.3.4': '00000000000000000000ffff01020304',
    '2001:db8::': '20010db8000000000000000000000000',
  };
  for (const [text, bytes] of Object.entries(cases))
    t.equal(ipAddressBytes(text).toString('hex'), bytes, text);
  for (const text of ['', 'localhost', '1.2.3', '1.2.3.256', 'fe80::1%eth0', '1::2::3']) {
    t.throws(() => ipAddressBytes(text), TypeError, text);
  }
  t.end();
});
