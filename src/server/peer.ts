/**
 * From a request to the client it comes from: tenant, certificate verdict, source address. Runs for every request; a
 * connection carries facts, never a decision (design.md, decision 6).
 *
 * A proxy header is looked at only when the peer's own identity is listed as a proxy by its tenant, and the proxy's
 * own certificate is judged first. The client behind it must be of the same tenant: a proxy of one tenant speaks
 * for nobody in another. Facts of such a client are made per request and never kept.
 */
import type { IncomingHttpHeaders } from 'node:http';
import type { PeerFacts, PeerVerdict, RefusedPeer } from '../access/peer.ts';
import { judgePeer, peerFactsOfCertificates, refuseByShape } from '../access/peer.ts';
import { forwardedAddress, parseClientCertificateHeader } from '../access/proxy-header.ts';
import type { RegisteredTenant, TenantRegistry } from '../tenants/registry.ts';

export interface Client {
  /** undefined: refused before a tenant was known; `verdict` is then a refusal. */
  readonly tenant: RegisteredTenant | undefined;
  /** The client's certificate: the proxy's client's, where one is in between. */
  readonly facts: PeerFacts | undefined;
  readonly verdict: PeerVerdict;
  /** undefined: a proxy did not tell. */
  readonly sourceIp: string | undefined;
  /** Facts of the listed proxy the request came through. */
  readonly proxy: PeerFacts | undefined;
}

export interface ClientRequest {
  /** Of the connection; undefined when the peer sent no certificate. */
  readonly facts: PeerFacts | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly remoteAddress: string | undefined;
}

const stranger: RefusedPeer = {
  ok: false,
  code: 'SELLO_NOT_AUTHORIZED',
  reason: 'identity belongs to no tenant',
};
const untrusted: RefusedPeer = {
  ok: false,
  code: 'SELLO_CLIENT_CERTIFICATE_REJECTED',
  reason: 'issuer not trusted',
};
const foreign: RefusedPeer = {
  ok: false,
  code: 'SELLO_NOT_AUTHORIZED',
  reason: 'identity belongs to another tenant than its proxy',
};

/**
 * @throws SelloError SELLO_PROXY_CERTIFICATE_MISSING | _AMBIGUOUS | _INVALID, SELLO_CLIENT_CERTIFICATE_REJECTED for
 *   what a listed proxy sent as its client's certificate
 */
export function identifyClient(registry: TenantRegistry, request: ClientRequest, nowMs: number): Client {
  const { facts, remoteAddress: sourceIp } = request;
  const shape = refuseByShape(facts);
  if (facts === undefined || shape !== undefined) {
    return { tenant: undefined, facts, verdict: shape!, sourceIp, proxy: undefined };
  }
  const tenant = registry.resolve(facts);
  if (tenant === undefined)
    return { tenant, facts, verdict: refuseStranger(registry), sourceIp, proxy: undefined };
  const verdict = judgePeer(facts, tenant.clientAuth, nowMs);
  if (!verdict.ok || tenant.proxy === undefined || !tenant.proxy.identities.has(facts.identity)) {
    return { tenant, facts, verdict, sourceIp, proxy: undefined };
  }
  return identifyBehindProxy(registry, tenant, facts, request.headers, nowMs);
}

function identifyBehindProxy(
  registry: TenantRegistry,
  tenant: RegisteredTenant,
  proxy: PeerFacts,
  headers: IncomingHttpHeaders,
  nowMs: number,
): Client {
  const facts = peerFactsOfCertificates([parseClientCertificateHeader(headers[tenant.proxy!.header])]);
  const sourceIp = forwardedAddress(headers['x-forwarded-for']);
  const own = registry.resolve(facts);
  // In a tenant of its own the client is refused for the tenant of the proxy's record: nothing is told about the other.
  if (own !== undefined && own !== tenant) return { tenant, facts, verdict: foreign, sourceIp, proxy };
  return { tenant, facts, verdict: judgePeer(facts, tenant.clientAuth, nowMs), sourceIp, proxy };
}

/** Where every tenant verifies, a stranger is one whose chain leads nowhere; elsewhere policy would have refused it. */
function refuseStranger(registry: TenantRegistry): RefusedPeer {
  return [...registry.tenants.values()].every(({ clientAuth }) => clientAuth.auth === 'on')
    ? untrusted
    : stranger;
}

/**
 * True when the request carries a proxy header that is not looked at, because its sender is no listed proxy: an attempt
 * worth a record.
 */
export function ignoresProxyHeader(
  registry: TenantRegistry,
  client: Client,
  headers: IncomingHttpHeaders,
): boolean {
  if (client.proxy !== undefined) return false;
  for (const { proxy } of registry.tenants.values()) {
    if (proxy !== undefined && headers[proxy.header] !== undefined) return true;
  }
  return false;
}
