/**
 * The gate every request passes before a face sees it: who is it (the handshake's leaf certificate, or the certificate a listed
 * proxy forwards), which tenant is that, is the certificate still good. Facts of a connection are found once; the verdict is
 * judged anew for every request, so that a keep-alive connection carries no past decision.
 */
import type { TLSSocket } from 'node:tls';
import type { RawRequest } from '../api/kes/body.ts';
import {
  factsOfCertificate,
  judgePeer,
  parseClientCertificateHeader,
  type Identity,
  type PeerFacts,
} from '../access/index.ts';
import type { ServerAudit } from '../audit/index.ts';
import { SelloError, type ErrorCode } from '../errors.ts';
import type { Runtime } from './runtime.ts';
import type { Tenant } from '../tenants/tenant.ts';

export interface Refusal {
  readonly code: ErrorCode;
  /** Short and stable, for audit and metrics: `certificate expired`. */
  readonly reason: string;
}

export interface Admission {
  readonly tenant: Tenant | undefined;
  readonly identity: Identity | undefined;
  readonly peer: PeerFacts | undefined;
  readonly sourceIp: string | undefined;
  readonly refusal: Refusal | undefined;
}

/** What is known of a connection for its whole life. */
export interface ConnectionFacts {
  readonly peer: PeerFacts | undefined;
  readonly remoteAddress: string | undefined;
  readonly serverName: string | undefined;
  /** The listener's names; empty: any. */
  readonly serverNames: readonly string[];
}

/** Where a connection's facts hang: on the HTTP/2 session or the HTTP/1.1 socket. */
export const connectionFacts = Symbol('sello connection facts');
export interface FactsCarrier {
  [connectionFacts]?: ConnectionFacts;
}

const nobody: ConnectionFacts = { peer: undefined, remoteAddress: undefined, serverName: undefined, serverNames: [] };

function factsOf(raw: RawRequest): ConnectionFacts {
  const carrier = ('stream' in raw ? raw.stream.session : (raw.socket as TLSSocket)) as FactsCarrier | undefined;
  return carrier?.[connectionFacts] ?? nobody;
}

export class Gate {
  /** Replaced as a whole when the configuration is reloaded. */
  runtime: Runtime;
  #inFlight = 0;

  constructor(runtime: Runtime) {
    this.runtime = runtime;
  }

  get serverAudit(): ServerAudit {
    return this.runtime.serverAudit;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  /** More requests at once than this process takes. */
  get overloaded(): boolean {
    return this.#inFlight > this.runtime.config.limits.maxRequestsInFlight;
  }

  /** Judges a request. Each call needs one {@link leave} when the request has been answered. */
  admit(raw: RawRequest): Admission {
    this.#inFlight++;
    const facts = factsOf(raw);
    const misdirected = facts.serverNames.length > 0 && !servesName(facts, raw);
    if (misdirected) return refuse(facts, 'SELLO_MISDIRECTED', 'server name does not match');
    if (facts.peer === undefined) return this.#anonymous(facts, 'SELLO_CLIENT_CERTIFICATE_REQUIRED', 'no client certificate');
    const proxied = this.#behindProxy(raw, facts.peer, facts);
    if (proxied !== undefined) return proxied;
    return this.#judge(facts.peer, facts.remoteAddress, facts);
  }

  leave(): void {
    this.#inFlight--;
  }

  #judge(peer: PeerFacts, sourceIp: string | undefined, facts: ConnectionFacts): Admission {
    const tenant = this.runtime.tenantOf(peer);
    if (tenant === undefined) {
      return { tenant: undefined, identity: peer.identity, peer, sourceIp, refusal: { code: 'SELLO_NOT_AUTHORIZED', reason: 'identity belongs to no tenant' } };
    }
    const verdict = judgePeer(peer, tenant.clients, Date.now());
    if (verdict.ok) return { tenant, identity: verdict.identity, peer, sourceIp, refusal: undefined };
    void facts;
    return { tenant, identity: peer.identity, peer, sourceIp, refusal: verdict };
  }

  /** Nobody known: the only tenant of a server with one may still have routes that anyone can call. */
  #anonymous(facts: ConnectionFacts, code: ErrorCode, reason: string): Admission {
    const tenant = this.runtime.onlyTenant;
    return { tenant, identity: undefined, peer: undefined, sourceIp: facts.remoteAddress, refusal: { code, reason } };
  }

  /** The identity that a listed proxy forwards; undefined when the peer is not a listed proxy. Never kept: a proxy's connection carries many clients. */
  #behindProxy(raw: RawRequest, peer: PeerFacts, facts: ConnectionFacts): Admission | undefined {
    const proxy = this.runtime.proxyOf(peer.identity);
    if (proxy === undefined) return undefined;
    try {
      const certificate = parseClientCertificateHeader(raw.headers[proxy.header.toLowerCase()]);
      const forwarded = raw.headers['x-forwarded-for'];
      const first = (Array.isArray(forwarded) ? forwarded[0] : forwarded)?.split(',')[0]?.trim();
      return this.#judge(factsOfCertificate(certificate), first ?? facts.remoteAddress, facts);
    } catch (error) {
      const { code, detail } = error instanceof SelloError ? error : { code: 'SELLO_CLIENT_CERTIFICATE_REJECTED' as const, detail: undefined };
      return { tenant: proxy.tenant, identity: undefined, peer, sourceIp: facts.remoteAddress, refusal: { code, reason: detail ?? 'invalid client certificate' } };
    }
  }
}

function refuse(facts: ConnectionFacts, code: ErrorCode, reason: string): Admission {
  return { tenant: undefined, identity: facts.peer?.identity, peer: facts.peer, sourceIp: facts.remoteAddress, refusal: { code, reason } };
}

/** A missing SNI is always accepted; what is there must be one of the listener's names, and so must :authority or Host. */
function servesName({ serverName, serverNames }: ConnectionFacts, raw: RawRequest): boolean {
  if (serverName !== undefined && !serverNames.includes(serverName)) return false;
  const authority = String(raw.headers[':authority'] ?? raw.headers.host ?? '');
  const host = authority.replace(/:\d+$/, '').toLowerCase();
  return host === '' || serverNames.includes(host);
}
