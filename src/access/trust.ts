/**
 * What one tenant trusts: its CA certificates and their CRLs, read from files into one immutable snapshot that a
 * reload replaces as a whole. Revocation and chains are judged here and not by OpenSSL, which takes CRLs all or nothing
 * (an expired one refuses everybody, one CA's list refuses every other CA's clients) and remembers its verdict for as
 * long as a connection lives.
 */
import { X509Certificate } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { getCACertificates } from 'node:tls';
import { SelloError } from '../errors.ts';
import { readCertificate } from './certificate-facts.ts';
import type { CertificateFacts } from './certificate-facts.ts';
import type { Chain } from './chain.ts';
import { isSignedBy, parseCrl } from './crl.ts';
import type { Crl } from './crl.ts';

export interface TrustSnapshot {
  /** Every CA:TRUE certificate of the CA file anchors a chain, self-signed or not (as Go's CertPool, so as KES). */
  readonly anchors: readonly CertificateFacts[];
  /** Other certificates of the CA file: trusted as client certificates by themselves, as Go does. */
  readonly pinned: readonly CertificateFacts[];
  readonly crls: readonly Crl[];
  crlsOf(issuer: CertificateFacts): readonly Crl[];
  /** Chains found under this snapshot, by the facts of the peer; chain.ts keeps them here so that they vanish with it. */
  readonly chains: WeakMap<object, readonly Chain[]>;
}

/** No CA file or CRL in the field is larger. */
const maxFileBytes = 64 * 1024 * 1024;

/**
 * @param files.caFile a file, a folder of files, or undefined for the system's roots
 * @throws SelloError SELLO_CONFIG_INVALID naming the file and what is wrong with it
 */
export async function loadTrust(files: {
  readonly caFile: string | undefined;
  readonly crlFiles: readonly string[];
}): Promise<TrustSnapshot> {
  const certificates: CertificateFacts[] = [];
  if (files.caFile === undefined) {
    certificates.push(...readSystemRoots());
  } else {
    for (const path of await filesAt(files.caFile))
      certificates.push(...readCertificates(await read(path), path));
  }
  const crls: Crl[] = [];
  for (const path of files.crlFiles) {
    const ders = blocks(await read(path), 'X509 CRL');
    if (ders.length === 0) throw invalid(`${path} holds no CRL`);
    for (const der of ders) crls.push(parseCrl(der, path));
  }
  return buildTrust(certificates, crls);
}

/** @throws SelloError SELLO_CONFIG_INVALID */
export function buildTrust(certificates: readonly CertificateFacts[], lists: readonly Crl[]): TrustSnapshot {
  const unique = [...new Map(certificates.map((each) => [each.der.toString('latin1'), each])).values()];
  const anchors = unique.filter((each) => each.isCa);
  for (const anchor of anchors) {
    if (anchor.hasUnknownCriticalExtension) {
      throw invalid(
        `CA certificate '${oneLine(anchor)}' has a critical extension that is not supported, such as name constraints`,
      );
    }
  }
  const crls = newest(lists, anchors);
  const byAnchor = new Map(anchors.map((anchor) => [anchor, crls.filter((crl) => isSignedBy(crl, anchor))]));
  return {
    anchors,
    pinned: unique.filter((each) => !each.isCa),
    crls,
    crlsOf: (issuer) => byAnchor.get(issuer) ?? crls.filter((crl) => isSignedBy(crl, issuer)),
    chains: new WeakMap(),
  };
}

/** Of lists of the same signer and part the newest counts. Two CAs of one name, as in a key roll-over, are two signers. */
function newest(lists: readonly Crl[], anchors: readonly CertificateFacts[]): Crl[] {
  const kept = new Map<string, Crl>();
  for (const crl of lists) {
    const signer = anchors.find((anchor) => isSignedBy(crl, anchor));
    if (signer === undefined) throw invalid(`${crl.source}: no certificate of the CA file signed this CRL`);
    const key = `${signer.spkiSha256}/${crl.part}`;
    const other = kept.get(key);
    if (other === undefined || other.thisUpdateMs < crl.thisUpdateMs) kept.set(key, crl);
  }
  return [...kept.values()];
}

function readSystemRoots(): CertificateFacts[] {
  const roots: CertificateFacts[] = [];
  for (const pem of getCACertificates('system')) {
    try {
      const root = readCertificate(new X509Certificate(pem));
      if (root.isCa && !root.hasUnknownCriticalExtension) roots.push(root);
    } catch {
      // A root we cannot read is one we do not trust; the file is the system's, not the operator's.
    }
  }
  return roots;
}

/** @throws SelloError SELLO_CONFIG_INVALID */
export function readCertificates(bytes: Buffer, source: string): CertificateFacts[] {
  const ders = blocks(bytes, 'CERTIFICATE');
  if (ders.length === 0) throw invalid(`${source} holds no certificate`);
  return ders.map((der) => {
    try {
      return readCertificate(new X509Certificate(der));
    } catch (cause) {
      throw new SelloError('SELLO_CONFIG_INVALID', {
        detail: `${source} holds a malformed certificate`,
        cause,
      });
    }
  });
}

/** PEM blocks with this label, or the bytes themselves when they are DER. */
function blocks(bytes: Buffer, label: string): Buffer[] {
  if (bytes[0] === 0x30) return [bytes];
  const pattern = new RegExp(`-----BEGIN ${label}-----([^-]*)-----END ${label}-----`, 'g');
  return [...bytes.toString('latin1').matchAll(pattern)].map((match) => Buffer.from(match[1]!, 'base64'));
}

async function filesAt(path: string): Promise<string[]> {
  let names: string[];
  try {
    if (!(await stat(path)).isDirectory()) return [path];
    // Kubernetes keeps the files behind a symlink named ..data next to links to each of them.
    names = (await readdir(path)).filter((name) => !name.startsWith('.')).sort();
  } catch (cause) {
    throw new SelloError('SELLO_CONFIG_INVALID', { detail: `${path} cannot be read`, cause });
  }
  if (names.length === 0) throw invalid(`${path} holds no certificate`);
  return names.map((name) => join(path, name));
}

async function read(path: string): Promise<Buffer> {
  let bytes: Buffer;
  try {
    const { size } = await stat(path);
    if (size > maxFileBytes) throw new Error(`larger than ${maxFileBytes} bytes`);
    bytes = await readFile(path);
  } catch (cause) {
    throw new SelloError('SELLO_CONFIG_INVALID', { detail: `${path} cannot be read`, cause });
  }
  return bytes;
}

function oneLine(certificate: CertificateFacts): string {
  return certificate.x509.subject.replaceAll('\n', ', ');
}

function invalid(detail: string): SelloError {
  return new SelloError('SELLO_CONFIG_INVALID', { detail });
}
