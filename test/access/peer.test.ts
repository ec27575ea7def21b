import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import http2 from 'node:http2';
import t from 'tap';
import { readCertificate } from '../../src/access/certificate-facts.ts';
import { judgePeer, peerFactsOfCertificates, peerFactsOfSocket } from '../../src/access/peer.ts';
import type { PeerVerdict, TenantClientAuth } from '../../src/access/peer.ts';
import { buildTrust } from '../../src/access/trust.ts';
import { hasCode } from '../../src/errors.ts';
import { anyUsage, clientAuth, dayMs, extension, issue, newKeys, serverAuth, startMs } from './pki.ts';
import { fixture, handshake } from './tls-peer.ts';

const versions = ['TLSv1.2', 'TLSv1.3'] as const;
const recordedMs = Date.UTC(2026, 10, 23);
const off: TenantClientAuth = {
  auth: 'off',
  staleCrl: 'refuse',
  requireClientAuthEku: false,
  trust: undefined,
};
const on: TenantClientAuth = {
  ...off,
  auth: 'on',
  trust: buildTrust([readCertificate(new X509Certificate(fixture('ca.crt')))], []),
};
const adminId = 'f5e70f8a8db7182880796cc708b19925469e4e46591fa2598f4b933dbf08ecf8';
const issuedId = 'b99c7c4716ba54d27c2b1f60486f3f4b2eb0517768c548b0a4cb8f797ce5d981';

const client = (name: string) => ({ key: fixture(`${name}.key`), cert: fixture(`${name}.crt`) });
const brief = (verdict: PeerVerdict) =>
  verdict.ok ? verdict.identity : `${verdict.code}: ${verdict.reason}`;

const required = 'SELLO_CLIENT_CERTIFICATE_REQUIRED: CA certificate presented as client certificate';
const ambiguous = 'SELLO_CLIENT_CERTIFICATE_AMBIGUOUS: more than one client certificate';
const untrusted = 'SELLO_CLIENT_CERTIFICATE_REJECTED: issuer not trusted';

// What the recordings auth-default and auth-on show, but for caleaf: there KES let the client be admin.
const table: [name: string, sent: string[], authOff: string, authOn: string][] = [
  ['admin', ['CN=admin'], adminId, untrusted],
  ['admin-expired', ['CN=admin-expired'], adminId, untrusted],
  ['issued', ['CN=issued'], issuedId, issuedId],
  ['issued-chain', ['CN=issued', 'CN=Test CA'], issuedId, issuedId],
  ['catrue', ['CN=catrue'], required, required],
  ['caleaf', ['CN=catrue', 'CN=admin'], required, required],
  ['leafca', ['CN=admin', 'CN=catrue'], adminId, untrusted],
  ['chain2', ['CN=admin', 'CN=second'], ambiguous, ambiguous],
];

for (const version of versions) {
  for (const serverCa of [undefined, fixture('ca.crt')]) {
    t.test(
      `${version}, server context ${serverCa ? 'with' : 'without'} a CA: each kind of client`,
      async (t) => {
        for (const [name, sent, authOff, authOn] of table) {
          const options = { version, ...client(name), ...(serverCa === undefined ? {} : { serverCa }) };
          const facts = await handshake(options, (socket) => {
            socket.getPeerCertificate(true); // must not disturb what comes after
            const first = peerFactsOfSocket(socket);
            t.same(peerFactsOfSocket(socket)?.sent.length, first?.sent.length, 'asking twice gives the same');
            return first;
          });
          t.same(
            facts?.sent.map((each) => each.x509.subject),
            sent,
            `${name}: what the client sent, in its order`,
          );
          t.equal(brief(judgePeer(facts, off, recordedMs)), authOff, `${name}, auth off`);
          t.equal(brief(judgePeer(facts, on, recordedMs)), authOn, `${name}, auth on`);
        }
        const none = await handshake({ version }, (socket) => peerFactsOfSocket(socket));
        t.equal(none, undefined);
        t.equal(
          brief(judgePeer(none, off, recordedMs)),
          'SELLO_CLIENT_CERTIFICATE_REQUIRED: no client certificate',
        );
      },
    );
  }
}

t.test(
  'attack: a CA:TRUE certificate of its own first, the public certificate of a victim second',
  async (t) => {
    for (const version of versions) {
      const facts = await handshake({ version, ...client('caleaf') }, (socket) => peerFactsOfSocket(socket));
      t.not(facts?.identity, adminId, 'the identity is never that of a certificate whose key nobody proved');
      for (const auth of [off, on]) t.equal(judgePeer(facts, auth, recordedMs).ok, false);
    }
    // The same with a certificate that OpenSSL does not call a CA: CA:TRUE without keyCertSign.
    const attacker = await issue('attacker', { isCa: true, keyUsage: 1 });
    t.equal(attacker.cert.ca, false, 'X509Certificate.ca does not see it');
    const cert = attacker.certPem + fixture('admin.crt').toString();
    const facts = await handshake({ version: 'TLSv1.3', key: attacker.keyPem, cert }, (socket) =>
      peerFactsOfSocket(socket),
    );
    t.equal(brief(judgePeer(facts, off, startMs)), required);
  },
);

t.test('every certificate is seen: copies of one, four in a row, and no more than sixteen', async (t) => {
  const [a, b, c] = [await issue('a'), await issue('b', { isCa: true }), await issue('c')];
  for (const version of versions) {
    const send = (cert: string) =>
      handshake({ version, key: a.keyPem, cert }, (socket) =>
        peerFactsOfSocket(socket)?.sent.map((each) => each.x509.subject),
      );
    t.same(await send(a.certPem + a.certPem), ['CN=a', 'CN=a']);
    t.same(await send(a.certPem + b.certPem + c.certPem + b.certPem), ['CN=a', 'CN=b', 'CN=c', 'CN=b']);
    await t.rejects(send(a.certPem + b.certPem.repeat(16)), { code: 'SELLO_CLIENT_CERTIFICATE_REJECTED' });
  }
  const twice = peerFactsOfCertificates([a.cert, a.cert]);
  t.equal(brief(judgePeer(twice, off, startMs)), ambiguous, 'as KES');
});

t.test('an HTTP/2 session shows the same', async (t) => {
  const server = http2.createSecureServer({
    key: fixture('server.key'),
    cert: fixture('server.crt'),
    requestCert: true,
    rejectUnauthorized: false,
  });
  const seen = once(server, 'session') as Promise<[http2.ServerHttp2Session]>;
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const session = http2.connect(`https://127.0.0.1:${port}`, {
    rejectUnauthorized: false,
    ...client('chain2'),
  });
  session.on('error', () => undefined);
  const [serverSession] = await seen;
  const facts = peerFactsOfSocket(serverSession.socket as never);
  t.same(
    facts?.sent.map((each) => each.x509.subject),
    ['CN=admin', 'CN=second'],
  );
  session.destroy();
  serverSession.destroy();
  server.close();
  await once(server, 'close');
});

t.test('the identity is the hash of the key as sent, as KES names it', async (t) => {
  for (const name of ['admin', 'app', 'ops', 'glob', 'empty', 'unknown', 'second', 'issued']) {
    const facts = peerFactsOfCertificates([new X509Certificate(fixture(`${name}.crt`))]);
    const spki = facts.leaf.x509.publicKey.export({ type: 'spki', format: 'der' });
    t.ok(facts.leaf.der.includes(spki));
    t.match(facts.identity, /^[0-9a-f]{64}$/);
  }
  t.equal(peerFactsOfCertificates([new X509Certificate(fixture('admin.crt'))]).identity, adminId);
});

t.test('auth off enforces no dates and no usage, and says what it saw', async (t) => {
  const keys = await newKeys();
  const expired = peerFactsOfCertificates([(await issue('x', { keys, notAfterMs: startMs + dayMs })).cert]);
  const remark = (facts: typeof expired, nowMs: number) => {
    const verdict = judgePeer(facts, off, nowMs);
    return verdict.ok ? (verdict.remark ?? 'none') : verdict.reason;
  };
  t.equal(remark(expired, startMs), 'none');
  t.equal(remark(expired, startMs + 2 * dayMs), 'certificate expired');
  t.equal(remark(expired, startMs - 1), 'certificate not yet valid');
  const serverOnly = peerFactsOfCertificates([(await issue('x', { keys, eku: [serverAuth] })).cert]);
  t.equal(remark(serverOnly, startMs), 'wrong extended key usage');
  t.equal(
    serverOnly.identity,
    expired.identity,
    'a renewed certificate with the same key is the same identity',
  );
});

t.test('extended key usage with auth on: wrong refused, missing passes unless required', async (t) => {
  const ca = await issue('ca', { isCa: true });
  const trust = buildTrust([readCertificate(ca.cert)], []);
  const reason = async (eku: string[] | undefined, requireClientAuthEku: boolean) => {
    const leaf = await issue('leaf', { issuer: ca, ...(eku === undefined ? {} : { eku }) });
    const verdict = judgePeer(
      peerFactsOfCertificates([leaf.cert]),
      { ...on, trust, requireClientAuthEku },
      startMs,
    );
    return verdict.ok ? 'ok' : verdict.reason;
  };
  const wrong = 'wrong extended key usage';
  t.same([await reason([clientAuth], false), await reason([clientAuth], true)], ['ok', 'ok']);
  t.same(
    [await reason([serverAuth, clientAuth], false), await reason([serverAuth, clientAuth], true)],
    ['ok', 'ok'],
  );
  t.same([await reason(undefined, false), await reason(undefined, true)], ['ok', wrong]);
  t.same([await reason([anyUsage], false), await reason([anyUsage], true)], ['ok', wrong]);
  t.same([await reason([serverAuth], false), await reason([serverAuth], true)], [wrong, wrong]);
});

t.test('a certificate our reader cannot take is refused, not half read', async (t) => {
  // Two basicConstraints extensions, CA:FALSE then CA:TRUE: which one counts must not be a matter of taste.
  const both = await issue('both', { extensions: [extension('2.5.29.19', true, '30030101ff')] });
  try {
    peerFactsOfCertificates([both.cert]);
    t.fail('was read');
  } catch (error) {
    t.ok(hasCode(error, 'SELLO_CLIENT_CERTIFICATE_REJECTED'));
  }
});

t.test('judging a known peer is cheap', async (t) => {
  const facts = peerFactsOfCertificates([new X509Certificate(fixture('issued.crt'))]);
  judgePeer(facts, on, recordedMs);
  const calls = 200_000;
  const startedMs = performance.now();
  for (let call = 0; call < calls; call += 1) judgePeer(facts, on, recordedMs + call);
  const nsPerCall = ((performance.now() - startedMs) * 1e6) / calls;
  t.comment(`${nsPerCall.toFixed(0)} ns per judgement`);
  t.ok(nsPerCall < 5000, 'far from the cost of a signature');
});
