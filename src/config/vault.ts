/** From the parts of a file that describe a Vault to the model. */
import { parse } from 'node:path';
import { serviceAccountTokenFile } from '../vault/login-defaults.ts';
import { InlineSecret } from './model.ts';
import type { AnySecret, SecretSource, VaultConfig, VaultKvConfig, VaultLoginConfig } from './model.ts';
import type { KesFile } from './schema-kes.ts';
import type { VaultKvSection, VaultTransitSection } from './schema-vault.ts';

/** Beside `kes`, `kes.sello`: KES lists folders below its own alone. Undefined where the keys are at the top of the engine. */
export function recordsPrefixOf(prefix: string, given?: string): string | undefined {
  return given ?? (prefix === '' ? undefined : `${prefix}.sello`);
}

type SecretOf = (secret: { file?: string; env?: string; credential?: string }) => SecretSource;
type Refuse = (message: string, ...path: string[]) => void;

export function vaultKvOf(
  kv: VaultKvSection,
  tenant: string,
  sourceOf: SecretOf,
  refuse: Refuse,
): VaultKvConfig {
  const prefix = kv.prefix ?? tenant;
  const recordsPrefix = recordsPrefixOf(prefix, kv.records);
  if (recordsPrefix !== undefined && overlap(prefix, recordsPrefix)) {
    refuse(`'records' and 'prefix' must not be in one another: KES would list records as keys`, 'records');
  }
  return {
    kind: 'vault-kv',
    vault: vaultOf(kv, sourceOf, refuse),
    engine: kv.engine,
    version: kv.version === 1 ? 1 : 2,
    prefix,
    transit: kv.transit === undefined ? undefined : { engine: kv.transit.engine, key: kv.transit.key },
    recordsPrefix: kv.version === 1 ? undefined : recordsPrefix,
    ...(kv.auditSigning === undefined ? {} : { auditSigning: kv.auditSigning }),
  };
}

export function vaultTransitOf(
  section: VaultTransitSection,
  tenant: string,
  sourceOf: SecretOf,
  refuse: Refuse,
): VaultKvConfig {
  const { intermediate, mode, transit, ...rest } = section;
  const kv = vaultKvOf({ ...rest, version: 2 }, tenant, sourceOf, refuse);
  if (kv.recordsPrefix === undefined)
    refuse(`'records' is missing: with the keys at the top of the engine, name a folder for them`);
  const keyPrefix = transit.keyPrefix ?? `sello-${tenant}-`;
  const { auditSigning } = section;
  // The server may end what begins so, and the key that signs its trail must not be one of these.
  if (auditSigning?.engine === transit.engine && auditSigning.key.startsWith(keyPrefix))
    refuse(`'auditSigning.key' must not begin with '${keyPrefix}', as master keys do`, 'auditSigning', 'key');
  return {
    ...kv,
    transit: { engine: transit.engine, key: transit.key ?? `sello-${tenant}` },
    custody: {
      kind: mode,
      engine: transit.engine,
      keyPrefix,
      maxAgeMs: intermediate.maxAge,
      maxUses: intermediate.maxUses,
      maxBytes: intermediate.maxBytes,
    },
  };
}

function overlap(a: string, b: string): boolean {
  return a === '' || b === '' || a === b || `${a}/`.startsWith(`${b}/`) || `${b}/`.startsWith(`${a}/`);
}

function vaultOf(kv: VaultKvSection, sourceOf: SecretOf, refuse: Refuse): VaultConfig {
  const { tls } = kv;
  if ((tls.cert === undefined) !== (tls.key === undefined)) {
    refuse(`'tls' needs both 'cert' and 'key', or neither`, 'tls');
  }
  if (kv.login.cert !== undefined && tls.cert === undefined) {
    refuse(`a login by certificate needs 'tls.cert' and 'tls.key'`, 'login');
  }
  if (tls.cert !== undefined && kv.addresses.every((address) => !address.startsWith('https:'))) {
    refuse(`'tls' has no effect without an 'https' address`, 'tls');
  }
  return {
    addresses: [...new Set(kv.addresses)],
    namespace: kv.namespace ?? '',
    tls: { caFile: tls.ca, certFile: tls.cert, keyFile: tls.key, serverName: tls.serverName },
    login: loginOf(kv, sourceOf),
    timeoutMs: kv.timeout,
    connectTimeoutMs: kv.connectTimeout,
    maxConnections: kv.maxConnections,
    pingMs: kv.ping,
  };
}

function loginOf(
  { login, namespace: dataNamespace = '' }: VaultKvSection,
  sourceOf: SecretOf,
): VaultLoginConfig {
  const namespaceOf = (own: string | undefined): string => own ?? dataNamespace;
  const { token, approle, kubernetes, jwt, cert } = login;
  if (token !== undefined) return { method: 'token', namespace: dataNamespace, token: sourceOf(token) };
  if (approle !== undefined) {
    return {
      method: 'approle',
      mount: approle.mount,
      namespace: namespaceOf(approle.namespace),
      roleId: sourceOf(approle.roleId),
      secretId: sourceOf(approle.secretId),
      wrappedFor: approle.wrappedFor,
    };
  }
  if (kubernetes !== undefined) {
    const { mount, namespace, role, jwt: path } = kubernetes;
    return {
      method: 'kubernetes',
      mount,
      namespace: namespaceOf(namespace),
      role,
      jwt: { from: 'file', path },
    };
  }
  if (jwt !== undefined) {
    return {
      method: 'jwt',
      mount: jwt.mount,
      namespace: namespaceOf(jwt.namespace),
      role: jwt.role,
      jwt: sourceOf(jwt.jwt),
    };
  }
  if (cert !== undefined) {
    return { method: 'cert', mount: cert.mount, namespace: namespaceOf(cert.namespace), role: cert.role };
  }
  return { method: 'none' };
}

type KesVault = NonNullable<KesFile['keystore']['vault']>;

/** KES's section as it is, and what our own section adds. */
export function kesVaultOf(vault: KesVault, own: KesFile['sello']['vault'], refuse: Refuse): VaultKvConfig {
  const { approle, kubernetes, tls } = vault;
  if (approle !== undefined && kubernetes !== undefined) {
    refuse(`invalid vault config: 'approle' and 'kubernetes' are both given`);
  }
  if (approle === undefined && kubernetes === undefined) {
    refuse(`invalid vault config: neither 'approle' nor 'kubernetes' is given`);
  }
  if ((tls.cert === undefined) !== (tls.key === undefined)) {
    refuse(`invalid vault config: 'tls' needs both 'cert' and 'key', or neither`, 'tls');
  }
  const prefix = vault.prefix ?? '';
  const version = vault.version === 'v2' ? 2 : 1;
  const recordsPrefix = recordsPrefixOf(prefix, own.records);
  if (recordsPrefix !== undefined && overlap(prefix, recordsPrefix) && prefix !== '') {
    refuse(`'sello.vault.records' and 'keystore.vault.prefix' must not be in one another`);
  }
  return {
    kind: 'vault-kv',
    vault: {
      addresses: [...new Set([vault.endpoint, ...own.addresses])],
      namespace: vault.namespace ?? '',
      tls: { caFile: tls.ca, certFile: tls.cert, keyFile: tls.key, serverName: undefined },
      login: kesLoginOf(vault),
      timeoutMs: own.timeout,
      connectTimeoutMs: own.connectTimeout,
      maxConnections: own.maxConnections,
      pingMs: vault.status.ping,
    },
    engine: vault.engine,
    version,
    prefix,
    transit:
      vault.transit === undefined ? undefined : { engine: vault.transit.engine, key: vault.transit.key },
    recordsPrefix: version === 1 ? undefined : recordsPrefix,
    ...(own.records === undefined ? { recordsAreOptional: true } : {}),
  };
}

/** KES gives the login the namespace of the data unless it has its own; `/` is the root. */
function kesLoginOf({ approle, kubernetes, namespace: dataNamespace = '' }: KesVault): VaultLoginConfig {
  if (approle !== undefined) {
    return {
      method: 'approle',
      mount: approle.engine,
      namespace: approle.namespace ?? dataNamespace,
      roleId: { from: 'text', text: new InlineSecret(approle.id) },
      secretId: { from: 'text', text: new InlineSecret(approle.secret) },
      wrappedFor: undefined,
    };
  }
  return {
    method: 'kubernetes',
    mount: kubernetes?.engine ?? '',
    namespace: kubernetes?.namespace ?? dataNamespace,
    role: kubernetes?.role ?? '',
    jwt: kesJwt(kubernetes?.jwt ?? serviceAccountTokenFile),
  };
}

/** KES takes the token itself or the path of a file with it. */
function kesJwt(text: string): AnySecret {
  const isToken = /^[\w-]+\.[\w-]+\.[\w-]*$/.test(text) && parse(text).dir === '' && text.length > 100;
  return isToken ? { from: 'text', text: new InlineSecret(text) } : { from: 'file', path: text };
}
