/** Versions and states of keys on the stores that need nothing but a disk. */
import t from 'tap';
import { FsKeystore } from '../../src/keystores/fs.ts';
import { openKeystore } from '../../src/keystores/index.ts';
import { MemoryKeystore } from '../../src/keystores/memory.ts';
import { TenantKeys } from '../../src/keys/index.ts';
import { fileConfig, temporaryFolder } from '../keystores/folders.ts';
import { context, name, noLimits, refuses, testKeyrings } from './keyring-contract.ts';
import { testTransitKeys } from './transit-contract.ts';

t.setTimeout(120_000);

for (const test of [testKeyrings, testTransitKeys]) {
  test('memory', async (t) => {
    const store = new MemoryKeystore();
    t.teardown(() => store.close());
    return [store, store];
  });

  test('file', async (t) => {
    const config = await fileConfig(t);
    const stores = [await openKeystore(config), await openKeystore(config)] as const;
    t.teardown(() => Promise.all(stores.map((store) => store.close())));
    return stores;
  });
}

void t.test('fs has no place for versions, and says so; its keys work', async (t) => {
  const keys = new TenantKeys(await FsKeystore.open(await temporaryFolder(t)), noLimits);
  t.teardown(() => keys.close());
  await keys.create(name, 'alice');
  const { ciphertext, plaintext } = await keys.issue(name, context);
  await refuses(t, () => keys.rotate(name, 'alice'), 'SELLO_KEYRING_UNSUPPORTED', 'rotate');
  await refuses(t, () => keys.transitSettings(name, true), 'SELLO_KEYRING_UNSUPPORTED', 'serve Transit');
  await refuses(
    t,
    () => keys.change(name, { kind: 'disable' }, 'alice'),
    'SELLO_KEYRING_UNSUPPORTED',
    'disable',
  );
  t.match(await keys.keyring(name), { isImplicit: true, state: 'enabled', versions: [{ version: 1 }] });
  t.ok((await keys.unwrap(name, ciphertext, context)).equals(plaintext));
});
