/** Configurations of a test's Vault, as the loader would make them. */
import type { VaultConfig, VaultKvConfig } from '../../src/config/model.ts';
import { InlineSecret } from '../../src/config/model.ts';
import type { Vault } from '../real/vault.ts';

/** A secret that stands in the configuration itself. */
export function inline(text: string) {
  return { from: 'text', text: new InlineSecret(text) } as const;
}

export function vaultConfig(
  vault: Pick<Vault, 'address' | 'rootToken'>,
  change: Partial<VaultConfig> = {},
): VaultConfig {
  return {
    addresses: [vault.address],
    namespace: '',
    tls: { caFile: undefined, certFile: undefined, keyFile: undefined, serverName: undefined },
    login: { method: 'token', namespace: '', token: inline(vault.rootToken) },
    timeoutMs: 10_000,
    connectTimeoutMs: 3_000,
    maxConnections: 16,
    pingMs: 10_000,
    ...change,
  };
}

export function kvConfig(
  vault: Vault,
  change: Partial<VaultKvConfig> & { login?: VaultConfig['login'] } = {},
): VaultKvConfig {
  const { login, ...rest } = change;
  return {
    kind: 'vault-kv',
    vault: vaultConfig(vault, login === undefined ? {} : { login }),
    engine: 'kv',
    version: 2,
    prefix: 'keys',
    transit: undefined,
    recordsPrefix: 'keys.sello',
    ...rest,
  };
}
