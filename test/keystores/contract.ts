/** What every keystore promises, as tests: src/keystores/contract.ts, sentence by sentence. */
import { randomBytes } from 'node:crypto';
import t, { type Test } from 'tap';
import { SelloError, type ErrorCode } from '../../src/errors.ts';
import { parseKeyName, type KeyName } from '../../src/keys/names.ts';
import type { Keystore } from '../../src/keystores/index.ts';

export const key = parseKeyName;

/** Asserts the code: a failure of another kind is another failure. */
export async function rejectsWith(
  test: Test,
  promise: Promise<unknown>,
  code: ErrorCode,
  claim: string,
): Promise<SelloError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof SelloError) {
      test.equal(error.code, code, claim);
      return error;
    }
    throw error;
  }
  test.fail(`${claim}: nothing was thrown`);
  return new SelloError('SELLO_INTERNAL');
}

export interface StoreUnderTest {
  /** A store of its own, empty. */
  readonly open: (test: Test) => Promise<Keystore>;
  /** Two objects on one store, as two processes have them; undefined where that cannot be. */
  readonly openTwo?: (test: Test) => Promise<readonly [Keystore, Keystore]>;
  /** Opens again what a closed store left; undefined for one that forgets. */
  readonly reopen?: (store: Keystore) => Promise<Keystore>;
  /** 1 MiB unless given. */
  readonly largestValueBytes?: number;
  /** Several of one kind are told apart by this. */
  readonly title?: string;
}

async function listAll(store: Keystore, prefix: string, limit: number): Promise<KeyName[]> {
  const names: KeyName[] = [];
  let after: KeyName | undefined;
  for (let pages = 0; pages < 10_000; pages++) {
    const page = await store.list({ prefix, limit, ...(after === undefined ? {} : { after }) });
    names.push(...page.names);
    if (!page.more) return names;
    after = page.names.at(-1);
  }
  throw new Error('the listing does not end');
}

export function testKeystoreContract(
  ofKind: string,
  { open, openTwo, reopen, largestValueBytes = 1024 * 1024, title = ofKind }: StoreUnderTest,
): void {
  const kind = title;
  t.test(`${kind}: gives back the bytes that were created, in memory of the caller's own`, async (t) => {
    const store = await open(t);
    for (const length of [1, 32, 300, 65_537]) {
      const value = randomBytes(length);
      // A random byte may be zero, and what is zero does not change when it is wiped.
      value[0] = 1;
      const name = key(`k${length}`);
      await store.create(name, value);
      const first = await store.read(name);
      t.ok(first.equals(value));
      first.fill(0);
      t.ok((await store.read(name)).equals(value), 'wiping what was read changes nothing');
      value.fill(0);
      t.notOk((await store.read(name)).equals(value), 'wiping what was given changes nothing');
    }
  });

  t.test(`${kind}: takes every legal name and keeps them apart`, async (t) => {
    const store = await open(t);
    const names = [
      'a',
      'A',
      '0',
      '__',
      '_a',
      'a-b',
      'a_b',
      'ab',
      'x'.repeat(79),
      'x'.repeat(80),
      'aa',
      'constructor',
      '__proto__',
    ].map(key);
    for (const name of names) await store.create(name, Buffer.from(`value of ${name}`));
    for (const name of names) t.equal((await store.read(name)).toString(), `value of ${name}`);
    t.strictSame(await listAll(store, '', 3), [...names].sort());
  });

  t.test(`${kind}: create never replaces`, async (t) => {
    const store = await open(t);
    await store.create(key('k'), Buffer.from('first'));
    await rejectsWith(
      t,
      store.create(key('k'), Buffer.from('second')),
      'SELLO_KEY_EXISTS',
      'a name that exists',
    );
    t.equal((await store.read(key('k'))).toString(), 'first');
  });

  t.test(`${kind}: of many creates of one name at once, one wins`, async (t) => {
    const store = await open(t);
    const results = await Promise.allSettled(
      Array.from({ length: 20 }, (_, i) => store.create(key('k'), Buffer.from(`by ${i}`))),
    );
    const winners = results.flatMap((result, i) => (result.status === 'fulfilled' ? [i] : []));
    t.equal(winners.length, 1);
    for (const result of results) {
      if (result.status === 'rejected') t.match(result.reason, { code: 'SELLO_KEY_EXISTS' });
    }
    t.equal((await store.read(key('k'))).toString(), `by ${winners[0]}`);
  });

  t.test(`${kind}: an absent name is not found, before and after`, async (t) => {
    const store = await open(t);
    await rejectsWith(t, store.read(key('k')), 'SELLO_KEY_NOT_FOUND', 'read');
    await rejectsWith(t, store.delete(key('k')), 'SELLO_KEY_NOT_FOUND', 'delete');
    await store.create(key('k'), Buffer.from('v'));
    await store.delete(key('k'));
    await rejectsWith(t, store.read(key('k')), 'SELLO_KEY_NOT_FOUND', 'read after delete');
    await rejectsWith(t, store.delete(key('k')), 'SELLO_KEY_NOT_FOUND', 'delete after delete');
    await store.create(key('k'), Buffer.from('again'));
    t.equal((await store.read(key('k'))).toString(), 'again', 'the name is free again');
  });

  t.test(
    `${kind}: lists in byte order, by prefix, from a cursor, and says whether more follow`,
    async (t) => {
      const store = await open(t);
      t.strictSame(await store.list({ prefix: '', limit: 10 }), { names: [], more: false });
      const names = ['b', 'a', 'B', '_x', 'a-1', 'a_1', 'a1', 'ab', '9', 'a-10', 'a-2'].map(key);
      for (const name of names) await store.create(name, Buffer.from('v'));
      const sorted = [...names].sort();
      t.strictSame(await store.list({ prefix: '', limit: 1024 }), { names: sorted, more: false });
      t.strictSame(
        await store.list({ prefix: '', limit: names.length }),
        { names: sorted, more: false },
        'a full last page',
      );
      t.strictSame(await store.list({ prefix: '', limit: 3 }), { names: sorted.slice(0, 3), more: true });
      t.strictSame((await store.list({ prefix: 'a-', limit: 10 })).names, ['a-1', 'a-10', 'a-2']);
      t.strictSame((await store.list({ prefix: 'a-', after: key('a-1'), limit: 10 })).names, ['a-10', 'a-2']);
      t.strictSame(
        (await store.list({ prefix: 'a', after: key('a-11'), limit: 2 })).names,
        ['a-2', 'a1'],
        'a cursor that does not exist',
      );
      t.strictSame(
        (await store.list({ prefix: 'b', after: key('a'), limit: 2 })).names,
        ['b'],
        'a cursor before the prefix',
      );
      t.strictSame(
        (await store.list({ prefix: 'a', after: key('b'), limit: 2 })).names,
        [],
        'a cursor behind the prefix',
      );
      t.strictSame((await store.list({ prefix: 'zz', limit: 2 })).names, []);
      for (const limit of [1, 2, 5])
        t.strictSame(await listAll(store, '', limit), sorted, `pages of ${limit}`);
      await store.delete(key('a1'));
      t.strictSame(
        await listAll(store, '', 4),
        sorted.filter((name) => name !== 'a1'),
        'a deleted name is gone at once',
      );
    },
  );

  t.test(`${kind}: refuses pages and values out of bounds`, async (t) => {
    const store = await open(t);
    for (const limit of [0, -1, 1.5, 1025]) await t.rejects(store.list({ prefix: '', limit }), RangeError);
    await t.rejects(store.create(key('k'), Buffer.alloc(0)), RangeError);
    await t.rejects(store.create(key('k'), Buffer.alloc(largestValueBytes + 1)), RangeError);
    await rejectsWith(t, store.read(key('k')), 'SELLO_KEY_NOT_FOUND', 'nothing was made');
    await store.create(key('k'), Buffer.alloc(largestValueBytes, 7));
    t.equal((await store.read(key('k'))).length, largestValueBytes);
  });

  t.test(
    `${kind}: a listing neither loses nor repeats a name that stays, while others come and go`,
    async (t) => {
      const store = await open(t);
      const stay = Array.from({ length: 60 }, (_, i) => key(`s${String(i).padStart(3, '0')}`));
      for (const name of stay) await store.create(name, Buffer.from('v'));
      let going = true;
      const churn = (async () => {
        for (let i = 0; i < 500 && going; i++) {
          const name = key(`s${String(i % 60).padStart(3, '0')}_${i}`);
          await store.create(name, Buffer.from('v'));
          await store.delete(name);
        }
      })();
      for (let round = 0; round < 5; round++) {
        const names = await listAll(store, '', 7);
        t.strictSame(
          names.filter((name) => !name.includes('_')),
          stay,
        );
        t.equal(new Set(names).size, names.length);
      }
      going = false;
      await churn;
    },
  );

  t.test(`${kind}: is healthy while open, and unreachable once closed`, async (t) => {
    const store = await open(t);
    t.equal(typeof store.location, 'string');
    t.equal(store.kind, ofKind);
    await store.health();
    await store.create(key('k'), Buffer.from('v'));
    await store.close();
    await store.close();
    await rejectsWith(t, store.health(), 'SELLO_STORE_UNREACHABLE', 'health');
    await rejectsWith(t, store.read(key('k')), 'SELLO_STORE_UNREACHABLE', 'read');
    await rejectsWith(t, store.create(key('l'), Buffer.from('v')), 'SELLO_STORE_UNREACHABLE', 'create');
    await rejectsWith(t, store.delete(key('k')), 'SELLO_STORE_UNREACHABLE', 'delete');
    await rejectsWith(t, store.list({ prefix: '', limit: 1 }), 'SELLO_STORE_UNREACHABLE', 'list');
  });

  if (reopen !== undefined) {
    t.test(`${kind}: keeps its keys over close and open`, async (t) => {
      const store = await open(t);
      const value = randomBytes(100);
      await store.create(key('stays'), value);
      await store.create(key('goes'), value);
      await store.delete(key('goes'));
      await store.close();
      const again = await reopen(store);
      t.teardown(() => again.close());
      t.ok((await again.read(key('stays'))).equals(value));
      await rejectsWith(t, again.read(key('goes')), 'SELLO_KEY_NOT_FOUND', 'deleted stays deleted');
      t.strictSame(await listAll(again, '', 10), ['stays']);
    });
  }

  if (openTwo !== undefined) {
    t.test(`${kind}: two processes see each other's keys, and one wins a create`, async (t) => {
      const [one, two] = await openTwo(t);
      t.strictSame((await two.list({ prefix: '', limit: 10 })).names, []);
      await one.create(key('a'), Buffer.from('by one'));
      t.equal((await two.read(key('a'))).toString(), 'by one');
      t.strictSame((await two.list({ prefix: '', limit: 10 })).names, ['a']);
      await rejectsWith(
        t,
        two.create(key('a'), Buffer.from('by two')),
        'SELLO_KEY_EXISTS',
        'created by the other',
      );
      const results = await Promise.allSettled(
        Array.from({ length: 40 }, (_, i) =>
          (i % 2 === 0 ? one : two).create(key(`k${i >> 1}`), Buffer.from('v')),
        ),
      );
      t.equal(results.filter((result) => result.status === 'fulfilled').length, 20);
      await two.delete(key('a'));
      await rejectsWith(t, one.read(key('a')), 'SELLO_KEY_NOT_FOUND', 'deleted by the other');
      // On a slow disk the other's changes show within ten times what reading the folders takes (docs/keystores.md).
      const endMs = performance.now() + 5000;
      const agree = async (): Promise<boolean> =>
        (await listAll(one, '', 3)).length === 20 && (await listAll(two, '', 7)).length === 20;
      while (performance.now() < endMs && !(await agree()));
      t.strictSame(await listAll(one, '', 3), await listAll(two, '', 7));
      t.equal((await listAll(one, '', 100)).length, 20);
    });
  }
}
