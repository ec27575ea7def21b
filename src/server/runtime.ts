/**
 * Everything a configuration means at run time: tenants with their keystores, caches, policies and audit streams. A reload
 * builds a new one beside the old, takes over what did not change, and replaces it as a whole or not at all.
 */
import { mkdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { judgePeer, refuseByShape } from '../access/index.ts';
import {
  createServerAudit,
  openAuditStream,
  type AuditFault,
  type AuditFile,
  type ServerAudit,
} from '../audit/index.ts';
import { systemClock } from '../clock.ts';
import type { AuditConfig, Config, TenantConfig } from '../config/model.ts';
import { HoldFiles, parseKeyName, TenantKeys, type TenantKeysOptions } from '../keys/index.ts';
import { openKeystore } from '../keystores/index.ts';
import { loadTenantRegistry, type RegisteredTenant, type TenantRegistry } from '../tenants/registry.ts';
import type { KeystoreOperation, KeystoreOutcome, KeystoreSeries, Metrics } from '../telemetry/index.ts';
import { Quota } from '../tenants/quota.ts';
import type { Tenant } from '../tenants/tenant.ts';
import type { ConnectionFacts } from './gate.ts';
import type { Peers } from './peers.ts';
import { workerOwnerPid } from './processes.ts';
import { SelloError } from '../errors.ts';
import type { ServerInfo } from './info.ts';

export class Runtime {
  readonly config: Config;
  readonly tenants: ReadonlyMap<string, Tenant>;
  readonly registry: TenantRegistry;
  readonly serverAudit: ServerAudit & { readonly file: AuditFile };
  /** The tenant of a server that has only one. */
  readonly onlyTenant: Tenant | undefined;

  constructor(
    config: Config,
    tenants: ReadonlyMap<string, Tenant>,
    registry: TenantRegistry,
    serverAudit: Runtime['serverAudit'],
  ) {
    this.config = config;
    this.tenants = tenants;
    this.registry = registry;
    this.serverAudit = serverAudit;
    this.onlyTenant = tenants.size === 1 ? tenants.values().next().value : undefined;
    this.transitMounts = new Set(
      config.tenants.flatMap(({ transit }) =>
        transit === undefined ? [] : [transit.mounts.transit, transit.mounts.kv],
      ),
    );
  }

  /** First segments of paths that belong to the Transit face of some tenant; none: no tenant has it. */
  readonly transitMounts: ReadonlySet<string>;

  /** Why a connection has no business here, known right after its handshake; undefined when requests decide. */
  refusesConnection({ peer, tenantWithoutCertificate }: ConnectionFacts): string | undefined {
    if (this.#servesAnonymous) return undefined;
    if (peer === undefined && tenantWithoutCertificate !== undefined) return undefined;
    if (peer === undefined) return 'no client certificate';
    // With chains verified everywhere, a peer that no tenant's CA vouches for ends at the handshake, as in KES.
    const registered = [...this.registry.tenants.values()];
    if (!registered.every(({ clientAuth }) => clientAuth.auth === 'on')) return undefined;
    const shape = refuseByShape(peer);
    if (shape !== undefined) return shape.reason;
    const nowMs = Date.now();
    let reason = 'issuer not trusted';
    for (const { clientAuth } of registered) {
      const verdict = judgePeer(peer, clientAuth, nowMs);
      if (verdict.ok) return undefined;
      if (verdict.reason !== 'issuer not trusted') reason = verdict.reason;
    }
    return reason;
  }

  get #servesAnonymous(): boolean {
    return Object.values(this.onlyTenant?.config.kes.routes ?? {}).some((route) => route.skipAuth);
  }

  /** Closes what `next` does not use any more. */
  async retire(next: Runtime | undefined): Promise<void> {
    const kept = new Set<unknown>();
    for (const tenant of next?.tenants.values() ?? []) kept.add(tenant.keys).add(tenant.audit);
    for (const tenant of this.tenants.values()) {
      // The stream's end is anchored in the keystore.
      if (!kept.has(tenant.audit)) await tenant.audit.close();
      if (!kept.has(tenant.keys)) await tenant.keys.close();
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
  /** Told to other processes and replicas, so that what restrains a key reaches them. */
  readonly peers?: Pick<Peers, 'forTenant'> | undefined;
}

/** Opens all that `config` names. When anything fails, what was opened for it is closed and the error thrown. */
export async function openRuntime(config: Config, options: OpenOptions): Promise<Runtime> {
  const opened: { close(): Promise<void> }[] = [];
  try {
    const { previous } = options;
    const serverAudit =
      previous !== undefined && isDeepStrictEqual(previous.config.serverAudit, config.serverAudit)
        ? previous.serverAudit
        : await openServerAudit(config, options.server);
    if (serverAudit !== previous?.serverAudit) opened.push(serverAudit);
    const registry = await loadTenantRegistry(config.tenants);
    const tenants = new Map<string, Tenant>();
    for (const tenantConfig of config.tenants) {
      const registered = registry.tenants.get(tenantConfig.name)!;
      tenants.set(
        tenantConfig.name,
        await openTenant(
          tenantConfig,
          registered,
          { ...options, propagationMs: config.propagationMs, holdsFolder: config.holdsFolder },
          opened,
        ),
      );
    }
    return new Runtime(config, tenants, registry, serverAudit);
  } catch (error) {
    for (const resource of opened.reverse()) await resource.close();
    throw error;
  }
}

async function openTenant(
  config: TenantConfig,
  registered: RegisteredTenant,
  {
    previous,
    server,
    onInvalidate,
    propagationMs,
    holdsFolder,
    peers,
  }: OpenOptions & { propagationMs: number; holdsFolder: string | undefined },
  opened: { close(): Promise<void> }[],
): Promise<Tenant> {
  const old = previous?.tenants.get(config.name);
  let keys: TenantKeys;
  if (old !== undefined && isDeepStrictEqual(old.config.keystore, config.keystore)) keys = old.keys;
  else {
    if (old !== undefined) {
      server.log.warn(
        { tenant: config.name, before: whereOf(old.config.keystore), now: whereOf(config.keystore) },
        'the keystore of this tenant is another one now: keys of the old one are not in it',
      );
    }
    await tellOfNewStore(config, server);
    const store = await openKeystore(config.keystore, {
      ...workerOwnerPid(),
      log: server.log.child({ tenant: config.name }),
    });
    keys = new TenantKeys(store, config.cache, {
      tenant: config.name,
      onInvalidate: (key) => onInvalidate?.(config.name, key),
      onAlarm: ({ kind, key, detail }) => {
        server.metrics.keyAlarm(config.name, kind);
        server.log.error({ tenant: config.name, key, alarm: kind }, `key alarm: ${detail}`);
      },
      metrics: keystoreObserver(server.metrics, config.name),
      revalidateMs: propagationMs / 2,
      holdFiles:
        holdsFolder === undefined
          ? undefined
          : new HoldFiles(path.join(holdsFolder, config.name), (error) =>
              server.log.error(
                { err: error, tenant: config.name },
                'a hold is in force, and not kept on disk',
              ),
            ),
      ...peers?.forTenant(config.name),
    });
    opened.push(keys);
    await loadHolds(config.name, keys);
    if (holdsFolder === undefined && keys.isRemote && config.cache.offlineMs > 0)
      server.log.warn(
        { tenant: config.name },
        'holds.folder is not set: what is asked for while the keystore is away is forgotten when this process ends',
      );
    const { restraints } = keys;
    keys.onClose(server.metrics.holds(config.name, () => restraints.holds.length));
    keys.onClose(server.metrics.cache(config.name, () => keys.cache.counters));
    keys.onClose(server.metrics.vaultToken(config.name, () => store.tokenLife?.()));
  }
  let audit: AuditFile;
  // A trail is anchored in the keystore, so with another one it is opened anew.
  const keepsAudit =
    old !== undefined &&
    isDeepStrictEqual(old.config.audit, config.audit) &&
    (config.audit.trail === undefined || keys === old.keys);
  if (keepsAudit) audit = old.audit;
  else {
    const series = server.metrics.audit(config.name);
    await makeAuditFolder(config.audit);
    audit = await openAuditStream(config.audit, {
      clock: systemClock,
      tenant: config.name,
      onFault: (fault) => tellFault(server, config.name, fault),
      observer: series,
      sharedFile: workerOwnerPid() !== undefined,
      records: keys.store.records,
      signer: keys.store.signer,
    });
    series.watch(audit);
    opened.push(audit);
  }
  await keys.ensure(config.keys.map(parseKeyName), config.admins[0] ?? '');
  const quota =
    old !== undefined && isDeepStrictEqual(old.config.quota, config.quota)
      ? old.quota
      : new Quota(config.quota, performance.now());
  const configuredAt =
    old !== undefined &&
    isDeepStrictEqual([old.config.policies, old.config.admins], [config.policies, config.admins])
      ? old.configuredAt
      : nowWithNanoseconds();
  return { name: config.name, config, configuredAt, access: registered.access, keys, audit, quota };
}

async function loadHolds(tenant: string, { restraints }: TenantKeys): Promise<void> {
  try {
    await restraints.load();
  } catch (cause) {
    throw new SelloError('SELLO_CONFIG_INVALID', {
      detail: `holds of tenant '${tenant}': ${(cause as Error).message}`,
      cause,
    });
  }
}

async function openServerAudit(
  config: Config,
  server: ServerInfo,
): Promise<ServerAudit & { readonly file: AuditFile }> {
  const series = server.metrics.audit('');
  await makeAuditFolder(config.serverAudit);
  const file = await openAuditStream(config.serverAudit, {
    clock: systemClock,
    onFault: (fault) => tellFault(server, undefined, fault),
    observer: series,
    sharedFile: workerOwnerPid() !== undefined,
  });
  series.watch(file);
  const { maxRecordsPerSecond } = config.serverAudit;
  const quota = createServerAudit({ stream: file, maxRecordsPerSecond, clock: systemClock });
  return {
    file,
    append: (record) => quota.append(record),
    close: async () => {
      await quota.close();
      await file.close();
    },
  };
}

function whereOf(keystore: TenantConfig['keystore']): string {
  return 'path' in keystore ? `${keystore.kind} ${keystore.path}` : keystore.kind;
}

/** A path with a slip of the pen would be made without a word, empty, and every key would be missing. */
async function tellOfNewStore({ name, keystore }: TenantConfig, server: ServerInfo): Promise<void> {
  if (keystore.kind !== 'fs' && keystore.kind !== 'file') return;
  const found = await stat(keystore.path).catch((error: NodeJS.ErrnoException) => error);
  if (found instanceof Error && found.code === 'ENOENT') {
    server.log.warn(
      { tenant: name, path: keystore.path },
      'there is no keystore at this path: a new one is made, without any key',
    );
  }
}

/** A new installation has no folder for its records yet. Group-readable, for a log shipper. */
async function makeAuditFolder({ mode, path: file }: AuditConfig): Promise<void> {
  if (mode !== 'off' && file !== '-') await mkdir(path.dirname(file), { recursive: true, mode: 0o750 });
}

function tellFault(
  server: ServerInfo,
  tenant: string | undefined,
  { kind, path, detail, refused }: AuditFault,
): void {
  const level = ['recovered', 'unproven', 'unshipped'].includes(kind) ? 'warn' : 'error';
  server.log[level]({ tenant, path, refused }, `audit stream ${kind}: ${detail}`);
}

const keystoreOutcomes: Readonly<Record<string, KeystoreOutcome>> = {
  ok: 'ok',
  SELLO_KEY_NOT_FOUND: 'not_found',
  SELLO_KEY_EXISTS: 'exists',
  SELLO_STORE_UNREACHABLE: 'unreachable',
  SELLO_STORED_KEY_UNREADABLE: 'unreadable',
};

/** Tells metrics of keystore calls; one series per operation, found once. */
function keystoreObserver(metrics: Metrics, tenant: string): NonNullable<TenantKeysOptions['metrics']> {
  const series = new Map<KeystoreOperation, KeystoreSeries>();
  return (operation, outcome, seconds) => {
    let known = series.get(operation);
    if (known === undefined) series.set(operation, (known = metrics.keystore(tenant, operation)));
    known.observe(keystoreOutcomes[outcome] ?? 'failed', seconds);
  };
}

function nowWithNanoseconds(): string {
  const sub = String(process.hrtime.bigint() % 1_000_000n).padStart(6, '0');
  return `${new Date().toISOString().slice(0, -1)}${sub}Z`;
}
