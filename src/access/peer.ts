/**
 * Who is at the other end of a TLS connection, and whether a tenant accepts that certificate.
 *
 * The identity is that of the handshake's leaf, the first certificate sent, whose private key the handshake proved,
 * and of nothing else, ever. (KES drops CA certificates and takes what remains: a client with a CA:TRUE certificate of
 * its own and somebody's public certificate behind it became that somebody.)
 *
 * Facts are found once per connection; {@link judgePeer} runs for every request, so that expiry, revocation and
 * a new CA file act on connections that are already open.
 */
import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import type { ClientAuthConfig } from '../config/model.ts';
import type { ErrorCode } from '../errors.ts';
import { SelloError } from '../errors.ts';
import { readCertificate } from './certificate-facts.ts';
import type { CertificateFacts } from './certificate-facts.ts';
import { chainsOf } from './chain.ts';
import type { Chain } from './chain.ts';
import type { Identity } from './identity.ts';
import type { TrustSnapshot } from './trust.ts';

export interface PeerFacts {
  readonly identity: Identity;
  readonly leaf: CertificateFacts;
  /** As the client sent them, leaf first. */
  readonly sent: readonly CertificateFacts[];
  readonly nonCaCount: number;
  /** For records. */
  readonly serialNumber: string;
  readonly issuerName: string;
  /** Made once, so that an accepted request allocates nothing. */
  readonly accepted: AcceptedPeer;
}

export interface AcceptedPeer {
  readonly ok: true;
  readonly identity: Identity;
  /** With `auth: off`: what `auth: on` would have refused, for the record and its metric. */
  readonly remark?: PeerReason;
}

export interface RefusedPeer {
  readonly ok: false;
  readonly code: ErrorCode;
  readonly reason: PeerReason;
}

export type PeerVerdict = AcceptedPeer | RefusedPeer;

export type PeerReason =
  | 'no client certificate'
  | 'CA certificate presented as client certificate'
  | 'more than one client certificate'
  | 'certificate is malformed'
  | 'issuer not trusted'
  | 'certificate not yet valid'
  | 'certificate expired'
  | 'certificate revoked'
  | 'wrong extended key usage'
  | 'CRL is stale'
  | 'identity belongs to no tenant'
  | 'identity belongs to another tenant than its proxy';

/** The parts of a tenant's `clients` section that judge a certificate, with the files they name as loaded. */
export interface TenantClientAuth extends Pick<
  ClientAuthConfig,
  'auth' | 'staleCrl' | 'requireClientAuthEku'
> {
  /** undefined with `auth: off`. */
  readonly trust: TrustSnapshot | undefined;
}

/** OpenSSL ends a handshake with more than 100 KiB of certificates; no honest chain is longer than this. */
const maxSentCertificates = 16;

/**
 * Facts of a client that speaks to us directly; undefined when it sent no certificate.
 *
 * `getPeerX509Certificate().issuerCertificate` walks what the client sent, in its order, whether or not one
 * certificate issued the other (Node 26; test/access/peer.test.ts holds it to that over TLS 1.2 and 1.3).
 * Ask once per connection and keep the answer: Node 20 gives the certificates after the leaf to the first caller only.
 * `getPeerCertificate(true)` must not be used: it drops what does not chain, adds from the server's own trust store
 * what the client never sent, and loops at a self-signed certificate.
 * @throws SelloError SELLO_CLIENT_CERTIFICATE_REJECTED when a certificate is malformed or there are too many
 */
export function peerFactsOfSocket(socket: Pick<TLSSocket, 'getPeerX509Certificate'>): PeerFacts | undefined {
  const chain: X509Certificate[] = [];
  let certificate = socket.getPeerX509Certificate();
  while (certificate !== undefined) {
    if (chain.length === maxSentCertificates)
      throw malformed(`more than ${maxSentCertificates} certificates`);
    chain.push(certificate);
    certificate = certificate.issuerCertificate;
  }
  return chain.length === 0 ? undefined : peerFactsOfCertificates(chain);
}

/**
 * @param chain the certificates as sent, leaf first, at least one
 * @throws SelloError SELLO_CLIENT_CERTIFICATE_REJECTED
 */
export function peerFactsOfCertificates(chain: readonly X509Certificate[]): PeerFacts {
  let sent: readonly CertificateFacts[];
  try {
    sent = chain.map(readCertificate);
  } catch (cause) {
    throw malformed('a certificate is malformed', cause);
  }
  const leaf = sent[0];
  if (leaf === undefined) throw new TypeError('a chain has at least one certificate');
  return {
    identity: leaf.spkiSha256,
    leaf,
    sent,
    nonCaCount: sent.filter((each) => !each.isCa).length,
    serialNumber: leaf.serial,
    issuerName: leaf.x509.issuer.replaceAll('\n', ', '),
    accepted: { ok: true, identity: leaf.spkiSha256 },
  };
}

const refusals = {
  missing: refusal('SELLO_CLIENT_CERTIFICATE_REQUIRED', 'no client certificate'),
  // KES answers a CA certificate as it answers a missing one.
  ca: refusal('SELLO_CLIENT_CERTIFICATE_REQUIRED', 'CA certificate presented as client certificate'),
  ambiguous: refusal('SELLO_CLIENT_CERTIFICATE_AMBIGUOUS', 'more than one client certificate'),
  untrusted: refusal('SELLO_CLIENT_CERTIFICATE_REJECTED', 'issuer not trusted'),
  early: refusal('SELLO_CLIENT_CERTIFICATE_REJECTED', 'certificate not yet valid'),
  expired: refusal('SELLO_CLIENT_CERTIFICATE_REJECTED', 'certificate expired'),
  revoked: refusal('SELLO_CLIENT_CERTIFICATE_REJECTED', 'certificate revoked'),
  usage: refusal('SELLO_CLIENT_CERTIFICATE_REJECTED', 'wrong extended key usage'),
  staleCrl: refusal('SELLO_CLIENT_CERTIFICATE_REJECTED', 'CRL is stale'),
} as const;

function refusal(code: ErrorCode, reason: PeerReason): RefusedPeer {
  return Object.freeze({ ok: false, code, reason });
}

/** The rules that hold for every peer of every tenant; undefined when it keeps them. */
export function refuseByShape(facts: PeerFacts | undefined): RefusedPeer | undefined {
  if (facts === undefined) return refusals.missing;
  if (facts.leaf.isCa) return refusals.ca;
  if (facts.nonCaCount > 1) return refusals.ambiguous;
  return undefined;
}

/** Whether the tenant accepts this certificate now. Cheap: signatures were checked when the facts were first judged. */
export function judgePeer(
  facts: PeerFacts | undefined,
  clientAuth: TenantClientAuth,
  nowMs: number,
): PeerVerdict {
  const shape = refuseByShape(facts);
  if (shape !== undefined || facts === undefined) return shape ?? refusals.missing;
  if (clientAuth.auth === 'off') return judgeUnverified(facts, nowMs);
  if (clientAuth.trust === undefined) return refusals.untrusted;
  if (clientAuth.requireClientAuthEku && facts.leaf.extendedKeyUsage?.clientAuth !== true)
    return refusals.usage;
  let first: RefusedPeer | undefined;
  for (const chain of chainsOf(facts.sent, clientAuth.trust)) {
    const refused = judgeChain(chain, clientAuth, nowMs);
    if (refused === undefined) return facts.accepted;
    first ??= refused;
  }
  return first ?? refusals.untrusted;
}

function judgeChain(chain: Chain, clientAuth: TenantClientAuth, nowMs: number): RefusedPeer | undefined {
  if (chain.isRevoked) return refusals.revoked;
  // Written so that a time that is no number refuses.
  if (!(nowMs >= chain.notBeforeMs)) return refusals.early;
  if (!(nowMs <= chain.notAfterMs)) return refusals.expired;
  if (chain.hasWrongUsage) return refusals.usage;
  if (clientAuth.staleCrl === 'refuse' && !(nowMs >= chain.crlsFromMs && nowMs <= chain.crlsUntilMs))
    return refusals.staleCrl;
  return undefined;
}

/** `auth: off` enforces neither dates nor usage (MinIO keeps an API-key certificate of 90 days for its whole life), but says so. */
function judgeUnverified(facts: PeerFacts, nowMs: number): AcceptedPeer {
  const { leaf } = facts;
  if (nowMs > leaf.notAfterMs) return { ...facts.accepted, remark: 'certificate expired' };
  if (nowMs < leaf.notBeforeMs) return { ...facts.accepted, remark: 'certificate not yet valid' };
  const usage = leaf.extendedKeyUsage;
  if (usage !== undefined && !usage.clientAuth && !usage.any)
    return { ...facts.accepted, remark: 'wrong extended key usage' };
  return facts.accepted;
}

function malformed(detail: string, cause?: unknown): SelloError {
  return new SelloError('SELLO_CLIENT_CERTIFICATE_REJECTED', { detail, cause });
}
