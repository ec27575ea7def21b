/**
 * Who is a peer: a certificate of the peers' CA, in date, that is for the peers' name or has one of the listed keys. The same question
 * is asked of who connects and of whom this replica connects to. OpenSSL verifies chain, dates and usage (a peer needs both
 * `serverAuth` and `clientAuth`) before it comes here.
 */
import type { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { SecureContextOptions } from 'node:tls';
import { identityOfCertificate } from '../access/index.ts';
import type { PeersConfig } from '../config/model.ts';
import { SelloError } from '../errors.ts';
import { secureContextOptions } from './listener.ts';

/** A name that stands in the certificate as it is: one for every name below a domain is somebody else's. */
const exactly = { subject: 'never', wildcards: false } as const;

export class PeerTrust {
  readonly context: SecureContextOptions & { readonly cert: Buffer; readonly ca: Buffer };
  /** What a client asks for, and what decides which certificate answers. */
  readonly name: string | undefined;
  readonly #identities: ReadonlySet<string>;

  /** @throws SelloError SELLO_CONFIG_INVALID when a file cannot be used */
  constructor({ caFile, identities, name, tls }: PeersConfig) {
    let ca: Buffer;
    try {
      ca = readFileSync(caFile);
    } catch (cause) {
      throw new SelloError('SELLO_CONFIG_INVALID', {
        detail: `CA of the peers ${caFile} cannot be read: ${(cause as Error).message}`,
        cause,
      });
    }
    this.context = { ...secureContextOptions(tls), ca };
    this.name = name;
    this.#identities = new Set(identities);
  }

  /** Why it is no peer; undefined: it is one. */
  refuses(certificate: X509Certificate | undefined, nowMs: number): string | undefined {
    if (certificate === undefined) return 'no certificate';
    if (certificate.ca) return 'a CA certificate';
    if (nowMs > certificate.validToDate.getTime()) return 'certificate expired';
    if (this.name !== undefined && certificate.checkHost(this.name, exactly) === undefined)
      return 'certificate is not for the name of the peers';
    if (this.#identities.size > 0 && !this.#identities.has(identityOfCertificate(certificate)))
      return 'identity is not listed';
    return undefined;
  }
}
