/** A keystore is checked with all versions of its keys, and nothing is changed by it. */
import t from 'tap';
import { keyChecker, parseKeyName, TenantKeys } from '../../src/keys/index.ts';
import { MemoryKeystore } from '../../src/keystores/memory.ts';
import { name, noLimits } from './keyring-contract.ts';

t.test('names a key whose version is gone, exchanged, or whose keyring does not fit', async (t) => {
  const store = new MemoryKeystore();
  const keys = new TenantKeys(store, noLimits, { tenant: 'acme' });
  t.teardown(() => keys.close());
  const check = (key: string) => keyChecker(store, 'acme')(parseKeyName(key));
  for (const key of ['app-key', 'other', 'plain']) await keys.create(parseKeyName(key), 'alice');
  for (const key of ['app-key', 'other']) {
    await keys.rotate(parseKeyName(key), 'alice');
    await keys.rotate(parseKeyName(key), 'alice');
  }
  await keys.change(name, { kind: 'disable' }, 'alice');
  for (const key of ['app-key', 'other', 'plain']) await check(key);
  await t.rejects(check('none'), { code: 'SELLO_KEY_NOT_FOUND' });

  const { id, versions } = await keys.keyring(name);
  const place = `versions/${id}/${versions[1]!.place!}`;
  const kept = (await store.records.read(place))!;
  const third = (await store.records.read(`versions/${id}/${versions[2]!.place!}`))!;
  const revision = await store.records.write(place, third.value, kept.revision);
  await t.rejects(check('app-key'), { code: 'SELLO_STORED_KEY_UNREADABLE' }, 'exchanged');
  await store.records.delete(place, revision);
  await t.rejects(check('app-key'), { code: 'SELLO_STORED_KEY_UNREADABLE' }, 'gone');
  await store.records.write(place, kept.value, 0);
  await check('app-key');
  const record = (await store.records.read('keyrings/other'))!;
  await store.records.write(
    'keyrings/app-key',
    record.value,
    (await store.records.read('keyrings/app-key'))!.revision,
  );
  await t.rejects(check('app-key'), { code: 'SELLO_STORED_KEY_UNREADABLE' }, 'the keyring of another key');
});
