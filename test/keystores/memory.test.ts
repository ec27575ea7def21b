import t from 'tap';
import { openKeystore } from '../../src/keystores/index.ts';
import { testKeystoreContract } from './contract.ts';

testKeystoreContract('memory', {
  open: async (t) => {
    const store = await openKeystore({ kind: 'memory' });
    t.teardown(() => store.close());
    return store;
  },
});

t.test('says that it forgets', async (t) => {
  t.match((await openKeystore({ kind: 'memory' })).location, /lost/);
});
