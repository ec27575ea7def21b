import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import { SelloError } from '../../src/errors.ts';
import type { KeyName } from '../../src/keys/names.ts';
import { migrateKeys, openKeystore, type Keystore } from '../../src/keystores/index.ts';
import { key, rejectsWith } from './contract.ts';
import { fileConfig, temporaryFolder } from './folders.ts';

async function memory(values: Record<string, string> = {}): Promise<Keystore> {
  const store = await openKeystore({ kind: 'memory' });
  for (const [name, value] of Object.entries(values)) await store.create(key(name), Buffer.from(value));
  return store;
}

async function contents(store: Keystore): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const name of (await store.list({ prefix: '', limit: 1024 })).names)
    found[name] = (await store.read(name)).toString();
  return found;
}

/** `store` with some of its methods replaced. */
function altered(store: Keystore, methods: Partial<Keystore>): Keystore {
  return {
    kind: store.kind,
    location: store.location,
    create: (name, value) => store.create(name, value),
    read: (name) => store.read(name),
    delete: (name) => store.delete(name),
    list: (options) => store.list(options),
    health: () => store.health(),
    close: () => store.close(),
    ...methods,
  };
}

const nothing = { copied: 0, alreadyThere: 0, replaced: 0, skipped: [], failed: [] };

t.test(
  '1,100 keys of a KES folder arrive in a file keystore, each one verified (KES moves 1,025 of them)',
  async (t) => {
    const folder = path.join(await temporaryFolder(t), 'kes');
    await mkdir(folder);
    const values = new Map<string, Buffer>();
    for (let i = 0; i < 1100; i++) {
      const value = Buffer.from(randomBytes(90).toString('base64'));
      values.set(`key-${i}`, value);
      await writeFile(path.join(folder, `key-${i}`), value);
    }
    const from = await openKeystore({ kind: 'fs', path: folder });
    const to = await openKeystore(await fileConfig(t));
    t.teardown(() => to.close());
    let last = 0;
    t.strictSame(await migrateKeys({ from, to, onProgress: ({ done }) => (last = done) }), {
      ...nothing,
      total: 1100,
      copied: 1100,
    });
    t.equal(last, 1100);
    for (const [name, value] of values) if (!(await to.read(key(name))).equals(value)) t.fail(name);
    t.strictSame(await migrateKeys({ from, to }), { ...nothing, total: 1100, alreadyThere: 1100 }, 'again');

    const back = path.join(folder, '..', 'back');
    const kes = await openKeystore({ kind: 'fs', path: back });
    t.strictSame(await migrateKeys({ from: to, to: kes }), { ...nothing, total: 1100, copied: 1100 });
    t.equal((await readdir(back)).length, 1100);
    t.ok(
      (await readFile(path.join(back, 'key-1099'))).equals(values.get('key-1099')!),
      'the same bytes for KES',
    );
  },
);

t.test('100,000 keys', async (t) => {
  const from = await memory();
  for (let i = 0; i < 100_000; i++) await from.create(key(`key-${i}`), Buffer.from(`value-${i}`));
  const to = await memory();
  t.strictSame(await migrateKeys({ from, to }), { ...nothing, total: 100_000, copied: 100_000 });
  t.equal((await to.read(key('key-99999'))).toString(), 'value-99999');
});

t.test('a differing key is listed as failed, and everything else is copied', async (t) => {
  const from = await memory({ a: '1', b: '2', c: '3' });
  const to = await memory({ b: 'other', c: '3' });
  t.match(await migrateKeys({ from, to }), {
    total: 3,
    copied: 1,
    alreadyThere: 1,
    failed: [{ name: 'b', code: 'SELLO_KEY_EXISTS' }],
  });
  t.strictSame(await contents(to), { a: '1', b: 'other', c: '3' });
});

t.test('merge keeps the key of the target and says so', async (t) => {
  const from = await memory({ a: '1', b: '2' });
  const to = await memory({ b: 'other' });
  const result = await migrateKeys({ from, to, merge: true });
  t.match(result, { total: 2, copied: 1, skipped: [{ name: 'b' }], failed: [] });
  t.strictSame(await contents(to), { a: '1', b: 'other' });
});

t.test('force replaces the key of the target', async (t) => {
  const from = await memory({ a: '1', b: '2' });
  const to = await memory({ b: 'other' });
  t.match(await migrateKeys({ from, to, force: true }), { total: 2, copied: 1, replaced: 1, failed: [] });
  t.strictSame(await contents(to), { a: '1', b: '2' });
  await t.rejects(migrateKeys({ from, to, force: true, merge: true }), TypeError);
});

t.test('a pattern is an exact name or a prefix', async (t) => {
  const from = await memory({ a: '1', ab: '2', abc: '3', b: '4' });
  for (const [pattern, names] of Object.entries({
    ab: ['ab'],
    'ab*': ['ab', 'abc'],
    '*': ['a', 'ab', 'abc', 'b'],
    x: [],
    'a*c': [],
  })) {
    const to = await memory();
    t.equal((await migrateKeys({ from, to, pattern })).total, names.length, pattern);
    t.strictSame(Object.keys(await contents(to)), names);
  }
});

t.test('a key that cannot be read is listed, and does not stop the others', async (t) => {
  const folder = await temporaryFolder(t);
  for (const [name, value] of Object.entries({ a: '1', b: '', c: '3' }))
    await writeFile(path.join(folder, name), value);
  const from = await openKeystore({ kind: 'fs', path: folder });
  t.match(await migrateKeys({ from, to: await memory() }), {
    total: 3,
    copied: 2,
    failed: [{ name: 'b', code: 'SELLO_STORED_KEY_UNREADABLE' }],
  });
  const to = await openKeystore({ kind: 'fs', path: folder });
  const whole = await memory({ b: '2' });
  t.match(await migrateKeys({ from: whole, to }), { failed: [{ name: 'b', code: 'SELLO_KEY_EXISTS' }] });
  t.match(
    await migrateKeys({ from: whole, to, force: true }),
    { replaced: 1 },
    'an unreadable key of the target gives way to force',
  );
});

t.test('a target that keeps other bytes than it was given is found out', async (t) => {
  const target = await memory();
  const to = altered(target, {
    create: (name, value) => target.create(name, Buffer.from(value).fill(0, 0, 1)),
  });
  t.match(await migrateKeys({ from: await memory({ a: '1' }), to }), {
    copied: 0,
    failed: [{ name: 'a', code: 'SELLO_STORED_KEY_UNREADABLE' }],
  });
});

t.test('a store that goes down stops it; run again, it goes on', async (t) => {
  const values = Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`k${i}`, `v${i}`]));
  const from = await memory(values);
  const target = await memory();
  let creates = 0;
  const to = altered(target, {
    create: async (name: KeyName, value: Buffer) => {
      if (++creates > 50) throw new SelloError('SELLO_STORE_UNREACHABLE');
      await target.create(name, value);
    },
  });
  await rejectsWith(t, migrateKeys({ from, to }), 'SELLO_STORE_UNREACHABLE', 'goes down');
  t.strictSame(await migrateKeys({ from, to: target }), {
    ...nothing,
    total: 200,
    copied: 150,
    alreadyThere: 50,
  });
});

t.test('stops between two keys when told to', async (t) => {
  const from = await memory(Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`k${i}`, 'v'])));
  const to = await memory();
  const stop = new AbortController();
  const reason = new Error('enough');
  const migration = migrateKeys({
    from,
    to,
    concurrency: 1,
    signal: stop.signal,
    onProgress: ({ done }) => {
      if (done === 10) stop.abort(reason);
    },
  });
  await t.rejects(migration, reason);
  t.equal((await to.list({ prefix: '', limit: 1024 })).names.length, 10);
});
