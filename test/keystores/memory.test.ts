import t from 'tap';
import { openKeystore } from '../../src/keystores/index.ts';
import { MemoryRecordStore } from '../../src/keystores/memory-records.ts';
import { testKeystoreContract } from './contract.ts';
import { testRecordStoreContract } from './record-contract.ts';

testKeystoreContract('memory', {
  open: async (t) => {
    const store = await openKeystore({ kind: 'memory' });
    t.teardown(() => store.close());
    return store;
  },
});

testRecordStoreContract('memory', { open: async () => new MemoryRecordStore() });

t.test('says that it forgets', async (t) => {
  t.match((await openKeystore({ kind: 'memory' })).location, /lost/);
});
