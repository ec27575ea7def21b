/** The contracts of keys and records on a real Vault: KV version 1, version 2, version 2 with Transit. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { VaultKvConfig } from '../../src/config/model.ts';
import { openKeystore, type Keystore } from '../../src/keystores/index.ts';
import { maxVaultValueBytes } from '../../src/keystores/vault-kv.ts';
import { needTools } from '../real/tools.ts';
import { Vault } from '../real/vault.ts';
import { testKeystoreContract } from './contract.ts';
import { testRecordStoreContract } from './record-contract.ts';
import { kvConfig } from '../vault/configs.ts';

const found = await needTools(t, 'vault');
if (found !== undefined) {
  const folder = await mkdtemp(join(tmpdir(), 'sello-vault-kv-'));
  const vault = await Vault.start({ program: found.vault, folder });
  t.teardown(async () => {
    await vault.stop();
    await rm(folder, { recursive: true });
  });
  await vault.mountKv('kv1', 1);
  await vault.mountKv('kv2', 2);
  await vault.must('POST', 'sys/mounts/transit', { type: 'transit' });
  await vault.must('POST', 'transit/keys/wrap', {});

  let stores = 0;
  const nextConfig = (change: Partial<VaultKvConfig>): VaultKvConfig => {
    const prefix = `t${String(stores++)}`;
    return kvConfig(vault, { prefix, recordsPrefix: `${prefix}.sello`, ...change });
  };
  const openFor = async (test: Test, config: VaultKvConfig): Promise<Keystore> => {
    const store = await openKeystore(config, { env: {} });
    test.teardown(() => store.close());
    return store;
  };
  const openTwoFor = async (test: Test, change: Partial<VaultKvConfig>) => {
    const config = nextConfig(change);
    return [await openFor(test, config), await openFor(test, config)] as const;
  };
  const configs = new Map<Keystore, VaultKvConfig>();
  const kinds: Record<string, Partial<VaultKvConfig>> = {
    'KV version 1': { engine: 'kv1', version: 1, recordsPrefix: undefined },
    'KV version 2': { engine: 'kv2', version: 2 },
    'KV version 2 with Transit': { engine: 'kv2', version: 2, transit: { engine: 'transit', key: 'wrap' } },
  };
  for (const [title, change] of Object.entries(kinds)) {
    testKeystoreContract('vault-kv', {
      title,
      largestValueBytes: maxVaultValueBytes,
      open: async (test) => {
        const config = nextConfig(change);
        const store = await openFor(test, config);
        configs.set(store, config);
        return store;
      },
      reopen: (store) => openKeystore(configs.get(store)!, { env: {} }),
      // Version 1 has nothing that would let one of two processes win.
      ...(change.version === 1 ? {} : { openTwo: (test: Test) => openTwoFor(test, change) }),
    });
    if (change.version === 1) continue;
    testRecordStoreContract(title, {
      open: async (test) => (await openFor(test, nextConfig(change))).records!,
      openTwo: async (test) => {
        const [one, two] = await openTwoFor(test, change);
        return [one.records!, two.records!];
      },
    });
  }

  t.test('KV version 1 has no records', async (t) => {
    t.equal((await openFor(t, nextConfig(kinds['KV version 1']!))).records, undefined);
  });
}
