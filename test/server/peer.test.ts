import t from 'tap';
import { readCertificate } from '../../src/access/certificate-facts.ts';
import { peerFactsOfCertificates } from '../../src/access/peer.ts';
import { buildTrust } from '../../src/access/trust.ts';
import type { PolicyConfig } from '../../src/config/model.ts';
import { identifyClient, ignoresProxyHeader } from '../../src/server/peer.ts';
import type { Client } from '../../src/server/peer.ts';
import { parseTenantName } from '../../src/tenants/name.ts';
import { buildTenantRegistry } from '../../src/tenants/registry.ts';
import { dayMs, issue, startMs } from '../access/pki.ts';
import type { Issued } from '../access/pki.ts';

const factsOf = ({ cert }: Issued) => peerFactsOfCertificates([cert]);
const headerOf = ({ cert }: Issued) => cert.raw.toString('base64');
const policyOf = (...members: Issued[]): PolicyConfig[] => [
  { name: 'app', allow: [], deny: [], identities: members.map((each) => factsOf(each).identity) },
];

async function scene() {
  const ca = await issue('ca', { isCa: true });
  const proxy = await issue('proxy', { issuer: ca, notAfterMs: startMs + 10 * dayMs });
  const [own, other, stranger] = [
    await issue('own', { issuer: ca }),
    await issue('other'),
    await issue('stranger'),
  ];
  const entry = (name: string, members: Issued[], auth: 'on' | 'off', proxies: Issued[]) => ({
    membership: {
      name: parseTenantName(name)!,
      clients: {
        auth,
        caFile: undefined,
        crlFiles: [],
        staleCrl: 'refuse' as const,
        requireClientAuthEku: false,
        proxy: { identities: proxies.map((each) => factsOf(each).identity), header: 'X-Tls-Client-Cert' },
      },
      admins: [],
      policies: policyOf(...members),
    },
    trust: auth === 'on' ? buildTrust([readCertificate(ca.cert)], []) : undefined,
  });
  const registry = buildTenantRegistry([entry('a', [own], 'on', [proxy]), entry('b', [other], 'off', [])]);
  return { ca, proxy, own, other, stranger, registry };
}

const brief = ({ tenant, verdict, sourceIp, proxy }: Client) => [
  tenant?.name,
  verdict.ok ? 'ok' : `${verdict.code}: ${verdict.reason}`,
  sourceIp,
  proxy !== undefined,
];

t.test('a client that speaks to us directly', async (t) => {
  const { ca, own, other, stranger, registry } = await scene();
  const ask = (issued: Issued | undefined, nowMs = startMs) =>
    brief(
      identifyClient(
        registry,
        { facts: issued && factsOf(issued), headers: {}, remoteAddress: '192.0.2.1' },
        nowMs,
      ),
    );
  t.same(ask(own), ['a', 'ok', '192.0.2.1', false]);
  t.same(ask(own, startMs + 900 * dayMs), [
    'a',
    'SELLO_CLIENT_CERTIFICATE_REJECTED: certificate expired',
    '192.0.2.1',
    false,
  ]);
  t.same(ask(other, startMs + 900 * dayMs), ['b', 'ok', '192.0.2.1', false], 'auth off');
  t.same(ask(stranger), [
    undefined,
    'SELLO_NOT_AUTHORIZED: identity belongs to no tenant',
    '192.0.2.1',
    false,
  ]);
  t.same(ask(ca)[1], 'SELLO_CLIENT_CERTIFICATE_REQUIRED: CA certificate presented as client certificate');
  t.same(ask(undefined)[1], 'SELLO_CLIENT_CERTIFICATE_REQUIRED: no client certificate');
});

t.test('spoofing: the header of a peer that is no listed proxy changes nothing', async (t) => {
  const { own, other, stranger, registry } = await scene();
  for (const peer of [own, other, stranger]) {
    const headers = { 'x-tls-client-cert': headerOf(own), 'x-forwarded-for': '203.0.113.9' };
    const request = { facts: factsOf(peer), remoteAddress: '192.0.2.1' };
    const plain = identifyClient(registry, { ...request, headers: {} }, startMs);
    const spoofed = identifyClient(registry, { ...request, headers }, startMs);
    t.same(brief(spoofed), brief(plain), peer.name);
    t.equal(spoofed.facts, request.facts);
    t.equal(ignoresProxyHeader(registry, spoofed, headers), true, 'and is worth a record');
    t.equal(ignoresProxyHeader(registry, plain, {}), false);
  }
});

t.test('a client behind a listed proxy is judged as itself, in the tenant of the proxy', async (t) => {
  const { ca, proxy, own, other, stranger, registry } = await scene();
  const request = (headers: Record<string, string>) => ({
    facts: factsOf(proxy),
    headers,
    remoteAddress: '10.0.0.1',
  });
  const ask = (behind: Issued, nowMs = startMs, more = {}) =>
    identifyClient(registry, request({ 'x-tls-client-cert': headerOf(behind), ...more }), nowMs);
  t.same(brief(ask(own, startMs, { 'x-forwarded-for': '203.0.113.9, 10.0.0.1' })), [
    'a',
    'ok',
    '203.0.113.9',
    true,
  ]);
  t.equal(ask(own).facts?.identity, factsOf(own).identity);
  t.equal(ask(own).sourceIp, undefined, 'the address of the proxy does not stand in for the client’s');
  t.equal(ignoresProxyHeader(registry, ask(own), { 'x-tls-client-cert': 'x' }), false);
  t.same(brief(ask(other)), [
    'a',
    'SELLO_NOT_AUTHORIZED: identity belongs to another tenant than its proxy',
    undefined,
    true,
  ]);
  t.same(brief(ask(stranger)), [
    'a',
    'SELLO_CLIENT_CERTIFICATE_REJECTED: issuer not trusted',
    undefined,
    true,
  ]);
  t.same(
    brief(ask(ca))[1],
    'SELLO_CLIENT_CERTIFICATE_REQUIRED: CA certificate presented as client certificate',
  );
  t.throws(() => identifyClient(registry, request({}), startMs), { code: 'SELLO_PROXY_CERTIFICATE_MISSING' });
  t.throws(() => identifyClient(registry, request({ 'x-tls-client-cert': 'x' }), startMs), {
    code: 'SELLO_PROXY_CERTIFICATE_INVALID',
  });
  const expired = ask(own, startMs + 11 * dayMs);
  t.same(
    brief(expired),
    ['a', 'SELLO_CLIENT_CERTIFICATE_REJECTED: certificate expired', '10.0.0.1', false],
    'an expired proxy speaks for nobody',
  );
});
