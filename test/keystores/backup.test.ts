import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, stat, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t, { type Test } from 'tap';
import {
  backupFileKeystore,
  checkFileBackup,
  openKeystore,
  readRootKey,
  restoreFileKeystore,
  type Keystore,
} from '../../src/keystores/index.ts';
import { key, rejectsWith } from './contract.ts';
import { fileConfig, temporaryFolder, type FileConfig } from './folders.ts';

const keyCount = 300;

async function filledStore(
  test: Test,
): Promise<{ config: FileConfig; store: Keystore; values: Map<string, Buffer> }> {
  const config = await fileConfig(test);
  const store = await openKeystore(config);
  test.teardown(() => store.close());
  const values = new Map<string, Buffer>();
  for (let i = 0; i < keyCount; i++) values.set(`backed-up-${i}`, randomBytes(i === 7 ? 1024 * 1024 : 120));
  await Promise.all([...values].map(([name, value]) => store.create(key(name), value)));
  return { config, store, values };
}

t.test('a backup of a store in use restores every key, needs no root key, and shows none', async (t) => {
  const { config, store, values } = await filledStore(t);
  const folder = await temporaryFolder(t);
  const out = path.join(folder, 'keys.backup');
  let going = true;
  const churn = (async () => {
    for (let i = 0; i < 400 && going; i++) {
      await store.create(key(`come-and-go-${i}`), Buffer.from('v'));
      await store.delete(key(`come-and-go-${i}`));
    }
  })();
  const summary = await backupFileKeystore(config.path, out);
  going = false;
  await churn;
  t.ok(summary.keys >= keyCount);
  t.equal((await stat(out)).size, summary.bytes);
  t.equal((await stat(out)).mode & 0o777, 0o600);
  t.strictSame(await readdir(folder), ['keys.backup'], 'nothing beside it');
  const content = await readFile(out);
  for (const value of values.values())
    if (content.includes(value.subarray(0, 16))) t.fail('a key byte in the backup');
  t.notOk(content.includes('backed-up'), 'no name either');

  const rootKey = await readRootKey(config.rootKey);
  t.strictSame(await checkFileBackup(out), summary);
  t.strictSame(await checkFileBackup(out, rootKey), summary);
  const restored = { ...config, path: path.join(folder, 'restored', 'store') };
  t.strictSame(await restoreFileKeystore(out, restored.path, rootKey), summary);
  await store.close();
  const again = await openKeystore(restored);
  for (const [name, value] of values) if (!(await again.read(key(name))).equals(value)) t.fail(name);
  await again.create(key('new'), Buffer.from('v'));
  await again.close();
});

t.test('never writes over anything', async (t) => {
  const { config } = await filledStore(t);
  const folder = await temporaryFolder(t);
  const out = path.join(folder, 'b');
  await backupFileKeystore(config.path, out);
  const before = await readFile(out);
  await rejectsWith(t, backupFileKeystore(config.path, out), 'SELLO_STORE_NOT_EMPTY', 'a backup that exists');
  t.ok((await readFile(out)).equals(before));
  await rejectsWith(t, restoreFileKeystore(out, config.path), 'SELLO_STORE_NOT_EMPTY', 'a store that exists');
  await mkdir(path.join(folder, 'other'));
  await writeFile(path.join(folder, 'other', 'file'), '');
  await rejectsWith(
    t,
    restoreFileKeystore(out, path.join(folder, 'other')),
    'SELLO_STORE_NOT_EMPTY',
    'a folder of something else',
  );
  t.strictSame(await readdir(path.join(folder, 'other')), ['file']);
  await rejectsWith(
    t,
    backupFileKeystore(folder, path.join(folder, 'c')),
    'SELLO_STORE_UNREACHABLE',
    'no store there',
  );
});

t.test('a damaged backup is refused before anything is written', async (t) => {
  const { config } = await filledStore(t);
  const folder = await temporaryFolder(t);
  const out = path.join(folder, 'b');
  const { bytes } = await backupFileKeystore(config.path, out);
  const good = await readFile(out);
  const target = path.join(folder, 'target');
  const refuses = async (claim: string): Promise<void> => {
    await rejectsWith(t, restoreFileKeystore(out, target), 'SELLO_BACKUP_INVALID', claim);
    await t.rejects(stat(target), { code: 'ENOENT' });
  };
  for (let i = 0; i < 24; i++) {
    const bad = Buffer.from(good);
    const at = i < 8 ? i : Math.floor(((i - 8) / 16) * bytes);
    bad[at]! ^= 0x40;
    await writeFile(out, bad);
    await refuses(`byte ${at}`);
  }
  for (const length of [0, 5, 8, 100, bytes - 40, bytes - 1]) {
    await writeFile(out, good);
    await truncate(out, length);
    await refuses(`cut to ${length}`);
  }
  await writeFile(out, Buffer.concat([good, Buffer.from('x')]));
  await refuses('a byte more');
  await writeFile(out, good);
  await rejectsWith(
    t,
    restoreFileKeystore(out, target, randomBytes(32)),
    'SELLO_ROOT_KEY_WRONG',
    'another root key',
  );
  await t.rejects(stat(target), { code: 'ENOENT' });
});

t.test('a restore that was killed is no store, and starts over when run again', async (t) => {
  const { config } = await filledStore(t);
  const folder = await temporaryFolder(t);
  const out = path.join(folder, 'b');
  await backupFileKeystore(config.path, out);
  const target = path.join(folder, 'target');
  await mkdir(path.join(target, 'keys', '00'), { recursive: true });
  await writeFile(path.join(target, 'restoring'), '');
  await writeFile(path.join(target, 'keys', '00', '00'.repeat(20)), 'half a record');
  const error = await rejectsWith(
    t,
    openKeystore({ ...config, path: target }),
    'SELLO_STORE_FAILED',
    'not finished',
  );
  t.match(error.detail, /restore .* not finished/);
  await restoreFileKeystore(out, target);
  const store = await openKeystore({ ...config, path: target });
  t.equal((await store.list({ prefix: '', limit: 1024 })).names.length, keyCount);
  await store.close();
});

t.test('records beside the keys are in a backup, sealed, each as it was newest', async (t) => {
  const config = await fileConfig(t);
  const store = await openKeystore(config);
  t.teardown(() => store.close());
  const records = store.records!;
  const values = new Map<string, Buffer>();
  for (let i = 0; i < 40; i++) {
    const place =
      i % 2 === 0
        ? `keyrings/some-name-${String(i)}`
        : `versions/0123456789abcdef0123456789abcdef/${String(i)}.0123456789abcdef`;
    for (let revision = 0; revision < 3; revision++) await records.write(place, randomBytes(100), revision);
    const value = randomBytes(100);
    await records.write(place, value, 3);
    values.set(place, value);
  }
  await records.write('keyrings/ended', Buffer.from('v'), 0);
  await records.delete('keyrings/ended', 1);
  await store.create(key('a'), Buffer.from('value'));
  const folder = await temporaryFolder(t);
  const out = path.join(folder, 'keys.backup');
  const summary = await backupFileKeystore(config.path, out);
  t.equal(summary.keys, 1, 'records are no keys');
  const content = await readFile(out);
  for (const value of values.values())
    if (content.includes(value.subarray(0, 16))) t.fail('a byte of a record');
  t.notOk(content.includes('some-name'), 'no name of a key');
  const rootKey = await readRootKey(config.rootKey);
  t.strictSame(await checkFileBackup(out, rootKey), summary);
  const restored = { ...config, path: path.join(folder, 'restored') };
  await restoreFileKeystore(out, restored.path, rootKey);
  await store.close();
  const again = await openKeystore(restored);
  for (const [place, value] of values)
    if (!(await again.records!.read(place))!.value.equals(value)) t.fail(place);
  t.equal(await again.records!.read('keyrings/ended'), undefined);
  t.equal(
    await again.records!.write([...values.keys()][0]!, Buffer.from('next'), 4),
    5,
    'and its revision goes on',
  );
  await again.close();
  const inside = content.indexOf('versions/');
  const damaged = Buffer.from(content);
  damaged[inside + 200]! ^= 1;
  await writeFile(path.join(folder, 'damaged'), damaged);
  await rejectsWith(
    t,
    checkFileBackup(path.join(folder, 'damaged'), rootKey),
    'SELLO_BACKUP_INVALID',
    'a changed record',
  );
});
