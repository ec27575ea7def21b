/**
 * Certificate revocation lists (RFC 5280 §5): complete lists signed by the CA they speak for. Several lists of
 * one CA (partitions by distribution point) all count. Delta and indirect lists are refused by name, because half
 * understood they would let revoked certificates pass.
 */
import { constants, verify } from 'node:crypto';
import { SelloError } from '../errors.ts';
import type { CertificateFacts } from './certificate-facts.ts';
import {
  bool,
  derTag,
  DerReader,
  MalformedDer,
  openSequence,
  readExtensions,
  serialHex,
  timeMs,
} from './der.ts';
import type { DerExtension } from './der.ts';

export interface Crl {
  /** Where it was read from, for messages. */
  readonly source: string;
  /** DER of the issuer's name. */
  readonly issuer: Buffer;
  readonly thisUpdateMs: number;
  readonly nextUpdateMs: number;
  /** Hex serial numbers as in {@link CertificateFacts.serial}. */
  readonly revoked: ReadonlySet<string>;
  /** Which part of the CA's certificates it covers: lists of the same part replace each other. */
  readonly part: string;
  readonly tbs: Buffer;
  readonly signature: Buffer;
  readonly algorithm: Buffer;
}

const oid = {
  cRLNumber: '551d14',
  reasonCode: '551d15',
  invalidityDate: '551d18',
  deltaCRLIndicator: '551d1b',
  issuingDistributionPoint: '551d1c',
  certificateIssuer: '551d1d',
  authorityKeyIdentifier: '551d23',
} as const;

/** @throws SelloError SELLO_CONFIG_INVALID with the reason and `source` in its detail */
export function parseCrl(der: Buffer, source: string): Crl {
  try {
    return readCrl(der, source);
  } catch (error) {
    if (error instanceof MalformedDer) throw refuse(source, 'is not a CRL', error);
    throw error;
  }
}

function readCrl(der: Buffer, source: string): Crl {
  const list = openSequence(der);
  const tbsElement = list.expect(derTag.sequence);
  const algorithm = list.expect(derTag.sequence).raw;
  const bits = list.expect(derTag.bitString).content;
  list.end();
  const tbs = new DerReader(tbsElement.content);
  tbs.optional(derTag.integer); // version
  if (!tbs.expect(derTag.sequence).raw.equals(algorithm))
    throw refuse(source, 'names two signature algorithms');
  const issuer = tbs.expect(derTag.sequence).raw;
  const thisUpdateMs = timeMs(tbs.next());
  if (tbs.nextTag !== derTag.utcTime && tbs.nextTag !== derTag.generalizedTime) {
    throw refuse(source, 'has no nextUpdate, so nothing tells when it is stale');
  }
  const nextUpdateMs = timeMs(tbs.next());
  const entries = tbs.optional(derTag.sequence);
  const extensionsField = tbs.optional(0xa0);
  tbs.end();
  const part =
    extensionsField === undefined ? '' : readListExtensions(readExtensions(extensionsField.content), source);
  const revoked = entries === undefined ? new Set<string>() : readEntries(entries.content, source);
  return {
    source,
    issuer,
    thisUpdateMs,
    nextUpdateMs,
    revoked,
    part,
    tbs: tbsElement.raw,
    signature: bits.subarray(1),
    algorithm,
  };
}

/** Returns the part of the CA's certificates that this list covers: its issuingDistributionPoint, in hex. */
function readListExtensions(extensions: readonly DerExtension[], source: string): string {
  let part = '';
  for (const extension of extensions) {
    if (extension.oid === oid.deltaCRLIndicator)
      throw refuse(source, 'is a delta CRL; give the complete one');
    if (extension.oid === oid.issuingDistributionPoint) {
      refuseIndirect(extension.value, source);
      part = extension.value.toString('hex');
    } else if (
      extension.critical &&
      extension.oid !== oid.cRLNumber &&
      extension.oid !== oid.authorityKeyIdentifier
    ) {
      throw refuse(source, 'has a critical extension that is not supported');
    }
  }
  return part;
}

/** IssuingDistributionPoint: [4] indirectCRL, [5] onlyContainsAttributeCerts (RFC 5280 §5.2.5). */
function refuseIndirect(value: Buffer, source: string): void {
  const fields = openSequence(value);
  while (!fields.isAtEnd) {
    const field = fields.next();
    if (field.tag === 0x84 && bool(field.content))
      throw refuse(source, 'is an indirect CRL, which is not supported');
    if (field.tag === 0x85 && bool(field.content)) throw refuse(source, 'is about attribute certificates');
  }
}

function readEntries(content: Buffer, source: string): ReadonlySet<string> {
  const revoked = new Set<string>();
  const entries = new DerReader(content);
  while (!entries.isAtEnd) {
    const entry = new DerReader(entries.expect(derTag.sequence).content);
    revoked.add(serialHex(entry.expect(derTag.integer)));
    timeMs(entry.next());
    const extensions = entry.optional(derTag.sequence);
    entry.end();
    if (extensions === undefined) continue;
    for (const extension of readExtensions(extensions.raw)) {
      if (extension.oid === oid.certificateIssuer)
        throw refuse(source, 'is an indirect CRL, which is not supported');
      if (extension.critical && extension.oid !== oid.reasonCode && extension.oid !== oid.invalidityDate) {
        throw refuse(source, 'has an entry with a critical extension that is not supported');
      }
    }
  }
  return revoked;
}

/** Hash by the OID of the signature algorithm; null: the key's own (EdDSA). SHA-1 and MD5 are not among them. */
const hashes: Readonly<Record<string, string | null>> = {
  '2a864886f70d01010b': 'sha256',
  '2a864886f70d01010c': 'sha384',
  '2a864886f70d01010d': 'sha512',
  '2a8648ce3d040302': 'sha256',
  '2a8648ce3d040303': 'sha384',
  '2a8648ce3d040304': 'sha512',
  '2b6570': null,
  '2b6571': null,
};

const rsaPss = '2a864886f70d01010a';
const pssHashes: Readonly<Record<string, string>> = {
  '608648016503040201': 'sha256',
  '608648016503040202': 'sha384',
  '608648016503040203': 'sha512',
};

/** True when `issuer` may sign CRLs and signed this one. */
export function isSignedBy(crl: Crl, issuer: CertificateFacts): boolean {
  if (!issuer.subject.equals(crl.issuer)) return false;
  if (issuer.keyUsage !== undefined && !issuer.keyUsage.crlSign) return false;
  const algorithm = openSequence(crl.algorithm);
  const name = algorithm.expect(derTag.oid).content.toString('hex');
  try {
    const key = issuer.x509.publicKey;
    if (name === rsaPss) {
      const hash = pssHash(algorithm);
      if (hash === undefined) return false;
      const { RSA_PKCS1_PSS_PADDING: padding, RSA_PSS_SALTLEN_AUTO: saltLength } = constants;
      return verify(hash, crl.tbs, { key, padding, saltLength }, crl.signature);
    }
    const hash = hashes[name];
    return hash !== undefined && verify(hash, crl.tbs, key, crl.signature);
  } catch {
    // A key OpenSSL cannot load, or one of another kind than the algorithm.
    return false;
  }
}

/** RSASSA-PSS-params (RFC 4055 §3.1): [0] hash algorithm; absent means SHA-1, which is not accepted. */
function pssHash(algorithm: DerReader): string | undefined {
  const parameters = algorithm.optional(derTag.sequence);
  const hash = parameters === undefined ? undefined : new DerReader(parameters.content).optional(0xa0);
  return hash === undefined
    ? undefined
    : pssHashes[openSequence(hash.content).expect(derTag.oid).content.toString('hex')];
}

function refuse(source: string, why: string, cause?: unknown): SelloError {
  return new SelloError('SELLO_CONFIG_INVALID', { detail: `${source} ${why}`, cause });
}
