/** Versions and states of keys in a real Vault, as administrators and replicas meet them. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { openKeystore } from '../../src/keystores/index.ts';
import { testKeyrings, type OpenTwo } from '../keys/keyring-contract.ts';
import { testTransitKeys } from '../keys/transit-contract.ts';
import { needTools } from '../real/tools.ts';
import { Vault } from '../real/vault.ts';
import { kvConfig } from './configs.ts';

const found = await needTools(t, 'vault');
if (found !== undefined) {
  const folder = await mkdtemp(join(tmpdir(), 'sello-keyring-'));
  const vault = await Vault.start({ program: found.vault, folder });
  t.teardown(async () => {
    await vault.stop();
    await rm(folder, { recursive: true });
  });
  await vault.mountKv('kv2', 2);
  await vault.must('POST', 'sys/mounts/transit', { type: 'transit' });
  await vault.must('POST', 'transit/keys/wrap', {});

  let places = 0;
  for (const [kind, transit] of [
    ['KV version 2', undefined],
    ['KV version 2 with Transit', { engine: 'transit', key: 'wrap' }],
  ] as const) {
    const openTwo: OpenTwo = async (t) => {
      const prefix = `t${String(places++)}`;
      const config = kvConfig(vault, {
        engine: 'kv2',
        version: 2,
        prefix,
        recordsPrefix: `${prefix}.sello`,
        transit,
      });
      const stores = [
        await openKeystore(config, { env: {} }),
        await openKeystore(config, { env: {} }),
      ] as const;
      t.teardown(() => Promise.all(stores.map((store) => store.close())));
      return stores;
    };
    testKeyrings(kind, openTwo);
    if (transit === undefined) testTransitKeys(kind, openTwo);
  }
}
