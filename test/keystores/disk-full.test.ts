/** A disk without room: a create fails as retryable, leaves nothing visible, and works again once there is room. Needs mount(8). */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import { hasCode, type SelloError } from '../../src/errors.ts';
import { openKeystore } from '../../src/keystores/index.ts';
import { key } from './contract.ts';
import { fileConfig, temporaryFolder } from './folders.ts';

const diskBytes = 4 * 1024 * 1024;

function mountSmallDisk(folder: string): boolean {
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${diskBytes}`, 'none', folder], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

for (const kind of ['fs', 'file'] as const) {
  t.test(`${kind}: a full disk`, async (t) => {
    const disk = await temporaryFolder(t);
    if (!mountSmallDisk(disk)) {
      t.plan(0, 'mounting a small disk is not permitted here');
      return;
    }
    try {
      const config =
        kind === 'file'
          ? { ...(await fileConfig(t)), path: path.join(disk, 'store') }
          : ({ kind, path: path.join(disk, 'store') } as const);
      const store = await openKeystore(config);
      const value = randomBytes(100);
      await store.create(key('before'), value);
      // All but a few pages, then keys until nothing fits any more.
      await writeFile(path.join(disk, 'ballast'), Buffer.alloc(diskBytes)).catch(() => undefined);
      const made: string[] = ['before'];
      let failure: unknown;
      for (let i = 0; i < 2000 && failure === undefined; i++) {
        try {
          await store.create(key(`k${i}`), randomBytes(5000));
          made.push(`k${i}`);
        } catch (error) {
          failure = error;
        }
      }
      t.ok(hasCode(failure, 'SELLO_STORE_FAILED'));
      t.ok((failure as SelloError).retryable);
      t.match((failure as SelloError).detail, /ENOSPC/);
      t.strictSame((await store.list({ prefix: '', limit: 1024 })).names, made.sort());
      t.ok((await store.read(key('before'))).equals(value), 'reading goes on');
      const files = await readdir(config.path, { recursive: true });
      t.notOk(
        files.some((file) => file.includes('.sello-tmp-')),
        'nothing half-written is left',
      );
      await rm(path.join(disk, 'ballast'));
      await store.create(key('after'), value);
      t.ok((await store.read(key('after'))).equals(value));
      await store.close();
    } finally {
      execFileSync('umount', [disk]);
    }
  });
}
