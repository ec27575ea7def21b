/**
 * Which tenant a client belongs to, by its certificate alone (design.md, decision 5): the tenant that lists its
 * identity; else the one `auth: on` tenant whose CA file its chain leads to; else, in a configuration of one tenant
 * with `auth: off`, that tenant (which answers 403 by policy). Nothing a tenant owns may be another's too: an identity
 * or a CA key in two tenants refuses the whole configuration.
 *
 * A registry is immutable; a reload builds a new one and swaps it.
 */
import { compileAccess } from '../access/policy.ts';
import type { Access } from '../access/policy.ts';
import { chainsOf } from '../access/chain.ts';
import type { Identity } from '../access/identity.ts';
import { refuseByShape } from '../access/peer.ts';
import type { PeerFacts, TenantClientAuth } from '../access/peer.ts';
import { loadTrust } from '../access/trust.ts';
import type { TrustSnapshot } from '../access/trust.ts';
import type { TenantConfig } from '../config/model.ts';
import { SelloError } from '../errors.ts';
import type { TenantName } from './name.ts';

/** What the registry needs of a tenant's configuration. */
export type TenantMembership = Pick<TenantConfig, 'name' | 'clients' | 'admins' | 'policies'>;

export interface RegisteredTenant {
  readonly name: TenantName;
  readonly access: Access;
  readonly clientAuth: TenantClientAuth;
  readonly proxy: { readonly identities: ReadonlySet<Identity>; readonly header: string } | undefined;
}

export interface TenantRegistry {
  readonly tenants: ReadonlyMap<TenantName, RegisteredTenant>;
  /** undefined: belongs to no tenant; its refusal goes to the server's audit stream. Cached per connection's facts. */
  resolve(facts: PeerFacts): RegisteredTenant | undefined;
}

/** Reads every tenant's CA and CRL files. @throws SelloError SELLO_CONFIG_INVALID */
export async function loadTenantRegistry(memberships: readonly TenantMembership[]): Promise<TenantRegistry> {
  const trusts = await Promise.all(
    memberships.map(({ clients }) => (clients.auth === 'on' ? loadTrust(clients) : undefined)),
  );
  return buildTenantRegistry(memberships.map((membership, index) => ({ membership, trust: trusts[index] })));
}

/** @throws SelloError SELLO_CONFIG_INVALID */
export function buildTenantRegistry(
  entries: readonly { readonly membership: TenantMembership; readonly trust: TrustSnapshot | undefined }[],
): TenantRegistry {
  const tenants = new Map<TenantName, RegisteredTenant>();
  for (const { membership, trust } of entries) {
    if (tenants.has(membership.name)) throw invalid(`tenant ${membership.name} is there twice`);
    tenants.set(membership.name, register(membership, trust));
  }
  const byIdentity = indexIdentities(tenants);
  refuseSharedCas(tenants);
  const verifying = [...tenants.values()].filter((tenant) => tenant.clientAuth.auth === 'on');
  const [first] = tenants.values();
  const only = tenants.size === 1 && first?.clientAuth.auth === 'off' ? first : undefined;

  const find = (facts: PeerFacts): RegisteredTenant | undefined => {
    const listed = byIdentity.get(facts.identity);
    if (listed !== undefined) return listed;
    if (refuseByShape(facts) === undefined) {
      // Cross-signed CAs can lead into two tenants; then neither may have it.
      const issuing = verifying.filter(
        ({ clientAuth }) => chainsOf(facts.sent, clientAuth.trust!).length > 0,
      );
      if (issuing.length > 0) return issuing.length === 1 ? issuing[0] : undefined;
    }
    return only;
  };
  const resolved = new WeakMap<PeerFacts, RegisteredTenant | 'none'>();
  return {
    tenants,
    resolve: (facts) => {
      let tenant = resolved.get(facts);
      if (tenant === undefined) {
        tenant = find(facts) ?? 'none';
        resolved.set(facts, tenant);
      }
      return tenant === 'none' ? undefined : tenant;
    },
  };
}

function register(membership: TenantMembership, trust: TrustSnapshot | undefined): RegisteredTenant {
  const { name, clients } = membership;
  if (clients.auth === 'on' && trust === undefined)
    throw invalid(`tenant ${name} verifies clients and has no CA file`);
  let access: Access;
  try {
    access = compileAccess(membership);
  } catch (error) {
    if (error instanceof SelloError) throw invalid(`tenant ${name}: ${error.detail ?? error.message}`);
    throw error;
  }
  const proxies = new Set(clients.proxy?.identities);
  for (const identity of proxies) {
    // As KES: who speaks for others has no rights of its own to confuse with theirs.
    if (access.admins.has(identity)) throw invalid(`tenant ${name}: proxy ${identity} is also an admin`);
    if (access.policyOf(identity) !== undefined)
      throw invalid(`tenant ${name}: proxy ${identity} is also in a policy`);
  }
  return {
    name,
    access,
    clientAuth: {
      auth: clients.auth,
      staleCrl: clients.staleCrl,
      requireClientAuthEku: clients.requireClientAuthEku,
      trust: clients.auth === 'on' ? trust : undefined,
    },
    proxy:
      clients.proxy === undefined
        ? undefined
        : { identities: proxies, header: clients.proxy.header.toLowerCase() },
  };
}

function indexIdentities(
  tenants: ReadonlyMap<TenantName, RegisteredTenant>,
): ReadonlyMap<Identity, RegisteredTenant> {
  const owners = new Map<Identity, RegisteredTenant>();
  for (const tenant of tenants.values()) {
    for (const identity of [...tenant.access.identities, ...(tenant.proxy?.identities ?? [])]) {
      const owner = owners.get(identity);
      if (owner !== undefined && owner !== tenant) {
        throw invalid(`identity ${identity} is in tenant ${owner.name} and in tenant ${tenant.name}`);
      }
      owners.set(identity, tenant);
    }
  }
  return owners;
}

function refuseSharedCas(tenants: ReadonlyMap<TenantName, RegisteredTenant>): void {
  const owners = new Map<string, TenantName>();
  for (const { name, clientAuth } of tenants.values()) {
    for (const { spkiSha256, x509 } of [
      ...(clientAuth.trust?.anchors ?? []),
      ...(clientAuth.trust?.pinned ?? []),
    ]) {
      const owner = owners.get(spkiSha256);
      if (owner !== undefined && owner !== name) {
        throw invalid(
          `CA '${x509.subject.replaceAll('\n', ', ')}' is in tenant ${owner} and in tenant ${name}`,
        );
      }
      owners.set(spkiSha256, name);
    }
  }
}

function invalid(detail: string): SelloError {
  return new SelloError('SELLO_CONFIG_INVALID', { detail });
}
