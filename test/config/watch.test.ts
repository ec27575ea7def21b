import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { parseConfig, watchedFiles, watchFiles } from '../../src/config/index.ts';
import type { WatchOptions } from '../../src/config/index.ts';

/** Far more than any change takes here; a test that waits this long has failed. */
const patienceMs = 8000;

/** Watches, and hands out what was told, one telling at a time. */
async function watching(
  t: { teardown: (close: () => void) => void },
  paths: string[],
  options: WatchOptions = { debounceMs: 100, pollMs: 3_600_000 },
) {
  const told: string[][] = [];
  let wake: () => void = () => {};
  const watch = await watchFiles(
    paths,
    (changed) => {
      told.push(changed);
      wake();
    },
    options,
  );
  t.teardown(() => watch.close());
  return {
    told,
    close: () => watch.close(),
    next: async (): Promise<string[]> => {
      const first = told.shift();
      if (first !== undefined) return first;
      // This timer also keeps the process alive, which a watch does not.
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve, reject) => {
        wake = resolve;
        timer = setTimeout(() => reject(new Error('no change was told')), patienceMs);
      }).finally(() => clearTimeout(timer));
      return told.shift()!;
    },
  };
}

t.test('a file written in place, and one renamed over it', async (t) => {
  const folder = t.testdir({ 'a.crt': 'one', 'b.crt': 'one' });
  const [a, b] = [join(folder, 'a.crt'), join(folder, 'b.crt')];
  const watch = await watching(t, [a, b]);
  writeFileSync(a, 'two!');
  t.same(await watch.next(), [a]);
  writeFileSync(join(folder, '.new'), 'three');
  renameSync(join(folder, '.new'), b);
  t.same(await watch.next(), [b]);
  writeFileSync(join(folder, '.new'), 'four');
  renameSync(join(folder, '.new'), b);
  t.same(await watch.next(), [b], 'and once more: the watch is not on the file that is gone');
});

t.test('a swap of symbolic links, as Kubernetes does with ..data, is one change', async (t) => {
  const mount = t.testdir({});
  const release = (name: string) => {
    mkdirSync(join(mount, name));
    for (const file of ['tls.crt', 'tls.key']) writeFileSync(join(mount, name, file), name);
  };
  const swap = (name: string) => {
    symlinkSync(name, join(mount, '..data_tmp'));
    renameSync(join(mount, '..data_tmp'), join(mount, '..data'));
  };
  release('..2026_1');
  swap('..2026_1');
  for (const file of ['tls.crt', 'tls.key']) symlinkSync(join('..data', file), join(mount, file));
  const paths = [join(mount, 'tls.crt'), join(mount, 'tls.key')];
  const watch = await watching(t, paths);
  for (const name of ['..2026_2', '..2026_3', '..2026_4']) {
    release(name);
    swap(name);
    t.same(await watch.next(), paths, name);
  }
  rmSync(join(mount, '..2026_1'), { recursive: true });
  t.same(watch.told, [], 'the removal of an old release is no change');
});

t.test('a link to a folder elsewhere is followed, before and after it is swapped', async (t) => {
  const folder = t.testdir({ one: { 'ca.crt': '1' }, two: { 'ca.crt': '2' }, etc: {} });
  const link = join(folder, 'etc/current');
  symlinkSync('../one', link);
  const path = join(link, 'ca.crt');
  const watch = await watching(t, [path]);
  writeFileSync(join(folder, 'one/ca.crt'), 'changed');
  t.same(await watch.next(), [path]);
  symlinkSync('../two', join(folder, 'etc/new'));
  renameSync(join(folder, 'etc/new'), link);
  t.same(await watch.next(), [path]);
  writeFileSync(join(folder, 'two/ca.crt'), 'changed too');
  t.same(await watch.next(), [path]);
});

t.test('a folder of CAs: a file that comes, changes or goes', async (t) => {
  const folder = t.testdir({ cas: { 'one.crt': '1' } });
  const cas = join(folder, 'cas');
  const watch = await watching(t, [cas]);
  writeFileSync(join(cas, 'two.crt'), '2');
  t.same(await watch.next(), [cas]);
  writeFileSync(join(cas, 'one.crt'), '1 changed');
  t.same(await watch.next(), [cas]);
  rmSync(join(cas, 'two.crt'));
  t.same(await watch.next(), [cas]);
});

t.test('a file that appears and one that goes are changes; other files of the folder are not', async (t) => {
  const folder = t.testdir({ 'other.log': '' });
  const path = join(folder, 'crl.pem');
  const watch = await watching(t, [path]);
  writeFileSync(join(folder, 'other.log'), 'noise');
  await sleep(100);
  t.same(watch.told, []);
  writeFileSync(path, 'list');
  t.same(await watch.next(), [path]);
  rmSync(path);
  t.same(await watch.next(), [path]);
});

t.test('polling alone sees changes where there are no events', async (t) => {
  const folder = t.testdir({ 'a.crt': 'one' });
  const path = join(folder, 'a.crt');
  const watch = await watching(t, [path], { debounceMs: 1, pollMs: 30, events: false });
  writeFileSync(path, 'two!');
  t.same(await watch.next(), [path]);
});

t.test('changes close together are told once, and never two at once', async (t) => {
  const folder = t.testdir({ 'a.crt': '', 'a.key': '' });
  const [crt, key] = [join(folder, 'a.crt'), join(folder, 'a.key')];
  const watch = await watching(t, [crt, key], { debounceMs: 500, pollMs: 3_600_000 });
  writeFileSync(crt, 'new');
  await sleep(20);
  writeFileSync(key, 'new');
  t.same(await watch.next(), [crt, key]);
  t.same(watch.told, []);

  let running = 0;
  let most = 0;
  let calls = 0;
  const busy = await watchFiles(
    [crt],
    async () => {
      most = Math.max(most, ++running);
      // A change while the first call runs, and none after it.
      if (++calls === 1) writeFileSync(crt, 'newer still');
      await sleep(200);
      running--;
    },
    { debounceMs: 1, pollMs: 3_600_000 },
  );
  t.teardown(() => busy.close());
  writeFileSync(crt, 'newer');
  for (let i = 0; i < 100 && calls < 2; i++) await sleep(20);
  t.equal(calls, 2, 'a change while a call runs is not lost');
  t.equal(most, 1);
});

t.test('a file in the same folder that is written all the time puts nothing off for ever', async (t) => {
  const folder = t.testdir({ 'a.crt': 'one', 'audit.jsonl': '' });
  const path = join(folder, 'a.crt');
  const watch = await watching(t, [path], { debounceMs: 100, pollMs: 3_600_000 });
  const writer = setInterval(() => writeFileSync(join(folder, 'audit.jsonl'), 'line\n', { flag: 'a' }), 10);
  t.teardown(() => clearInterval(writer));
  await sleep(50);
  writeFileSync(path, 'two!');
  t.same(await watch.next(), [path]);
});

t.test('nothing is told after close', async (t) => {
  const folder = t.testdir({ 'a.crt': 'one' });
  const watch = await watching(t, [join(folder, 'a.crt')], { debounceMs: 1, pollMs: 20 });
  watch.close();
  writeFileSync(join(folder, 'a.crt'), 'two!');
  await sleep(100);
  t.same(watch.told, []);
});

t.test('a handler that throws does not end the watch', async (t) => {
  const folder = t.testdir({ 'a.crt': 'one' });
  const path = join(folder, 'a.crt');
  let calls = 0;
  const errors: unknown[] = [];
  const watch = await watchFiles(
    [path],
    () => {
      if (++calls === 1) throw new Error('bad certificate');
    },
    { debounceMs: 1, pollMs: 3_600_000, onError: (error) => errors.push(error) },
  );
  t.teardown(() => watch.close());
  writeFileSync(path, 'two!');
  for (let i = 0; i < 100 && calls < 1; i++) await sleep(20);
  writeFileSync(path, 'three');
  for (let i = 0; i < 100 && calls < 2; i++) await sleep(20);
  t.equal(calls, 2);
  t.match(errors, [{ message: 'bad certificate' }]);
  t.equal(errors.length, 1);
});

t.test('what a reload reads is what is watched', async (t) => {
  const config = parseConfig(
    `admin: { identity: disabled }
tls: { key: k, cert: c, auth: on, ca: ca.crt }
keystore: { fs: { path: keys } }
sello: { crls: [a.crl] }`,
    { env: {}, file: '/etc/kes.yml', workingDirectory: '/srv' },
  );
  t.same(watchedFiles(config), ['/etc/kes.yml', '/srv/c', '/srv/k', '/srv/ca.crt', '/srv/a.crl']);
});
