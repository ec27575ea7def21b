import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { createInterface } from 'node:readline';
import t, { type Test } from 'tap';
import { FileLock } from '../../src/keystores/file-lock.ts';
import { openKeystore } from '../../src/keystores/index.ts';
import { formatIdentity, identifyProcess } from '../../src/keystores/process-identity.ts';
import { key, rejectsWith } from './contract.ts';
import { fileConfig, temporaryFolder, type FileConfig } from './folders.ts';

const opener = path.join(import.meta.dirname, 'open-store.ts');

/** Another process that opens the store, says `open` or an error code, and keeps it until its input ends. */
async function openElsewhere(
  test: Test,
  config: FileConfig,
  ownerPid?: number,
): Promise<{ child: ChildProcess; said: string }> {
  const child = spawn(
    process.execPath,
    [opener, JSON.stringify(config), ...(ownerPid === undefined ? [] : [String(ownerPid)])],
    {
      stdio: ['pipe', 'pipe', 'inherit'],
    },
  );
  test.teardown(() => child.kill('SIGKILL'));
  const [said] = (await once(createInterface({ input: child.stdout! }), 'line')) as [string];
  return { child, said };
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
}

async function locksOf(config: FileConfig): Promise<string[]> {
  return (await readdir(path.join(config.path, 'locks'))).sort();
}

t.test('a second server is refused while the first lives, and welcome when it has closed', async (t) => {
  const config = await fileConfig(t);
  const store = await openKeystore(config);
  const second = await openElsewhere(t, config);
  t.equal(second.said, 'SELLO_STORE_LOCKED');
  await store.close();
  const third = await openElsewhere(t, config);
  t.equal(third.said, 'open');
  const error = await rejectsWith(t, openKeystore(config), 'SELLO_STORE_LOCKED', 'the other way round');
  t.match(error.detail, new RegExp(`process ${third.child.pid} `));
  third.child.stdin!.end();
  await ended(third.child);
  await (await openKeystore(config)).close();
  t.strictSame(await locksOf(config), ['lock-0000000003'], 'one lock file, its number only grows');
});

t.test('a server killed with -9 leaves nothing that stops the next one', async (t) => {
  const config = await fileConfig(t);
  const first = await openElsewhere(t, config);
  t.equal(first.said, 'open');
  first.child.kill('SIGKILL');
  await ended(first.child);
  const store = await openKeystore(config);
  await store.create(key('k'), Buffer.from('v'));
  await store.close();
});

t.test('workers that name one owner share the store, in and out as they like', async (t) => {
  const config = await fileConfig(t);
  const one = await openElsewhere(t, config, process.pid);
  const two = await openElsewhere(t, config, process.pid);
  t.strictSame([one.said, two.said], ['open', 'open']);
  one.child.stdin!.end();
  await ended(one.child);
  t.equal(
    (await openElsewhere(t, config)).said,
    'SELLO_STORE_LOCKED',
    'a worker that ends leaves the lock to its owner',
  );
  two.child.kill('SIGKILL');
  await ended(two.child);
  const three = await openElsewhere(t, config, process.pid);
  t.equal(three.said, 'open', 'a worker started again');
});

t.test('a reload opens the store before it closes the old one', async (t) => {
  const config = await fileConfig(t);
  const old = await openKeystore(config);
  const next = await openKeystore(config);
  await old.close();
  t.equal((await openElsewhere(t, config)).said, 'SELLO_STORE_LOCKED');
  await next.create(key('k'), Buffer.from('v'));
  await next.close();
  t.equal((await openElsewhere(t, config)).said, 'open');
});

t.test('a lock from another host is watched: renewed means held, silent means abandoned', async (t) => {
  const config = await fileConfig(t);
  await (await openKeystore(config)).close();
  const file = path.join(config.path, 'locks', 'lock-0000000007');
  await writeFile(file, '000000000000.1.1\n');
  let renewals = 0;
  const renewing = setInterval(() => void utimes(file, 1000, 1000 + ++renewals), 50);
  await rejectsWith(t, openKeystore(config, { lockWatchMs: 2000 }), 'SELLO_STORE_LOCKED', 'renewed');
  clearInterval(renewing);
  await new Promise((resolve) => setTimeout(resolve, 60));
  const store = await openKeystore(config, { lockWatchMs: 300 });
  t.strictSame(await locksOf(config), ['lock-0000000008']);
  await store.close();
});

t.test('a pid that came round again is not the owner', async (t) => {
  const config = await fileConfig(t);
  await (await openKeystore(config)).close();
  const file = path.join(config.path, 'locks', 'lock-0000000007');
  const { place } = identifyProcess(process.ppid);
  await writeFile(file, `${place}.${process.ppid}.12\n`);
  await (await openKeystore(config)).close();
  await writeFile(
    path.join(config.path, 'locks', 'lock-0000000009'),
    `${formatIdentity(identifyProcess(process.ppid))}\n`,
  );
  await rejectsWith(t, openKeystore(config), 'SELLO_STORE_LOCKED', 'while the one that started then is');
});

t.test('a server that was taken for dead stops when it notices', async (t) => {
  const folder = await temporaryFolder(t);
  const lock = await FileLock.acquire(folder, process.pid);
  await lock.renew();
  t.notOk(lock.lost);
  const [name] = await readdir(path.join(folder, 'locks'));
  t.equal(
    (await readFile(path.join(folder, 'locks', name!), 'utf8')).trim(),
    formatIdentity(identifyProcess(process.pid)),
  );
  await (
    await import('node:fs/promises')
  ).rename(path.join(folder, 'locks', name!), path.join(folder, 'locks', 'lock-0000000002'));
  await lock.renew();
  t.ok(lock.lost);
  await lock.release();
  t.strictSame(
    await readdir(path.join(folder, 'locks')),
    ['lock-0000000002'],
    'the lock of its successor is not its to release',
  );
});

t.test('of many that find a dead lock, one takes over', async (t) => {
  const config = await fileConfig(t);
  await mkdir(path.join(config.path, 'locks'), { recursive: true });
  await writeFile(
    path.join(config.path, 'locks', 'lock-0000000001'),
    `${identifyProcess(1).place}.999999.1\n`,
  );
  const said = (await Promise.all(Array.from({ length: 5 }, () => openElsewhere(t, config)))).map(
    (each) => each.said,
  );
  t.strictSame(said.sort(), [...Array.from({ length: 4 }, () => 'SELLO_STORE_LOCKED'), 'open']);
});
