/**
 * A process that ends between any two writes of a change: what it left is a key that works, with its old keyring or its new one, or a
 * change that can be done again. Every write of every change is made to fail in turn.
 */
import t from 'tap';
import { parseKeyName, TenantKeys } from '../../src/keys/index.ts';
import type { Keystore, RecordStore } from '../../src/keystores/contract.ts';
import { MemoryKeystore } from '../../src/keystores/memory.ts';
import { context, name, noLimits } from './keyring-contract.ts';

class Stopped extends Error {}

/** The store until its n-th write, which is not done any more. */
function stoppingAt(store: MemoryKeystore, writes: number): { store: Keystore; done: () => number } {
  let count = 0;
  const write = <T>(work: () => Promise<T>): Promise<T> =>
    ++count > writes ? Promise.reject(new Stopped()) : work();
  const records: RecordStore = {
    read: (path) => store.records.read(path),
    list: (folder, options) => store.records.list(folder, options),
    write: (path, value, expected) => write(() => store.records.write(path, Buffer.from(value), expected)),
    delete: (path, expected) => write(() => store.records.delete(path, expected)),
  };
  const stopping: Keystore = {
    kind: 'memory',
    location: 'memory',
    records,
    create: (key, value) => write(() => store.create(key, Buffer.from(value))),
    delete: (key) => write(() => store.delete(key)),
    read: (key) => store.read(key),
    list: (options) => store.list(options),
    health: () => store.health(),
    close: () => Promise.resolve(),
  };
  return { store: stopping, done: () => count };
}

const changes: Record<string, (keys: TenantKeys) => Promise<unknown>> = {
  'the first rotation': (keys) => keys.rotate(name, 'a'),
  'a rotation on schedule set': (keys) => keys.change(name, { kind: 'set-rotation', every: 86_400 }, 'a'),
  'a version compromised': (keys) =>
    keys.change(name, { kind: 'set-version', version: 1, state: 'compromised' }, 'a'),
};

for (const [claim, change] of Object.entries(changes)) {
  t.test(
    `${claim}, stopped after each of its writes, leaves a key that opens all it sealed and can be changed again`,
    async (t) => {
      for (let writes = 0; ; writes++) {
        const store = new MemoryKeystore();
        const before = new TenantKeys(store, noLimits, { tenant: 'acme' });
        await before.create(name, 'a');
        const sealed = await before.issue(name, context);
        const { store: stopping, done } = stoppingAt(store, writes);
        const stopped = await change(new TenantKeys(stopping, noLimits, { tenant: 'acme' })).then(
          () => false,
          (error: unknown) => {
            if (!(error instanceof Stopped)) throw error;
            return true;
          },
        );
        const after = new TenantKeys(store, noLimits, { tenant: 'acme' });
        t.ok(
          (await after.unwrap(name, sealed.ciphertext, context)).equals(sealed.plaintext),
          `${String(writes)} writes: it opens`,
        );
        const again = await after.issue(name, context);
        t.ok((await after.unwrap(name, again.ciphertext, context)).equals(again.plaintext), 'it seals');
        await after.rotate(name, 'a');
        t.ok(
          (await after.unwrap(name, again.ciphertext, context)).equals(again.plaintext),
          'and can be rotated',
        );
        if (!stopped) {
          t.ok(done() >= 1);
          break;
        }
      }
    },
  );
}

t.test(
  'a deletion, stopped after each of its writes, can be finished; its name then serves another key, with nothing of this one',
  async (t) => {
    for (let writes = 0; ; writes++) {
      const store = new MemoryKeystore();
      const before = new TenantKeys(store, noLimits, { tenant: 'acme' });
      await before.create(name, 'a');
      await before.rotate(name, 'a');
      const sealed = await before.issue(name, context);
      const { store: stopping } = stoppingAt(store, writes);
      const outcome = await new TenantKeys(stopping, noLimits, { tenant: 'acme' }).delete(name, 'a').then(
        () => 'done',
        (error: unknown) => (error instanceof Stopped ? 'stopped' : error),
      );
      const after = new TenantKeys(store, noLimits, { tenant: 'acme' });
      const use = await Promise.resolve()
        .then(() => after.unwrap(name, sealed.ciphertext, context))
        .then(
          () => 'opens',
          (error: { code: string }) => error.code,
        );
      if (writes === 0) t.equal(use, 'opens', 'nothing was done');
      else
        t.match(
          use,
          /^SELLO_KEY_(DELETION_PENDING|NOT_FOUND)$/,
          `${String(writes)} writes: ${use}: its use is over`,
        );
      if (outcome === 'stopped')
        await after
          .delete(name, 'a')
          .catch((error: { code?: string }) => t.equal(error.code, 'SELLO_KEY_NOT_FOUND'));
      else t.equal(outcome, 'done');
      after.forget(name);
      await after.create(name, 'b');
      t.equal((await after.issue(name, context)).version, 1, 'a new key');
      await t.rejects(async () => after.unwrap(name, sealed.ciphertext, context), {
        code: 'SELLO_CIPHERTEXT_NOT_AUTHENTIC',
      });
      if (outcome === 'done') break;
    }
  },
);

t.test('a creation over an ended key, stopped after each of its writes, is a key or none', async (t) => {
  for (let writes = 0; ; writes++) {
    const store = new MemoryKeystore();
    const before = new TenantKeys(store, noLimits, { tenant: 'acme' });
    await before.create(name, 'a');
    await before.rotate(name, 'a');
    await before.delete(name, 'a');
    const { store: stopping } = stoppingAt(store, writes);
    const outcome = await new TenantKeys(stopping, noLimits, { tenant: 'acme' }).create(name, 'b').then(
      () => 'done',
      (error: unknown) => (error instanceof Stopped ? 'stopped' : error),
    );
    const after = new TenantKeys(store, noLimits, { tenant: 'acme' });
    if (outcome === 'stopped') {
      await t.rejects(
        async () => after.issue(name, context),
        { code: 'SELLO_KEY_NOT_FOUND' },
        `${String(writes)} writes: none`,
      );
      await after.create(name, 'b');
    } else t.equal(outcome, 'done');
    t.equal((await after.issue(name, context)).version, 1);
    t.equal((await after.list({ prefix: '', limit: 10 })).names[0], parseKeyName('app-key'));
    if (outcome === 'done') break;
  }
});
