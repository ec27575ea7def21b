/** The contracts of keys and records on a real Vault: KV version 1, version 2, version 2 with Transit. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { VaultKvConfig } from '../../src/config/model.ts';
import { openKeystore, type Keystore } from '../../src/keystores/index.ts';
import { parseKeyName } from '../../src/keys/index.ts';
import { maxVaultValueBytes, type VaultKvKeystore } from '../../src/keystores/vault-kv.ts';
import { needTools } from '../real/tools.ts';
import { Vault } from '../real/vault.ts';
import { rejectsWith, testKeystoreContract } from './contract.ts';
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

  t.test('lists thousands of keys in pages, of one answer of Vault', async (t) => {
    const config = nextConfig({ engine: 'kv2' });
    const store = (await openFor(t, config)) as VaultKvKeystore;
    const names = Array.from({ length: 2_500 }, (_, i) => `k${String(i).padStart(5, '0')}`);
    for (let at = 0; at < names.length; at += 50) {
      await Promise.all(
        names
          .slice(at, at + 50)
          .map((name) => vault.must('POST', `kv2/data/${config.prefix}/${name}`, { data: { [name]: 'v' } })),
      );
    }
    await vault.must('POST', `kv2/data/${config.prefix}/folder/inside`, { data: { inside: 'v' } });
    await vault.must('POST', `kv2/data/${config.prefix}/odd.name`, { data: { x: 'v' } });
    const before = store.vault.calls;
    const listed: string[] = [];
    for (let pages = 0; pages < 5; pages++) {
      const page = await store.list({ prefix: '', limit: 1024, after: listed.at(-1) });
      listed.push(...page.names);
      if (!page.more) break;
    }
    t.strictSame(listed, names, 'folders and names that are no keys are left out');
    t.equal(store.vault.calls - before, 1);
  });

  t.test('a key that Vault cannot give is never absent', async (t) => {
    const config = nextConfig({ engine: 'kv2' });
    const store = (await openFor(t, config)) as VaultKvKeystore;
    const place = (part: string, name: string) => `kv2/${part}/${config.prefix}/${name}`;
    const unreadable = async (name: string): Promise<void> => {
      await rejectsWith(t, store.read(parseKeyName(name)), 'SELLO_STORED_KEY_UNREADABLE', `${name}: read`);
      await rejectsWith(
        t,
        store.create(parseKeyName(name), Buffer.from('v')),
        'SELLO_KEY_EXISTS',
        `${name}: create`,
      );
    };
    for (const name of ['deleted', 'destroyed', 'pushed-out'])
      await store.create(parseKeyName(name), Buffer.from('v'));
    await vault.must('DELETE', place('data', 'deleted'));
    await vault.must('PUT', place('destroy', 'destroyed'), { versions: [1] });
    for (let i = 0; i < 10; i++)
      await vault.must('POST', place('data', 'pushed-out'), { data: { x: String(i) } });
    await vault.must('POST', place('data', 'other-field'), { data: { another: 'v' } });
    await vault.must('POST', place('data', 'a-number'), { data: { 'a-number': 7 } });
    await vault.must('POST', place('data', 'wrapped'), { data: { wrapped: 'vault:v1:AAAA' } });
    for (const name of ['deleted', 'destroyed', 'pushed-out', 'other-field', 'a-number', 'wrapped'])
      await unreadable(name);
    t.match(await store.notices(), [/key 'pushed-out' has 11 versions/]);
    await vault.must('POST', place('undelete', 'deleted'), { versions: [1] });
    t.equal((await store.read(parseKeyName('deleted'))).toString(), 'v', 'undeleted, it is back');
    await store.delete(parseKeyName('destroyed'));
    await rejectsWith(t, store.read(parseKeyName('destroyed')), 'SELLO_KEY_NOT_FOUND', 'deleted through us');
  });

  t.test('any version of the Transit key decrypts', async (t) => {
    const config = nextConfig({ engine: 'kv2', transit: { engine: 'transit', key: 'wrap' } });
    const store = await openFor(t, config);
    await store.create(parseKeyName('first'), Buffer.from('one'));
    await vault.must('POST', 'transit/keys/wrap/rotate', {});
    await store.create(parseKeyName('second'), Buffer.from('two'));
    t.equal((await store.read(parseKeyName('first'))).toString(), 'one');
    t.equal((await store.read(parseKeyName('second'))).toString(), 'two');
    const raw = await vault.must('GET', `kv2/data/${config.prefix}/second`);
    t.match((raw.data!['data'] as { second: string }).second, /^vault:v[2-9]:/);
  });

  t.test('an engine that is not there, or of the other version, is an error', async (t) => {
    const missing = await openFor(t, nextConfig({ engine: 'none' }));
    await rejectsWith(t, missing.read(parseKeyName('k')), 'SELLO_STORE_UNREACHABLE', 'read');
    await rejectsWith(t, missing.list({ prefix: '', limit: 1 }), 'SELLO_STORE_UNREACHABLE', 'list');
    await rejectsWith(
      t,
      missing.create(parseKeyName('k'), Buffer.from('v')),
      'SELLO_STORE_UNREACHABLE',
      'create',
    );
    await rejectsWith(
      t,
      openKeystore(nextConfig({ engine: 'kv2', version: 1 }), { env: {} }),
      'SELLO_CONFIG_INVALID',
      'version 1 said',
    );
    const literal = await openFor(t, nextConfig({ engine: 'kv1', version: 2 }));
    await literal.create(parseKeyName('k'), Buffer.from('v'));
    t.equal((await literal.read(parseKeyName('k'))).toString(), 'v', 'under a literal data/, as KES does');
    t.strictSame((await literal.list({ prefix: '', limit: 5 })).names, ['k']);
    await literal.delete(parseKeyName('k'));
    await rejectsWith(t, literal.read(parseKeyName('k')), 'SELLO_KEY_NOT_FOUND', 'deleted');
    t.equal(literal.records, undefined);
  });

  t.test('KV version 1 has no records', async (t) => {
    t.equal((await openFor(t, nextConfig(kinds['KV version 1']!))).records, undefined);
  });
}
