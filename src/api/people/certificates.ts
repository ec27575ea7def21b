/** Certificates that a tenant depends on, and when each ends: what stops working next, first. */
import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { TrustSnapshot } from '../../access/index.ts';
import type { SeenClients, ServedCertificate } from '../../server/certificates.ts';
import type { Tenant } from '../../tenants/tenant.ts';

export interface CertificateSources {
  /** Of this process's listeners. */
  readonly served: () => readonly ServedCertificate[];
  /** What a tenant trusts; undefined with `auth: off`. */
  readonly trust: (tenant: Tenant) => TrustSnapshot | undefined;
  readonly clients: SeenClients;
}

export interface Shown {
  readonly use: string;
  readonly where: string;
  readonly subject: string;
  readonly issuer: string;
  readonly serial: string | null;
  readonly notBefore: string | null;
  readonly notAfter: string | null;
  readonly seenAt: string | null;
}

export async function certificatesOf(tenant: Tenant, sources: CertificateSources): Promise<object> {
  return {
    certificates: await shownCertificates(tenant, sources),
    systemCas: usesSystemCas(tenant),
    clientsNotShown: sources.clients.of(tenant.name).forgotten,
  };
}

function usesSystemCas({ config: { clients } }: Tenant): boolean {
  return clients.auth === 'on' && clients.caFile === undefined;
}

/** What ends first comes first. */
export async function shownCertificates(
  tenant: Tenant,
  { served, trust, clients }: CertificateSources,
): Promise<Shown[]> {
  const { clients: clientAuth, keystore } = tenant.config;
  const shown: Shown[] = served().map(({ use, where, certificate }) => ofX509(use, where, certificate));
  const trusted = trust(tenant);
  if (trusted !== undefined) {
    const source = clientAuth.auth === 'on' ? (clientAuth.caFile ?? '') : '';
    if (!usesSystemCas(tenant))
      for (const { x509 } of trusted.anchors) shown.push(ofX509('client-ca', source, x509));
    for (const { x509 } of trusted.pinned) shown.push(ofX509('pinned-client', source, x509));
    for (const crl of trusted.crls) {
      const issuer = trusted.anchors.find((anchor) => trusted.crlsOf(anchor).includes(crl));
      const name = issuer === undefined ? '' : oneLine(issuer.x509.subject);
      shown.push({
        use: 'crl',
        where: crl.source,
        subject: name,
        issuer: name,
        serial: null,
        notBefore: dateOf(crl.thisUpdateMs),
        notAfter: dateOf(crl.nextUpdateMs),
        seenAt: null,
      });
    }
  }
  for (const { identity, x509, seenMs } of clients.of(tenant.name).clients)
    shown.push({ ...ofX509('client', identity, x509), seenAt: dateOf(seenMs) });
  if (keystore.kind === 'vault-kv' && keystore.vault.tls.certFile !== undefined) {
    const file = keystore.vault.tls.certFile;
    const pem = await readFile(file).catch(() => undefined);
    if (pem !== undefined) shown.push(ofX509('vault-client', file, new X509Certificate(pem)));
  }
  const ends = ({ notAfter }: Shown): string => notAfter ?? '~';
  return shown.sort((a, b) => (ends(a) < ends(b) ? -1 : ends(a) > ends(b) ? 1 : 0));
}

function ofX509(use: string, where: string, certificate: X509Certificate): Shown {
  const { validFromDate, validToDate, serialNumber, subject, issuer } = certificate;
  return {
    use,
    where,
    subject: oneLine(subject),
    issuer: oneLine(issuer),
    serial: serialNumber.toLowerCase(),
    notBefore: dateOf(validFromDate.getTime()),
    notAfter: dateOf(validToDate.getTime()),
    seenAt: null,
  };
}

/** Node has undefined for an empty name. */
function oneLine(name: string | undefined): string {
  return (name ?? '').replaceAll('\n', ', ');
}

function dateOf(ms: number): string | null {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? null : date.toISOString();
}
