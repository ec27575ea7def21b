/**
 * A tenant is a hard boundary: what two tenants share is refused before anything starts. This file compares what
 * the configuration says; authorities.ts compares what is in CA files.
 */
import { realpathSync } from 'node:fs';
import { basename, dirname, join, sep } from 'node:path';
import type { Config, TenantConfig } from './model.ts';

export interface IsolationProblem {
  readonly message: string;
  /** In a Sello file. */
  readonly path: readonly (string | number)[];
}

export function isolationProblems(config: Config): IsolationProblem[] {
  return [
    ...repeatedNames(config.tenants),
    ...sharedIdentities(config.tenants),
    ...sharedCaFiles(config.tenants),
    ...sharedStores(config.tenants),
    ...sharedVaultFolders(config.tenants),
    ...sharedAuditFiles(config),
    ...unacknowledged(config),
    ...sharedAddresses(config),
    ...ownProcesses(config),
  ];
}

function repeatedNames(tenants: readonly TenantConfig[]): IsolationProblem[] {
  const seen = new Set<string>();
  return tenants.flatMap(({ name }, i) => {
    const repeated = name !== ('' as string) && seen.has(name);
    seen.add(name);
    return repeated ? [{ message: `two tenants are named '${name}'`, path: ['tenants', i, 'name'] }] : [];
  });
}

/** Every place an identity has: one role in one tenant. A proxy alone may stand before several tenants. */
function sharedIdentities(tenants: readonly TenantConfig[]): IsolationProblem[] {
  const problems: IsolationProblem[] = [];
  const roles = new Map<string, { tenant: number; role: string }>();
  const claim = (identity: string, tenant: number, role: string, path: readonly (string | number)[]) => {
    const other = roles.get(identity);
    if (other === undefined) roles.set(identity, { tenant, role });
    else if (other.tenant !== tenant) {
      const names = `'${tenants[other.tenant]!.name}' and '${tenants[tenant]!.name}'`;
      problems.push({ message: `identity '${identity}' is in two tenants, ${names}`, path });
    } else {
      const message =
        other.role === 'the admins' || role === 'the admins'
          ? `identity '${identity}' is in ${role} and in ${other.role}`
          : `cannot assign ${role} to '${identity}': identity already has a policy, ${other.role}`;
      problems.push({ message, path });
    }
  };
  tenants.forEach((tenant, t) => {
    tenant.admins.forEach((admin, i) => claim(admin, t, 'the admins', ['tenants', t, 'admins', i]));
    for (const { name, identities } of tenant.policies) {
      identities.forEach((identity, i) =>
        claim(identity, t, `policy '${name}'`, ['tenants', t, 'policies', name, 'identities', i]),
      );
    }
  });
  tenants.forEach((tenant, t) => {
    tenant.clients.proxy?.identities.forEach((proxy, i) => {
      const role = roles.get(proxy);
      if (role === undefined) return;
      const message = `proxy '${proxy}' is also in ${role.role} of tenant '${tenants[role.tenant]!.name}': a proxy speaks for clients and is none`;
      problems.push({ message, path: ['tenants', t, 'clients', 'proxy', 'identities', i] });
    });
  });
  return problems;
}

function sharedCaFiles(tenants: readonly TenantConfig[]): IsolationProblem[] {
  return pairs(tenants).flatMap(([a, b, , j]) => {
    if (a.clients.auth === 'off' || b.clients.auth === 'off') return [];
    const one = a.clients.caFile;
    const other = b.clients.caFile;
    if (one === '' || other === '' || (one !== other && !(one && other && isInside(one, other)))) return [];
    const what = other === undefined ? 'the CAs of the system' : `the CA '${other}'`;
    const message = `tenants '${a.name}' and '${b.name}' both trust ${what}`;
    return [{ message, path: ['tenants', j, 'clients', 'ca'] }];
  });
}

function sharedStores(tenants: readonly TenantConfig[]): IsolationProblem[] {
  return pairs(tenants).flatMap(([a, b, , j]) => {
    const one = storePath(a);
    const other = storePath(b);
    if (one === undefined || other === undefined || !isInside(place(one), place(other))) return [];
    const message = `tenants '${a.name}' and '${b.name}' share a keystore: '${one}' and '${other}'`;
    return [{ message, path: ['tenants', j, 'keystore'] }];
  });
}

/** Folders of one Vault engine: one address in common is enough to be one Vault. */
function sharedVaultFolders(tenants: readonly TenantConfig[]): IsolationProblem[] {
  return pairs(tenants).flatMap(([a, b, , j]) => {
    const one = vaultFolders(a);
    const other = vaultFolders(b);
    if (one === undefined || other === undefined || one.namespace !== other.namespace) return [];
    const apart = one.addresses.every((address) => !other.addresses.includes(address));
    const clash = one.folders.find((folder) => other.folders.some((another) => isInside(folder, another)));
    if (clash === undefined || apart) return [];
    const message = `tenants '${a.name}' and '${b.name}' share a folder of Vault: '${clash.slice(1)}'`;
    return [{ message, path: ['tenants', j, 'keystore'] }];
  });
}

function vaultFolders({ keystore }: TenantConfig) {
  if (keystore.kind !== 'vault-kv') return undefined;
  const { custody, engine, prefix, recordsPrefix, vault } = keystore;
  const folder = (below: string): string => [sep + engine, ...(below === '' ? [] : [below])].join(sep);
  return {
    namespace: vault.namespace,
    addresses: vault.addresses,
    folders: [
      folder(prefix),
      ...(recordsPrefix === undefined ? [] : [folder(recordsPrefix)]),
      ...(custody === undefined ? [] : [[sep + custody.engine, 'keys', custody.keyPrefix].join(sep)]),
    ],
  };
}

/** Syslog acknowledges nothing, so no key could wait for it. */
function unacknowledged({ tenants }: Config): IsolationProblem[] {
  return tenants.flatMap(({ audit: { trail } }, i) => {
    if (trail?.release !== 'shipped' || trail.ship[0]?.kind === 'webhook') return [];
    const message = "'release: shipped' needs a webhook as the first of 'ship'";
    return [{ message, path: ['tenants', i, 'audit'] }];
  });
}

function sharedAuditFiles({ tenants, serverAudit }: Config): IsolationProblem[] {
  const problems: IsolationProblem[] = [];
  const written = tenants.map((tenant, i) => ({ ...tenant.audit, tenant: `tenant '${tenant.name}'`, i }));
  for (const [a, b] of pairs(written)) {
    if (a.mode === 'off' || b.mode === 'off' || place(a.path) !== place(b.path)) continue;
    const message = `${a.tenant} and ${b.tenant} write the same audit file '${b.path}'`;
    problems.push({ message, path: ['tenants', b.i, 'audit'] });
  }
  for (const { mode, path, tenant, i } of written) {
    // Standard output is no file: the server and one tenant may both write there.
    if (mode === 'off' || serverAudit.mode === 'off' || path === '-') continue;
    if (place(path) !== place(serverAudit.path)) continue;
    const message = `${tenant} and the server write the same audit file '${path}'`;
    problems.push({ message, path: ['tenants', i, 'audit'] });
  }
  for (const tenant of tenants) {
    const store = storePath(tenant);
    for (const { mode, path, trail, tenant: writer, i } of written) {
      if (
        store === undefined ||
        mode === 'off' ||
        path === '-' ||
        !isBelow(trail === undefined ? dirname(place(path)) : place(path), place(store))
      )
        continue;
      const message = `${writer} writes its audit file into the keystore '${store}'`;
      problems.push({ message, path: ['tenants', i, 'audit'] });
    }
  }
  return problems;
}

function sharedAddresses({ listeners, probes, operators }: Config): IsolationProblem[] {
  const all = listeners.map((listener, i) => ({
    ...listener,
    path: ['listeners', i, 'address'] as (string | number)[],
  }));
  const addresses = [
    ...all,
    ...(operators === undefined ? [] : [{ ...operators, path: ['operators', 'address'] }]),
    ...(probes === undefined ? [] : [{ ...probes, path: ['probes'] }]),
  ];
  return pairs(addresses).flatMap(([a, b]) => {
    if (a.port !== b.port || a.port === 0 || !hostsOverlap(a.host, b.host)) return [];
    const message = `two listeners have the address ${b.host}:${b.port}`;
    return [{ message: a.host === b.host ? message : `${message} (${a.host} covers it)`, path: b.path }];
  });
}

/** Key calls need somebody who takes them at full priority. */
function ownProcesses({ listeners }: Config): IsolationProblem[] {
  return listeners.length === 0 || listeners.some(({ ownProcess }) => !ownProcess)
    ? []
    : [
        {
          message: 'a listener with `process: own` stands beside a `shared` one, and there is none',
          path: ['listeners', 0, 'process'],
        },
      ];
}

/** `::` also takes IPv4 connections on the systems we run on. */
function hostsOverlap(a: string, b: string): boolean {
  const wildcards = new Set(['0.0.0.0', '::']);
  return (
    a === b ||
    a === '::' ||
    b === '::' ||
    ((wildcards.has(a) || wildcards.has(b)) && a.includes(':') === b.includes(':'))
  );
}

/** Where a path leads, links followed as far as there is something: two spellings of one place are one place. */
function place(path: string): string {
  if (path === '-') return path;
  try {
    return realpathSync(path);
  } catch {
    const above = dirname(path);
    return above === path ? path : join(place(above), basename(path));
  }
}

function storePath({ keystore }: TenantConfig): string | undefined {
  return 'path' in keystore && keystore.path !== '' ? keystore.path : undefined;
}

/** The same folder, or one below the other. */
export function isInside(a: string, b: string): boolean {
  return isBelow(a, b) || isBelow(b, a);
}

function isBelow(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder.endsWith(sep) ? folder : folder + sep);
}

export function pairs<T>(items: readonly T[]): [T, T, number, number][] {
  return items.flatMap((a, i) =>
    items.slice(i + 1).map((b, k): [T, T, number, number] => [a, b, i, i + 1 + k]),
  );
}
