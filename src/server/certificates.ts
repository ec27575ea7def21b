/** What a process knows of certificates in use: its listeners' own, and those that clients came with. */
import type { X509Certificate } from 'node:crypto';
import type { PeerFacts } from '../access/index.ts';

export interface ServedCertificate {
  readonly use: 'listener' | 'operators';
  /** Address. */
  readonly where: string;
  readonly certificate: X509Certificate;
}

export interface SeenClient {
  readonly identity: string;
  readonly x509: X509Certificate;
  readonly seenMs: number;
}

/** Of a tenant; the ones seen longest ago go first. */
export const maxSeenClients = 1000;

interface SeenOfTenant {
  readonly clients: Map<string, SeenClient>;
  forgotten: number;
}

/** Client certificates by tenant, noted once for a connection: whose end comes is known before its requests fail. */
export class SeenClients {
  readonly #tenants = new Map<string, SeenOfTenant>();
  readonly #now: () => number;

  /** @param now milliseconds since the epoch */
  constructor(now: () => number) {
    this.#now = now;
  }

  note(tenant: string, { identity, leaf }: PeerFacts): void {
    let seen = this.#tenants.get(tenant);
    if (seen === undefined) this.#tenants.set(tenant, (seen = { clients: new Map(), forgotten: 0 }));
    const { clients } = seen;
    // A renewed certificate has the identity of the one before, where its key was kept.
    const key = `${identity} ${leaf.serial}`;
    clients.delete(key);
    clients.set(key, { identity, x509: leaf.x509, seenMs: this.#now() });
    if (clients.size <= maxSeenClients) return;
    clients.delete(clients.keys().next().value!);
    seen.forgotten++;
  }

  of(tenant: string): { readonly clients: readonly SeenClient[]; readonly forgotten: number } {
    const seen = this.#tenants.get(tenant);
    return { clients: [...(seen?.clients.values() ?? [])], forgotten: seen?.forgotten ?? 0 };
  }
}
