/** What every store of records promises, as tests: RecordStore in src/keystores/contract.ts, sentence by sentence. */
import { randomBytes } from 'node:crypto';
import t, { type Test } from 'tap';
import { maxRecordBytes, type RecordStore } from '../../src/keystores/index.ts';
import { rejectsWith } from './contract.ts';

export interface RecordsUnderTest {
  /** A store of its own, empty. */
  readonly open: (test: Test) => Promise<RecordStore>;
  /** Two objects on one store, as two replicas have them. */
  readonly openTwo?: (test: Test) => Promise<readonly [RecordStore, RecordStore]>;
}

export function testRecordStoreContract(kind: string, { open, openTwo }: RecordsUnderTest): void {
  t.test(`${kind}: a record that is not there is undefined`, async (t) => {
    const records = await open(t);
    t.equal(await records.read('keyring/none'), undefined);
    await records.delete('keyring/none', 0);
    await records.delete('keyring/none', 3);
    t.strictSame(await records.list('keyring', { limit: 10 }), { names: [], more: false });
  });

  t.test(`${kind}: gives back bytes and a revision that grows from 1`, async (t) => {
    const records = await open(t);
    for (const length of [0, 1, 300, maxRecordBytes]) {
      const value = randomBytes(length);
      const path = `keyring/of-${String(length)}`;
      t.equal(await records.write(path, value, 0), 1);
      const read = await records.read(path);
      t.ok(read!.value.equals(value), `${String(length)} bytes`);
      t.equal(read!.revision, 1);
      read!.value.fill(0);
      t.ok((await records.read(path))!.value.equals(value), 'wiping what was read changes nothing');
    }
    let revision = 0;
    for (let i = 0; i < 15; i++) {
      const next = await records.write('keyring/k', Buffer.from(`value ${String(i)}`), revision);
      t.ok(next > revision, 'greater after each write');
      revision = next;
      t.match(await records.read('keyring/k'), { value: Buffer.from(`value ${String(i)}`), revision });
    }
    await t.rejects(records.write('keyring/large', Buffer.alloc(maxRecordBytes + 1), 0), RangeError);
  });

  t.test(`${kind}: compares before it writes or deletes`, async (t) => {
    const records = await open(t);
    const conflict = (promise: Promise<unknown>, claim: string) =>
      rejectsWith(t, promise, 'SELLO_RECORD_CONFLICT', claim);
    await conflict(records.write('a/b', Buffer.from('v'), 1), 'nothing there, and something expected');
    await records.write('a/b', Buffer.from('one'), 0);
    await conflict(records.write('a/b', Buffer.from('v'), 0), 'something there, and nothing expected');
    const second = await records.write('a/b', Buffer.from('two'), 1);
    await conflict(records.write('a/b', Buffer.from('v'), 1), 'an older revision expected');
    await conflict(records.write('a/b', Buffer.from('v'), second + 1), 'a revision that never was');
    await conflict(records.delete('a/b', 1), 'delete of an older revision');
    await conflict(records.delete('a/b', 0), 'delete of what must not be there');
    t.match(await records.read('a/b'), { value: Buffer.from('two'), revision: second });
    await records.delete('a/b', second);
    t.equal(await records.read('a/b'), undefined);
    t.strictSame((await records.list('a', { limit: 10 })).names, [], 'gone from the list');
    t.equal(await records.write('a/b', Buffer.from('again'), 0), 1, 'a new record begins at 1');
  });

  t.test(`${kind}: of many writes at once, one wins`, async (t) => {
    const records = await open(t);
    for (const expected of [0, 1]) {
      const results = await Promise.allSettled(
        Array.from({ length: 12 }, (_, i) => records.write('a/b', Buffer.from(`by ${String(i)}`), expected)),
      );
      const winners = results.flatMap((result, i) => (result.status === 'fulfilled' ? [i] : []));
      t.equal(winners.length, 1);
      for (const result of results) {
        if (result.status === 'rejected') t.match(result.reason, { code: 'SELLO_RECORD_CONFLICT' });
      }
      t.equal((await records.read('a/b'))!.value.toString(), `by ${String(winners[0])}`);
    }
  });

  t.test(`${kind}: of a write and a delete at once, one wins`, async (t) => {
    const records = await open(t);
    for (let round = 0; round < 10; round++) {
      const path = `a/r${String(round)}`;
      const revision = await records.write(path, Buffer.from('v'), 0);
      const [wrote, deleted] = await Promise.allSettled([
        records.write(path, Buffer.from('w'), revision),
        records.delete(path, revision),
      ]);
      const left = await records.read(path);
      if (wrote.status === 'fulfilled') t.equal(left?.value.toString(), 'w', 'written, and not deleted');
      else t.equal(left, undefined, 'deleted');
      t.ok(wrote.status !== deleted.status || wrote.status === 'rejected', 'not both');
    }
  });

  t.test(`${kind}: lists the names directly below a folder, in pages`, async (t) => {
    const records = await open(t);
    const names = ['b', 'a', 'B', 'a.1', 'a_1', 'a-1', '10', '9', '_x', '..x'];
    for (const name of names) await records.write(`keyring/${name}`, Buffer.from('v'), 0);
    await records.write('other/z', Buffer.from('v'), 0);
    await records.write('keyring/folder/z', Buffer.from('v'), 0);
    const sorted = [...names].sort();
    t.strictSame(await records.list('keyring', { limit: 100 }), { names: sorted, more: false });
    for (const limit of [1, 3, names.length]) {
      const all: string[] = [];
      let after: string | undefined;
      for (let pages = 0; pages < 20; pages++) {
        const page = await records.list('keyring', { limit, ...(after === undefined ? {} : { after }) });
        all.push(...page.names);
        after = page.names.at(-1);
        if (!page.more) break;
      }
      t.strictSame(all, sorted, `pages of ${String(limit)}`);
    }
  });

  t.test(`${kind}: takes paths of two to four segments, and no other`, async (t) => {
    const records = await open(t);
    for (const path of ['a/b', 'a/b/c', 'a/b2/c/d', `a/${'x'.repeat(128)}`, 'A_.-/0.1']) {
      t.equal(await records.write(path, Buffer.from(path), 0), 1);
      t.equal((await records.read(path))!.value.toString(), path);
    }
    for (const path of [
      '',
      'a',
      'a//b',
      '/a/b',
      'a/b/',
      'a/..',
      './a',
      'a/b/c/d/e',
      'a/b c',
      'a/b\\c',
      'a/%2e',
      `a/${'x'.repeat(129)}`,
    ]) {
      await t.rejects(records.read(path), path);
      await t.rejects(records.write(path, Buffer.from('v'), 0), path);
    }
  });

  if (openTwo !== undefined) {
    t.test(`${kind}: replicas see each other's records, and one wins`, async (t) => {
      const [one, two] = await openTwo(t);
      await one.write('a/b', Buffer.from('by one'), 0);
      t.match(await two.read('a/b'), { value: Buffer.from('by one'), revision: 1 });
      await two.write('a/b', Buffer.from('by two'), 1);
      await rejectsWith(
        t,
        one.write('a/b', Buffer.from('late'), 1),
        'SELLO_RECORD_CONFLICT',
        'changed by the other',
      );
      t.equal((await one.read('a/b'))!.value.toString(), 'by two');
      await one.delete('a/b', 2);
      t.equal(await two.read('a/b'), undefined);
      t.strictSame((await two.list('a', { limit: 5 })).names, []);
    });
  }
}
