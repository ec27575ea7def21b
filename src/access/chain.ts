/**
 * Certificate paths from a client's leaf to a tenant's CA file (RFC 5280 §6, without policies and name constraints:
 * a certificate with a critical extension we do not process ends no path). Signatures are checked once per connection
 * and snapshot; what changes with time is kept as plain numbers for the request to compare.
 */
import type { CertificateFacts } from './certificate-facts.ts';
import type { TrustSnapshot } from './trust.ts';

export interface Chain {
  /** The chain's dates: the latest notBefore and the earliest notAfter of its certificates. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly isRevoked: boolean;
  /** The CRLs that speak for the chain are current between these two. Without CRLs: always. */
  readonly crlsFromMs: number;
  readonly crlsUntilMs: number;
  /** True when an extended key usage of a certificate in it excludes client authentication. */
  readonly hasWrongUsage: boolean;
}

/** A hostile client chooses the certificates: both bounds keep its handshake from costing more than a few signatures. */
const maxChainCertificates = 8;
const maxSignatureChecks = 32;

/** MD2, MD5 and SHA-1 with RSA; SHA-1 with DSA and ECDSA. */
const weakSignatures: ReadonlySet<string> = new Set([
  '2a864886f70d010102', '2a864886f70d010104', '2a864886f70d010105', '2a8648ce380403', '2a8648ce3d0401',
]); // prettier-ignore
const minRsaBits = 2048;

/**
 * Every path from `sent[0]` to the snapshot's anchors, through other certificates the client sent. Empty: not trusted.
 * @param sent the certificates of the handshake, leaf first; also the key of the cache
 */
export function chainsOf(sent: readonly CertificateFacts[], trust: TrustSnapshot): readonly Chain[] {
  let chains = trust.chains.get(sent);
  if (chains === undefined) {
    chains = findChains(sent, trust);
    trust.chains.set(sent, chains);
  }
  return chains;
}

function findChains(sent: readonly CertificateFacts[], trust: TrustSnapshot): readonly Chain[] {
  const leaf = sent[0];
  if (leaf === undefined || leaf.hasUnknownCriticalExtension || hasWeakKey(leaf)) return [];
  if (trust.pinned.some((each) => each.der.equals(leaf.der))) return [summarise([leaf], trust)];
  const found: Chain[] = [];
  let signatureChecks = 0;

  const extend = (path: readonly CertificateFacts[]) => {
    const last = path.at(-1)!;
    for (const issuer of [...trust.anchors, ...sent.slice(1)]) {
      if (path.length >= maxChainCertificates || signatureChecks >= maxSignatureChecks) return;
      if (!last.issuer.equals(issuer.subject) || path.some((each) => each.spkiSha256 === issuer.spkiSha256))
        continue;
      if (!mayIssueBelow(issuer, path)) continue;
      signatureChecks += 1;
      if (!isIssuedBy(last, issuer)) continue;
      const longer = [...path, issuer];
      if (trust.anchors.includes(issuer)) found.push(summarise(longer, trust));
      else extend(longer);
    }
  };
  extend([leaf]);
  return found;
}

function mayIssueBelow(issuer: CertificateFacts, path: readonly CertificateFacts[]): boolean {
  if (!issuer.isCa || issuer.hasUnknownCriticalExtension || hasWeakKey(issuer)) return false;
  if (issuer.keyUsage !== undefined && !issuer.keyUsage.certSign) return false;
  // Self-issued certificates do not count (RFC 5280 §4.2.1.9); the leaf is no intermediate.
  const intermediates = path.slice(1).filter((each) => !each.issuer.equals(each.subject)).length;
  return issuer.maxPathLength === undefined || intermediates <= issuer.maxPathLength;
}

function isIssuedBy(certificate: CertificateFacts, issuer: CertificateFacts): boolean {
  if (weakSignatures.has(certificate.signatureOid)) return false;
  try {
    return certificate.x509.checkIssued(issuer.x509) && certificate.x509.verify(issuer.x509.publicKey);
  } catch {
    // A key OpenSSL cannot load, or one of another kind than the signature.
    return false;
  }
}

function hasWeakKey(certificate: CertificateFacts): boolean {
  try {
    const bits = certificate.x509.publicKey.asymmetricKeyDetails?.modulusLength;
    return bits !== undefined && bits < minRsaBits;
  } catch {
    return true;
  }
}

/** @param path leaf first, the anchor last */
function summarise(path: readonly CertificateFacts[], trust: TrustSnapshot): Chain {
  let isRevoked = false;
  let crlsFromMs = Number.NEGATIVE_INFINITY;
  let crlsUntilMs = Number.POSITIVE_INFINITY;
  for (const [certificate, issuer] of links(path, trust)) {
    for (const crl of trust.crlsOf(issuer)) {
      isRevoked ||= crl.revoked.has(certificate.serial);
      crlsFromMs = Math.max(crlsFromMs, crl.thisUpdateMs);
      crlsUntilMs = Math.min(crlsUntilMs, crl.nextUpdateMs);
    }
  }
  return {
    notBeforeMs: Math.max(...path.map((each) => each.notBeforeMs)),
    notAfterMs: Math.min(...path.map((each) => each.notAfterMs)),
    isRevoked,
    crlsFromMs,
    crlsUntilMs,
    hasWrongUsage: path.some(
      ({ extendedKeyUsage: usage }) => usage !== undefined && !usage.clientAuth && !usage.any,
    ),
  };
}

/**
 * Each certificate with its issuer: those of the path, and from its anchor on upwards, where the CA file
 * also holds who issued the anchor. An intermediate CA in the CA file can so be revoked by its root.
 */
function links(
  path: readonly CertificateFacts[],
  trust: TrustSnapshot,
): [CertificateFacts, CertificateFacts][] {
  const all = path
    .slice(1)
    .map((issuer, index): [CertificateFacts, CertificateFacts] => [path[index]!, issuer]);
  const seen = new Set<CertificateFacts>();
  const climb = (certificate: CertificateFacts) => {
    if (seen.has(certificate)) return;
    seen.add(certificate);
    for (const issuer of trust.anchors) {
      if (issuer === certificate || trust.crlsOf(issuer).length === 0) continue;
      if (!certificate.issuer.equals(issuer.subject) || !isIssuedBy(certificate, issuer)) continue;
      all.push([certificate, issuer]);
      climb(issuer);
    }
  };
  climb(path.at(-1)!);
  return all;
}
