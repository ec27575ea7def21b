import { randomBytes } from 'node:crypto';
import { cp, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t, { type Test } from 'tap';
import { openKeystore, rotateRootKey, type Keystore } from '../../src/keystores/index.ts';
import { key, rejectsWith, testKeystoreContract } from './contract.ts';
import { testRecordStoreContract } from './record-contract.ts';
import { fileConfig, temporaryFolder, type FileConfig } from './folders.ts';

const configs = new Map<Keystore, FileConfig>();

async function openNew(test: Test, config?: FileConfig): Promise<Keystore> {
  const used = config ?? (await fileConfig(test));
  const store = await openKeystore(used);
  configs.set(store, used);
  test.teardown(() => store.close());
  return store;
}

testKeystoreContract('file', {
  open: openNew,
  openTwo: async (t) => {
    const config = await fileConfig(t);
    return [await openNew(t, config), await openNew(t, config)];
  },
  reopen: (store) => openKeystore(configs.get(store)!),
});

testRecordStoreContract('file', {
  open: async (t) => (await openNew(t)).records!,
  openTwo: async (t) => {
    const config = await fileConfig(t);
    return [(await openNew(t, config)).records!, (await openNew(t, config)).records!];
  },
});

async function filesUnder(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name));
}

async function recordFile(store: Keystore): Promise<string> {
  const files = await filesUnder(path.join(store.location, 'keys'));
  t.equal(files.length, 1);
  return files[0]!;
}

t.test('no byte of a key, and no name, is on the disk in any spelling', async (t) => {
  const rootKey = randomBytes(32);
  const config = await fileConfig(t, rootKey);
  const store = await openNew(t, config);
  const secrets: Buffer[] = [rootKey];
  for (let i = 0; i < 20; i++) {
    const value = randomBytes(64);
    secrets.push(value);
    await store.create(key(`secret-name-${i}`), value);
  }
  await store.delete(key('secret-name-3'));
  await store.close();
  const needles = secrets.flatMap((secret) =>
    [0, 1, 2].flatMap((skip) => {
      // 12 bytes at three alignments: base64 of a value inside a longer text depends on where it begins.
      const part = secret.subarray(skip, skip + 12);
      const hex = part.toString('hex');
      const texts = [hex, hex.toUpperCase(), part.toString('base64'), part.toString('base64url')];
      return [part, ...texts.map((text) => Buffer.from(text))];
    }),
  );
  const files = await filesUnder(store.location);
  t.ok(files.length >= 20);
  for (const file of files) {
    const content = await readFile(file);
    t.notOk(
      needles.some((needle) => content.includes(needle)),
      path.basename(file),
    );
    t.notOk(content.includes('secret-name'));
    t.notOk(file.includes('secret-name'));
    t.notOk(file.includes(Buffer.from('secret-name').toString('hex')));
  }
  const found = Buffer.concat([
    Buffer.from('...'),
    Buffer.from(secrets[1]!.toString('base64')),
    Buffer.from('...'),
  ]);
  t.ok(
    needles.some((needle) => found.includes(needle)),
    'the search finds what it looks for',
  );
});

t.test('a record that was changed in any byte does not open, and is not "not found"', async (t) => {
  const store = await openNew(t);
  await store.create(key('k'), randomBytes(40));
  const file = await recordFile(store);
  const good = await readFile(file);
  for (let at = 0; at < good.length; at++) {
    const bad = Buffer.from(good);
    bad[at]! ^= 1;
    await writeFile(file, bad);
    await t.rejects(store.read(key('k')), { code: 'SELLO_STORED_KEY_UNREADABLE' }, `byte ${at}`);
  }
  for (const bad of [
    Buffer.alloc(0),
    good.subarray(0, 50),
    good.subarray(0, -1),
    Buffer.concat([good, Buffer.from('x')]),
  ]) {
    await writeFile(file, bad);
    await t.rejects(store.read(key('k')), { code: 'SELLO_STORED_KEY_UNREADABLE' }, `${bad.length} bytes`);
  }
  await writeFile(file, good);
  t.equal((await store.read(key('k'))).length, 40);
});

t.test('a record moved to another name or another store does not open', async (t) => {
  const store = await openNew(t);
  await store.create(key('first'), Buffer.from('value of first'));
  const firstFile = await recordFile(store);
  await store.create(key('second'), Buffer.from('value of second'));
  const secondFile = (await filesUnder(path.join(store.location, 'keys'))).find(
    (file) => file !== firstFile,
  )!;
  const second = await readFile(secondFile);
  await writeFile(secondFile, await readFile(firstFile));
  await rejectsWith(
    t,
    store.read(key('second')),
    'SELLO_STORED_KEY_UNREADABLE',
    'a record under another name',
  );
  await writeFile(secondFile, second);

  const other = await openNew(t);
  await other.create(key('second'), Buffer.from('other'));
  await writeFile(await recordFile(other), second);
  const error = await rejectsWith(
    t,
    other.read(key('second')),
    'SELLO_STORED_KEY_UNREADABLE',
    'a record of another store',
  );
  t.match(error.detail, /another store/);
});

t.test('a file that this store did not make is not listed', async (t) => {
  const store = await openNew(t);
  await store.create(key('k'), Buffer.from('v'));
  const file = await recordFile(store);
  const renamed = path.basename(file).replace(/.$/, (last) => (last === '0' ? '1' : '0'));
  await cp(file, path.join(path.dirname(file), renamed));
  await cp(file, path.join(path.dirname(file), 'README'));
  t.strictSame((await store.list({ prefix: '', limit: 10 })).names, ['k']);
});

t.test('a wrong root key is named as such when the store is opened', async (t) => {
  const config = await fileConfig(t);
  const store = await openNew(t, config);
  await store.create(key('k'), Buffer.from('v'));
  await store.close();
  await writeFile(config.rootKey.from === 'file' ? config.rootKey.path : '', randomBytes(32));
  const error = await rejectsWith(t, openKeystore(config), 'SELLO_ROOT_KEY_WRONG', 'another root key');
  t.match(error.detail, /needs the root key [0-9a-f]{16}, the one given is [0-9a-f]{16}/);
  await writeFile(config.rootKey.from === 'file' ? config.rootKey.path : '', Buffer.alloc(32, 0x5a));
  const again = await openKeystore(config);
  t.equal((await again.read(key('k'))).toString(), 'v', 'and the store is as it was, and not locked');
  await again.close();
});

t.test('a header that was changed does not open', async (t) => {
  const config = await fileConfig(t);
  await (await openKeystore(config)).close();
  const file = path.join(config.path, 'store.json');
  const good = await readFile(file, 'utf8');
  const header = JSON.parse(good) as Record<string, string>;
  for (const [field, value] of Object.entries({
    createdAt: '2020-01-01T00:00:00.000Z',
    sealedAt: '2020-01-01T00:00:00.000Z',
    storeKeyId: '00'.repeat(8),
    sealedStoreKey: Buffer.alloc(60).toString('base64'),
    format: 'other',
    version: 2,
  })) {
    await writeFile(file, JSON.stringify({ ...header, [field]: value }));
    await rejectsWith(t, openKeystore(config), 'SELLO_STORE_FAILED', field);
  }
  await writeFile(file, good.slice(0, 100));
  await rejectsWith(t, openKeystore(config), 'SELLO_STORE_FAILED', 'half a header');
  await writeFile(file, good);
  await (await openKeystore(config)).close();
});

t.test('the root key comes from file, environment or credential, raw, hex or base64', async (t) => {
  const rootKey = randomBytes(32);
  const config = await fileConfig(t, rootKey);
  const store = await openNew(t, config);
  await store.create(key('k'), Buffer.from('v'));
  await store.close();
  const folder = await temporaryFolder(t);
  process.env['SELLO_TEST_ROOT_KEY'] = rootKey.toString('hex');
  process.env['CREDENTIALS_DIRECTORY'] = folder;
  t.teardown(() => {
    delete process.env['SELLO_TEST_ROOT_KEY'];
    delete process.env['CREDENTIALS_DIRECTORY'];
  });
  const forms = [
    rootKey,
    `${rootKey.toString('hex')}\n`,
    `${rootKey.toString('base64')}\n`,
    rootKey.toString('base64url'),
  ];
  for (const [i, form] of forms.entries()) {
    await writeFile(path.join(folder, `root${i}`), form);
    for (const source of [
      { from: 'credential', name: `root${i}` },
      { from: 'file', path: path.join(folder, `root${i}`) },
    ] as const) {
      const again = await openKeystore({ ...config, rootKey: source });
      t.equal((await again.read(key('k'))).toString(), 'v', `form ${i} from ${source.from}`);
      await again.close();
    }
  }
  const again = await openKeystore({ ...config, rootKey: { from: 'env', name: 'SELLO_TEST_ROOT_KEY' } });
  t.equal((await again.read(key('k'))).toString(), 'v');
  await again.close();

  const text = 'a secret that is no key';
  await writeFile(path.join(folder, 'bad'), text);
  for (const source of [
    { from: 'file', path: path.join(folder, 'bad') },
    { from: 'file', path: path.join(folder, 'absent') },
    { from: 'env', name: 'SELLO_TEST_UNSET' },
    { from: 'credential', name: '../bad' },
    { from: 'credential', name: 'absent' },
  ] as const) {
    const error = await rejectsWith(
      t,
      openKeystore({ ...config, rootKey: source }),
      'SELLO_CONFIG_INVALID',
      JSON.stringify(source),
    );
    t.notMatch(`${error.message} ${error.detail}`, text, 'says nothing of what it read');
  }
});

t.test('a store that is gone, replaced or in part lost is unreachable, never "not found"', async (t) => {
  const config = await fileConfig(t);
  const store = await openNew(t, config);
  await store.create(key('k'), Buffer.from('v'));
  const operations: [string, () => Promise<unknown>][] = [
    ['read', () => store.read(key('k'))],
    ['create', () => store.create(key('new'), Buffer.from('v'))],
    ['delete', () => store.delete(key('k'))],
    ['list', () => store.list({ prefix: '', limit: 10 })],
    ['health', () => store.health()],
  ];
  await rename(config.path, `${config.path}.away`);
  for (const [operation, run] of operations)
    await rejectsWith(t, run(), 'SELLO_STORE_UNREACHABLE', operation);
  await mkdir(config.path);
  for (const [operation, run] of operations)
    await rejectsWith(t, run(), 'SELLO_STORE_UNREACHABLE', `${operation}, empty`);
  await rm(config.path, { recursive: true });
  const other = await openNew(t, config);
  for (const [operation, run] of operations)
    await rejectsWith(t, run(), 'SELLO_STORE_UNREACHABLE', `${operation}, other store`);
  await other.close();
  await rm(config.path, { recursive: true });
  await rename(`${config.path}.away`, config.path);
  t.equal((await store.read(key('k'))).toString(), 'v', 'back again');
  const shard = path.dirname(await recordFile(store));
  await rename(shard, `${config.path}.shard`);
  await rejectsWith(t, store.read(key('k')), 'SELLO_STORE_UNREACHABLE', 'its folder is missing');
  await store.close();
  await rejectsWith(t, openKeystore(config), 'SELLO_STORE_FAILED', 'opening without one of its folders');
});

t.test('is made in an empty folder only, and never over keys whose header is lost', async (t) => {
  const config = await fileConfig(t);
  await mkdir(config.path);
  await writeFile(path.join(config.path, 'my-key'), 'a KES folder');
  await rejectsWith(t, openKeystore(config), 'SELLO_STORE_FAILED', 'a folder of something else');
  t.strictSame(await readdir(config.path), ['my-key'], 'nothing was made in it');
  await rm(path.join(config.path, 'my-key'));
  const store = await openKeystore(config);
  await store.create(key('k'), Buffer.from('v'));
  await store.close();
  await rm(path.join(config.path, 'store.json'));
  await rejectsWith(t, openKeystore(config), 'SELLO_STORE_FAILED', 'records without a header');
});

t.test('an unfinished making is finished by the next open', async (t) => {
  const config = await fileConfig(t);
  await mkdir(path.join(config.path, 'keys', '00'), { recursive: true });
  await writeFile(path.join(config.path, '.sello-tmp-000000000000.1.1-aa'), 'half');
  const store = await openNew(t, config);
  await store.create(key('k'), Buffer.from('v'));
});

t.test('two workers that make the store at the same time make one', async (t) => {
  const config = await fileConfig(t);
  const stores = await Promise.all(Array.from({ length: 4 }, () => openNew(t, config)));
  await stores[0]!.create(key('k'), Buffer.from('v'));
  for (const store of stores) t.equal((await store.read(key('k'))).toString(), 'v');
});

t.test(
  'rotating the root key leaves records alone, ends the old root key, and can be repeated',
  async (t) => {
    const config = await fileConfig(t);
    const store = await openNew(t, config);
    await store.create(key('k'), Buffer.from('v'));
    const record = await readFile(await recordFile(store));
    const next = path.join(await temporaryFolder(t), 'next.key');
    await writeFile(next, randomBytes(32).toString('hex'));
    const newSource = { from: 'file', path: next } as const;
    const wrong = { from: 'file', path: path.join(path.dirname(next), 'wrong.key') } as const;
    await writeFile(wrong.path, randomBytes(32));
    await rejectsWith(
      t,
      rotateRootKey(config.path, wrong, newSource),
      'SELLO_ROOT_KEY_WRONG',
      'from a root key that is not its own',
    );
    t.equal(
      await rotateRootKey(config.path, config.rootKey, newSource),
      'rotated',
      'while the store is open',
    );
    t.equal(await rotateRootKey(config.path, config.rootKey, newSource), 'already');
    t.equal((await store.read(key('k'))).toString(), 'v', 'the open store goes on');
    await store.create(key('k2'), Buffer.from('v2'));
    await store.delete(key('k2'));
    t.ok((await readFile(await recordFile(store))).equals(record));
    await store.close();
    await rejectsWith(t, openKeystore(config), 'SELLO_ROOT_KEY_WRONG', 'the old root key');
    const again = await openKeystore({ ...config, rootKey: newSource });
    t.equal((await again.read(key('k'))).toString(), 'v');
    await again.close();
    await rejectsWith(
      t,
      rotateRootKey(await temporaryFolder(t), config.rootKey, newSource),
      'SELLO_STORE_UNREACHABLE',
      'no store there',
    );
  },
);

t.test(
  'a store that lost its records is not opened; one of an earlier release, without any, is',
  async (t) => {
    const config = await fileConfig(t);
    const store = await openNew(t, config);
    await store.create(key('a'), Buffer.from('value'));
    await store.records!.write('keyrings/a', Buffer.from('state'), 0);
    await store.close();
    const records = path.join(config.path, 'records');
    await rename(records, `${config.path}-away`);
    await rejectsWith(
      t,
      openKeystore(config),
      'SELLO_STORE_FAILED',
      'without records every key would be as new',
    );
    await rename(`${config.path}-away`, records);
    const again = await openNew(t, config);
    await rename(records, `${config.path}-away`);
    await rejectsWith(
      t,
      again.records!.read('keyrings/a'),
      'SELLO_STORE_UNREACHABLE',
      'nor is "no such record" said of one that is away',
    );
    await rejectsWith(
      t,
      again.records!.write('keyrings/b', Buffer.from('v'), 0),
      'SELLO_STORE_UNREACHABLE',
      'nothing is made in its place',
    );
    await again.close();
    await rm(`${config.path}-away`, { recursive: true });
    await rm(path.join(config.path, 'records.made'));
    const earlier = await openNew(t, config);
    t.equal((await earlier.read(key('a'))).toString(), 'value');
    t.equal(await earlier.records!.read('keyrings/a'), undefined);
  },
);
