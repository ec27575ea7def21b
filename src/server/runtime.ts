/**
 * Everything a configuration means at run time: tenants with their keystores, caches, policies and audit streams. A reload
 * builds a new one beside the old, takes over what did not change, and replaces it as a whole or not at all.
 */
import { isDeepStrictEqual } from 'node:util';
import {
  compileAccess,
  loadTrust,
  TenantRegistry,
  type ClientAuth,
  type Identity,
  type PeerFacts,
} from '../access/index.ts';
import { openAuditStream, openServerAudit, type ServerAudit } from '../audit/index.ts';
import type { AuditStream } from '../audit/record.ts';
import type { Config, TenantConfig } from '../config/model.ts';
import { parseKeyName, TenantKeys } from '../keys/index.ts';
import { openKeystore } from '../keystores/index.ts';
import { Quota } from '../tenants/quota.ts';
import type { Tenant } from '../tenants/tenant.ts';
import type { ConnectionFacts } from './gate.ts';
import type { ServerInfo } from './info.ts';

export class Runtime {
  readonly config: Config;
  readonly tenants: ReadonlyMap<string, Tenant>;
  readonly serverAudit: ServerAudit;
  readonly #registry: TenantRegistry;

  constructor(config: Config, tenants: ReadonlyMap<string, Tenant>, serverAudit: ServerAudit) {
    this.config = config;
    this.tenants = tenants;
    this.serverAudit = serverAudit;
    this.#registry = new TenantRegistry([...tenants.values()]);
  }

  /** Which tenant a peer belongs to: by its listed key, or by its issuing CA. */
  tenantOf(peer: PeerFacts): Tenant | undefined {
    const name = this.#registry.tenantOf(peer);
    return name === undefined ? undefined : this.tenants.get(name);
  }

  /** The tenant of a server that has only one. */
  get onlyTenant(): Tenant | undefined {
    return this.tenants.size === 1 ? this.tenants.values().next().value : undefined;
  }

  /** The proxy setting under which an identity may forward certificates. */
  proxyOf(identity: Identity): { header: string; tenant: Tenant } | undefined {
    for (const tenant of this.tenants.values()) {
      const { proxy } = tenant.config.clients;
      if (proxy?.identities.includes(identity) === true) return { header: proxy.header, tenant };
    }
    return undefined;
  }

  /** Why a connection has no business here, known right after its handshake; undefined when requests decide. */
  refusesConnection({ peer }: ConnectionFacts): string | undefined {
    if (peer === undefined) return this.#servesAnonymous ? undefined : 'no client certificate';
    // With chains verified everywhere, a peer that no tenant's CA vouches for ends at the handshake, as in KES.
    const tenants = [...this.tenants.values()];
    if (!tenants.every((tenant) => tenant.config.clients.auth === 'on')) return undefined;
    if (this.proxyOf(peer.identity) !== undefined || this.#servesAnonymous) return undefined;
    return this.#registry.rejects(peer, Date.now());
  }

  get #servesAnonymous(): boolean {
    return Object.values(this.onlyTenant?.config.kes.routes ?? {}).some((route) => route.skipAuth);
  }

  /** Closes what `next` does not use any more. */
  async retire(next: Runtime | undefined): Promise<void> {
    const kept = new Set<unknown>();
    for (const tenant of next?.tenants.values() ?? []) kept.add(tenant.keys).add(tenant.audit);
    for (const tenant of this.tenants.values()) {
      if (!kept.has(tenant.keys)) await tenant.keys.close();
      if (!kept.has(tenant.audit)) await tenant.audit.close();
    }
    if (next?.serverAudit !== this.serverAudit) await this.serverAudit.close();
  }
}

export interface OpenOptions {
  readonly server: ServerInfo;
  /** What runs now; unchanged parts of it are taken over. */
  readonly previous: Runtime | undefined;
  /** Told to other processes, so that a key's end reaches them. */
  readonly onInvalidate?: (tenant: string, key: string) => void;
}

/** Opens all that `config` names. When anything fails, what was opened for it is closed and the error thrown. */
export async function openRuntime(config: Config, options: OpenOptions): Promise<Runtime> {
  const opened: { close(): Promise<void> }[] = [];
  try {
    const { previous } = options;
    const serverAudit =
      previous !== undefined && isDeepStrictEqual(previous.config.serverAudit, config.serverAudit)
        ? previous.serverAudit
        : await openServerAudit(config.serverAudit);
    if (serverAudit !== previous?.serverAudit) opened.push(serverAudit);
    const tenants = new Map<string, Tenant>();
    for (const tenantConfig of config.tenants) {
      tenants.set(tenantConfig.name, await openTenant(tenantConfig, options, opened));
    }
    return new Runtime(config, tenants, serverAudit);
  } catch (error) {
    for (const resource of opened) await resource.close();
    throw error;
  }
}

async function openTenant(config: TenantConfig, { previous, server, onInvalidate }: OpenOptions, opened: { close(): Promise<void> }[]): Promise<Tenant> {
  const old = previous?.tenants.get(config.name);
  const clients: ClientAuth = await loadTrust(config.clients);
  const access = compileAccess({ admins: config.admins, policies: config.policies });
  let keys: TenantKeys;
  if (old !== undefined && isDeepStrictEqual([old.config.keystore, old.config.cache], [config.keystore, config.cache])) keys = old.keys;
  else {
    const store = await openKeystore(config.keystore);
    keys = new TenantKeys(store, config.cache, {
      onInvalidate: (key) => onInvalidate?.(config.name, key),
      metrics: server.metrics.keystore(config.name),
    });
    opened.push(keys);
  }
  let audit: AuditStream;
  if (old !== undefined && isDeepStrictEqual(old.config.audit, config.audit)) audit = old.audit;
  else {
    audit = await openAuditStream(config.audit, {
      onFault: (error: unknown) => server.log.error({ err: error, tenant: config.name }, 'audit stream cannot be written'),
    });
    opened.push(audit);
  }
  await keys.ensure(config.keys.map(parseKeyName), config.admins[0] ?? '');
  const quota = old !== undefined && isDeepStrictEqual(old.config.quota, config.quota) ? old.quota : new Quota(config.quota, performance.now());
  const configuredAt = old !== undefined && isDeepStrictEqual([old.config.policies, old.config.admins], [config.policies, config.admins]) ? old.configuredAt : nowWithNanoseconds();
  return { name: config.name, config, configuredAt, access, clients, keys, audit, quota };
}

function nowWithNanoseconds(): string {
  const sub = String(process.hrtime.bigint() % 1_000_000n).padStart(6, '0');
  return `${new Date().toISOString().slice(0, -1)}${sub}Z`;
}
