/**
 * A key of the Transit face is made while others make one of its name, on its face or another, between any two of its writes, or after it
 * stopped there: whatever anybody sealed meanwhile opens, everywhere and for good.
 */
import t, { type Test } from 'tap';
import { hasCode } from '../../src/errors.ts';
import { TenantKeys, type KeyName } from '../../src/keys/index.ts';
import type { Keystore, RecordStore } from '../../src/keystores/contract.ts';
import { MemoryKeystore } from '../../src/keystores/memory.ts';
import { context, name, noLimits } from './keyring-contract.ts';

const plain = { algorithm: 'AES256', derived: false } as const;
const message = Buffer.from('what must open again');
const other = 'other' as KeyName;

class Stopped extends Error {}

/** The store with `between` done before its n-th write, counted from 0. */
function interrupted(
  store: MemoryKeystore,
  at: number,
  between: () => Promise<void>,
): { store: Keystore; writes: () => number } {
  let count = 0;
  const write = async <T>(work: () => Promise<T>): Promise<T> => {
    if (count++ === at) await between();
    return work();
  };
  const records: RecordStore = {
    read: (path) => store.records.read(path),
    list: (folder, options) => store.records.list(folder, options),
    write: (path, value, expected) => {
      const copy = Buffer.from(value);
      return write(() => store.records.write(path, copy, expected));
    },
    delete: (path, expected) => write(() => store.records.delete(path, expected)),
  };
  return {
    writes: () => count,
    store: {
      kind: 'memory',
      location: 'memory',
      records,
      create: (key, value) => {
        const copy = Buffer.from(value);
        return write(() => store.create(key, copy));
      },
      delete: (key) => write(() => store.delete(key)),
      read: (key) => store.read(key),
      list: (options) => store.list(options),
      health: () => store.health(),
      close: () => Promise.resolve(),
    },
  };
}

type Face = 'kes' | 'transit';
interface SealedThing {
  readonly face: Face;
  readonly ciphertext: Buffer;
}

const processOn = (store: Keystore): TenantKeys => new TenantKeys(store, noLimits, { tenant: 'acme' });

/** What a caller of a face does with a key that may be there. */
async function use(keys: TenantKeys, face: Face, sealed: SealedThing[]): Promise<void> {
  try {
    if (face === 'transit') await keys.transitSettings(name, true);
    sealed.push({ face, ciphertext: await keys.encrypt(name, message, context, face) });
  } catch (error) {
    if (!hasCode(error, 'SELLO_KEY_NOT_FOUND')) throw error;
  }
}

const makes: Record<Face, (keys: TenantKeys) => Promise<void>> = {
  kes: (keys) => keys.create(name, 'x'),
  transit: (keys) => keys.createForTransit(name, plain, 'x'),
};

async function outcomeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'done';
  } catch (error) {
    if (error instanceof Stopped) return 'stopped';
    if (hasCode(error, 'SELLO_KEY_EXISTS')) return 'exists';
    throw error;
  }
}

async function allOpen(
  t: Test,
  store: Keystore,
  sealed: readonly SealedThing[],
  claim: string,
): Promise<void> {
  for (const keys of [processOn(store), processOn(store)]) {
    for (const { face, ciphertext } of sealed)
      t.ok((await keys.unwrap(name, ciphertext, context, face)).equals(message), `${claim}: ${face} opens`);
    const mac = await keys.mac(name, message);
    t.equal(mac.length, 32);
  }
}

/** Names that were used before, and such as never were. */
const pasts: Record<string, (store: MemoryKeystore) => Promise<void>> = {
  'a new name': async () => undefined,
  'a name whose key ended': async (store) => {
    const keys = processOn(store);
    await keys.createForTransit(name, plain, 'x');
    await keys.delete(name, 'x');
  },
};

for (const [past, prepare] of Object.entries(pasts)) {
  for (const theirs of ['transit', 'kes'] as const) {
    // Two creations on the KES face are told in keyring-stops.test.ts.
    const claim = `${past}: made on the Transit face while somebody makes it on ${theirs === 'kes' ? "KES's" : 'the same'}`;
    void t.test(claim, async (t) => {
      for (let at = 0; ; at++) {
        const store = new MemoryKeystore();
        await prepare(store);
        const sealed: SealedThing[] = [];
        const second = processOn(store);
        const third = processOn(store);
        // They know which keyrings there are, and hear of no new one.
        for (const keys of [second, third]) await t.rejects(async () => keys.transitSettings(other, false));
        let theirOutcome = '';
        const { store: mine, writes } = interrupted(store, at, async () => {
          await use(third, 'transit', sealed);
          theirOutcome = await outcomeOf(makes[theirs](second));
          await use(second, theirs, sealed);
          third.forget(name);
          await use(third, theirs, sealed);
        });
        const first = processOn(mine);
        const outcome = await outcomeOf(makes.transit(first));
        await use(first, 'transit', sealed);
        await allOpen(t, store, sealed, `before write ${String(at)} (${outcome}, they: ${theirOutcome})`);
        if (writes() <= at) {
          t.equal(outcome, 'done', 'undisturbed at last');
          t.ok(at >= 3);
          break;
        }
        t.ok(sealed.length >= 2);
        t.match(`${outcome} ${theirOutcome}`, /done|exists/);
      }
    });
  }

  void t.test(
    `${past}: made on the Transit face, stopped after each of its writes, and asked for again`,
    async (t) => {
      for (const again of ['transit', 'kes'] as const)
        for (let at = 0; ; at++) {
          const store = new MemoryKeystore();
          await prepare(store);
          const sealed: SealedThing[] = [];
          const { store: stopping } = interrupted(store, at, () => Promise.reject(new Stopped()));
          const outcome = await outcomeOf(makes.transit(processOn(stopping)));
          const after = processOn(store);
          await use(after, 'transit', sealed);
          const told = await outcomeOf(makes[again](after));
          await use(after, 'transit', sealed);
          await use(after, 'kes', sealed);
          t.equal(
            sealed.length >= 2,
            true,
            `stopped before write ${String(at)}: ${told}, and the key is there`,
          );
          await allOpen(t, store, sealed, `stopped before write ${String(at)}`);
          await after.rotate(name, 'x');
          await allOpen(t, store, sealed, 'and after a rotation');
          if (outcome === 'done') break;
        }
    },
  );
}

for (const readFirst of ['value', 'keyring'] as const)
  void t.test(
    `read while it is made and settled, the ${readFirst} before and the other after: it is there`,
    async (t) => {
      const store = new MemoryKeystore();
      const made = Promise.withResolvers<undefined>();
      const begun = Promise.withResolvers<undefined>();
      let reads = 0;
      /** The first two reads of a look: one before the key is made, one after. */
      const around = async <T>(isFirst: boolean, read: () => Promise<T>): Promise<T> => {
        if (++reads > 2) return read();
        if (!isFirst) await made.promise;
        const result = await read().finally(() => isFirst && begun.resolve(undefined));
        await made.promise;
        return result;
      };
      const { store: plainStore } = interrupted(store, Infinity, async () => undefined);
      const slow: Keystore = {
        ...plainStore,
        read: (key) =>
          key === name ? around(readFirst === 'value', () => store.read(key)) : store.read(key),
        records: {
          ...plainStore.records!,
          read: (path) =>
            path === `keyrings/${name}`
              ? around(readFirst === 'keyring', () => store.records.read(path))
              : store.records.read(path),
        },
      };
      const reader = processOn(slow);
      await t.rejects(async () => reader.transitSettings(other, false), 'it knows which keyrings there are');
      reader.forget(name); // and is told of this one
      const use = Promise.resolve(reader.encrypt(name, message, context, 'transit'));
      use.catch(() => undefined);
      await begun.promise;
      await processOn(store).createForTransit(name, plain, 'x');
      made.resolve(undefined);
      const sealed = await use;
      t.ok((await processOn(store).unwrap(name, sealed, context, 'transit')).equals(message));
    },
  );
