import { execFileSync } from 'node:child_process';
import {
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import path from 'node:path';
import t, { type Test } from 'tap';
import { openKeystore, type Keystore } from '../../src/keystores/index.ts';
import { key, rejectsWith, testKeystoreContract } from './contract.ts';
import { temporaryFolder } from './folders.ts';

async function openIn(test: Test, folder: string): Promise<Keystore> {
  const store = await openKeystore({ kind: 'fs', path: folder });
  test.teardown(() => store.close());
  return store;
}

testKeystoreContract('fs', {
  open: async (t) => openIn(t, path.join(await temporaryFolder(t), 'keys')),
  openTwo: async (t) => {
    const folder = await temporaryFolder(t);
    return [await openIn(t, folder), await openIn(t, folder)];
  },
  reopen: (store) => openKeystore({ kind: 'fs', path: store.location }),
});

const everyOperation = (store: Keystore): [string, () => Promise<unknown>][] => [
  ['read', () => store.read(key('k'))],
  ['read of a name that never was', () => store.read(key('never'))],
  ['create', () => store.create(key('new'), Buffer.from('v'))],
  ['delete', () => store.delete(key('k'))],
  ['list', () => store.list({ prefix: '', limit: 10 })],
  ['health', () => store.health()],
];

t.test('writes as KES does: a file named like the key, mode 0600, with exactly the value', async (t) => {
  const folder = await temporaryFolder(t);
  const store = await openIn(t, folder);
  await store.create(key('my-key'), Buffer.from('c3RvcmVk'));
  t.strictSame(await readdir(folder), ['my-key'], 'and nothing beside it');
  t.equal(await readFile(path.join(folder, 'my-key'), 'utf8'), 'c3RvcmVk');
  t.equal((await stat(path.join(folder, 'my-key'))).mode & 0o777, 0o600);
  t.equal((await stat(path.join(folder, 'my-key'))).nlink, 1);
});

t.test('reads what others put into the folder, and lists it at once', async (t) => {
  const folder = await temporaryFolder(t);
  const store = await openIn(t, folder);
  await store.create(key('ours'), Buffer.from('v'));
  t.strictSame((await store.list({ prefix: '', limit: 10 })).names, ['ours']);
  await writeFile(path.join(folder, 'theirs'), 'w');
  t.strictSame((await store.list({ prefix: '', limit: 10 })).names, ['ours', 'theirs']);
  t.equal((await store.read(key('theirs'))).toString(), 'w');
  await rm(path.join(folder, 'ours'));
  t.strictSame((await store.list({ prefix: '', limit: 10 })).names, ['theirs']);
});

t.test('lists keys only: no folder, no illegal name, no file on its way', async (t) => {
  const folder = await temporaryFolder(t);
  const store = await openIn(t, folder);
  await store.create(key('k'), Buffer.from('v'));
  await mkdir(path.join(folder, 'subfolder'));
  for (const name of ['.hidden', '.sello-tmp-x', 'a.txt', '-a', 'a-', '_', 'ä', 'x'.repeat(81)]) {
    await writeFile(path.join(folder, name), 'v');
  }
  await symlink('k', path.join(folder, 'linked'));
  t.strictSame((await store.list({ prefix: '', limit: 20 })).names, ['k', 'linked']);
  t.equal((await store.read(key('linked'))).toString(), 'v', 'links, as Kubernetes mounts secrets');
});

t.test('a value that is there but no key is unreadable, never "not found"', async (t) => {
  const folder = await temporaryFolder(t);
  const store = await openIn(t, folder);
  const at = (name: string): string => path.join(folder, name);
  await writeFile(at('empty'), '');
  await writeFile(at('large'), 'x');
  await truncate(at('large'), 1024 * 1024 + 1);
  await mkdir(at('folder'));
  await symlink('nowhere', at('dangling'));
  await symlink('loop', at('loop'));
  execFileSync('mkfifo', [at('pipe')]);
  for (const name of ['empty', 'large', 'folder', 'dangling', 'loop', 'pipe']) {
    await rejectsWith(t, store.read(key(name)), 'SELLO_STORED_KEY_UNREADABLE', `read of ${name}`);
    await rejectsWith(
      t,
      store.create(key(name), Buffer.from('v')),
      'SELLO_KEY_EXISTS',
      `create over ${name}`,
    );
  }
  await rejectsWith(t, store.delete(key('folder')), 'SELLO_STORED_KEY_UNREADABLE', 'delete of a folder');
  await store.delete(key('empty'));
  await rejectsWith(t, store.read(key('empty')), 'SELLO_KEY_NOT_FOUND', 'an unreadable key can be deleted');
});

t.test(
  'a folder that is gone is a store that cannot be reached, and works again when it is back',
  async (t) => {
    const folder = path.join(await temporaryFolder(t), 'keys');
    const store = await openIn(t, folder);
    await store.create(key('k'), Buffer.from('v'));
    await rename(folder, `${folder}.away`);
    for (const [operation, run] of everyOperation(store))
      await rejectsWith(t, run(), 'SELLO_STORE_UNREACHABLE', operation);
    await writeFile(folder, 'a file in its place');
    for (const [operation, run] of everyOperation(store))
      await rejectsWith(t, run(), 'SELLO_STORE_UNREACHABLE', operation);
    await rm(folder);
    await mkdir(folder);
    for (const [operation, run] of everyOperation(store)) {
      await rejectsWith(
        t,
        run(),
        'SELLO_STORE_UNREACHABLE',
        `${operation}, with an empty mount point in its place`,
      );
    }
    await rm(folder, { recursive: true });
    await rename(`${folder}.away`, folder);
    for (const [operation, run] of everyOperation(store)) {
      if (operation.endsWith('never was')) await rejectsWith(t, run(), 'SELLO_KEY_NOT_FOUND', operation);
      else await t.resolves(run(), operation);
    }
  },
);

t.test('takes a copy of the folder that was put in its place', async (t) => {
  const folder = path.join(await temporaryFolder(t), 'keys');
  const store = await openIn(t, folder);
  await store.create(key('k'), Buffer.from('v'));
  await rename(folder, `${folder}.old`);
  await mkdir(folder);
  await writeFile(path.join(folder, 'k2'), 'w');
  t.strictSame((await store.list({ prefix: '', limit: 10 })).names, ['k2']);
  await rejectsWith(t, store.read(key('k')), 'SELLO_KEY_NOT_FOUND', 'it is not in the copy');
});

t.test('opening removes what ended processes left on their way, and only that', async (t) => {
  const folder = await temporaryFolder(t);
  const old = new Date(Date.now() - 3_600_000);
  const here = (await import('../../src/keystores/process-identity.ts')).identifyProcess(process.pid);
  const names = {
    dead: `.sello-tmp-${here.place}.${process.pid}.1-aaaa`,
    alive: `.sello-tmp-${here.place}.${process.pid}.${here.started}-bbbb`,
    elsewhereYoung: '.sello-tmp-000000000000.1.1-cccc',
    elsewhereOld: '.sello-tmp-000000000000.1.2-dddd',
  };
  for (const name of Object.values(names)) await writeFile(path.join(folder, name), 'half');
  await utimes(path.join(folder, names.elsewhereOld), old, old);
  await openIn(t, folder);
  t.strictSame((await readdir(folder)).sort(), [names.alive, names.elsewhereYoung].sort());
});
