/**
 * The gate every request passes before a face sees it: who is it (the handshake's leaf certificate, or the certificate a listed
 * proxy forwards), which tenant is that, is the certificate still good. Facts of a connection are found once; the verdict is
 * judged anew for every request, so that a keep-alive connection carries no past decision.
 */
import type { TLSSocket } from 'node:tls';
import type { AnyRequest } from '../api/kes/body.ts';
import { judgePeer, type Identity, type PeerFacts } from '../access/index.ts';
import type { ServerAudit } from '../audit/index.ts';
import { SelloError, type ErrorCode } from '../errors.ts';
import { SeenClients } from './certificates.ts';
import { identifyClient } from './peer.ts';
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
  /** Of a caller without a certificate, on a listener that takes those: whose it is taken for, once it has logged in. */
  readonly tenantWithoutCertificate?: Tenant | undefined;
}

/** What is known of a connection for its whole life. */
export interface ConnectionFacts {
  readonly peer: PeerFacts | undefined;
  readonly remoteAddress: string | undefined;
  readonly serverName: string | undefined;
  /** The listener's names; empty: any. */
  readonly serverNames: readonly string[];
  /** The listener's tenant for callers without a certificate. */
  readonly tenantWithoutCertificate?: string | undefined;
}

/** Where a connection's facts hang: on the HTTP/2 session or the HTTP/1.1 socket. */
export const connectionFacts = Symbol('sello connection facts');
export interface FactsCarrier {
  [connectionFacts]?: ConnectionFacts;
}

const nobody: ConnectionFacts = {
  peer: undefined,
  remoteAddress: undefined,
  serverName: undefined,
  serverNames: [],
};

function factsOf(raw: AnyRequest): ConnectionFacts {
  const carrier = ('stream' in raw ? raw.stream.session : (raw.socket as TLSSocket)) as
    FactsCarrier | undefined;
  return carrier?.[connectionFacts] ?? nobody;
}

export class Gate {
  /** Replaced as a whole when the configuration is reloaded. */
  runtime: Runtime;
  readonly clients = new SeenClients(Date.now);
  #inFlight = 0;

  constructor(runtime: Runtime) {
    this.runtime = runtime;
  }

  get serverAudit(): ServerAudit {
    return this.runtime.serverAudit;
  }

  /** Of a new connection, for those who look after certificates: who is known here, or vouched for. */
  noteClient({ peer }: ConnectionFacts): void {
    const tenant = peer === undefined ? undefined : this.runtime.registry.resolve(peer);
    if (peer === undefined || tenant === undefined) return;
    const { access, clientAuth } = tenant;
    const isListed = access.admins.has(peer.identity) || access.policyOf(peer.identity) !== undefined;
    const isVouchedFor = clientAuth.auth === 'on' && judgePeer(peer, clientAuth, Date.now()).ok;
    if (isListed || isVouchedFor) this.clients.note(tenant.name, peer);
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  /** More requests at once than this process takes. */
  get overloaded(): boolean {
    return this.#inFlight > this.runtime.config.limits.maxRequestsInFlight;
  }

  /**
   * Takes a place for one request of a tenant's, once {@link admit} has let it in.
   * @returns what gives the place back
   * @throws SelloError SELLO_RATE_LIMITED; SELLO_AUDIT_UNAVAILABLE while the tenant's audit trail cannot be written
   */
  async enter({ audit, quota }: Tenant): Promise<() => void> {
    if (this.overloaded) throw new SelloError('SELLO_RATE_LIMITED');
    if (!quota.enter(performance.now())) {
      await quota.holdRefusal();
      throw new SelloError('SELLO_RATE_LIMITED');
    }
    if (audit.trouble !== undefined) {
      quota.leave();
      throw new SelloError('SELLO_AUDIT_UNAVAILABLE');
    }
    return () => quota.leave();
  }

  /** Judges a request. Each call needs one {@link leave} when the request has been answered. */
  admit(raw: AnyRequest): Admission {
    this.#inFlight++;
    return this.judge(raw);
  }

  /** What {@link admit} would say now, for an answer that goes on for long. */
  judge(raw: AnyRequest): Admission {
    const facts = factsOf(raw);
    const misdirected = facts.serverNames.length > 0 && !servesName(facts, raw);
    if (misdirected) return refuse(facts, 'SELLO_MISDIRECTED', 'server name does not match');
    const { runtime } = this;
    try {
      const request = { facts: facts.peer, headers: raw.headers, remoteAddress: facts.remoteAddress };
      const client = identifyClient(runtime.registry, request, Date.now());
      // Nobody known: the only tenant of a server with one may still have routes that anyone can call.
      const tenant =
        client.tenant === undefined ? runtime.onlyTenant : runtime.tenants.get(client.tenant.name);
      const { verdict } = client;
      return {
        tenant,
        identity: client.facts?.identity,
        peer: client.facts,
        sourceIp: client.sourceIp,
        refusal: verdict.ok ? undefined : verdict,
        ...(client.facts === undefined && facts.tenantWithoutCertificate !== undefined
          ? { tenantWithoutCertificate: runtime.tenants.get(facts.tenantWithoutCertificate) }
          : {}),
      };
    } catch (error) {
      if (!(error instanceof SelloError)) throw error;
      // What a listed proxy sent as its client's certificate is none.
      return refuse(facts, error.code, error.detail ?? error.message);
    }
  }

  leave(): void {
    this.#inFlight--;
  }
}

/**
 * Whether a request's record belongs to a tenant: its caller is one that the tenant lists or whose certificate its CA issued.
 * Everybody else could fill a tenant's audit space from outside, so their refusals go to the server's own stream.
 */
export function isOfTenant({ tenant, identity, refusal }: Admission): boolean {
  if (tenant === undefined || identity === undefined || refusal !== undefined) return false;
  return tenant.config.clients.auth === 'on' || isListed(tenant, identity);
}

/** The tenant names this identity, as an admin or in a policy. */
export function isListed({ access }: Tenant, identity: Identity): boolean {
  return access.admins.has(identity) || access.policyOf(identity) !== undefined;
}

function refuse(facts: ConnectionFacts, code: ErrorCode, reason: string): Admission {
  return {
    tenant: undefined,
    identity: facts.peer?.identity,
    peer: facts.peer,
    sourceIp: facts.remoteAddress,
    refusal: { code, reason },
  };
}

function isServed(authority: string | string[] | undefined, serverNames: readonly string[]): boolean {
  const host = String(authority ?? '')
    .replace(/:\d+$/, '')
    .toLowerCase();
  return host === '' || serverNames.includes(host);
}

/** A missing SNI is always accepted; what is there must be one of the listener's names, and so must :authority or Host. */
function servesName({ serverName, serverNames }: ConnectionFacts, raw: AnyRequest): boolean {
  if (serverName !== undefined && !serverNames.includes(serverName)) return false;
  // HTTP/2 can carry both, and they can differ (RFC 9113 §8.3.1): each has to be right.
  return isServed(raw.headers[':authority'], serverNames) && isServed(raw.headers.host, serverNames);
}
