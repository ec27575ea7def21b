/**
 * Programs that tests run as they are packaged by Debian: from PATH where somebody has them, else unpacked into a cache
 * outside git, without installing anything and without a service that starts.
 */
import { execFile } from 'node:child_process';
import { access, constants, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { ToolMissing } from './tools.ts';

const run = promisify(execFile);

export const debianPrograms = {
  prometheus: { package: 'prometheus' },
  promtool: { package: 'prometheus' },
  // Of the server itself Debian's build wants files below /usr/share: tools.ts builds that one.
  amtool: { package: 'prometheus-alertmanager' },
} as const satisfies Record<string, { package: string }>;

export type DebianProgram = keyof typeof debianPrograms;

const downloadTimeoutMs = 120_000;

/** Path of the program. Rejects with {@link ToolMissing} when it cannot be had here. */
export async function findProgram(name: DebianProgram): Promise<string> {
  const { package: wanted } = debianPrograms[name];
  const cache = join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'sello', 'debian');
  const unpacked = join(cache, wanted);
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), join(unpacked, 'usr', 'bin')];
  const found = await firstProgram(folders, name);
  if (found !== undefined) return found;
  await mkdir(cache, { recursive: true });
  await unpack(wanted, cache, unpacked);
  const fresh = await firstProgram(folders, name);
  if (fresh === undefined) throw new ToolMissing(`Debian's package ${wanted} has no ${name}`);
  return fresh;
}

/** As needTools does: undefined after a skip with its reason, a failure with `CI=true`. */
export async function needPrograms<const N extends DebianProgram>(
  t: { pass(message: string, extra: { skip: string }): unknown; fail(message: string): unknown },
  ...names: N[]
): Promise<Record<N, string> | undefined> {
  const paths: Partial<Record<DebianProgram, string>> = {};
  for (const name of names) {
    try {
      paths[name] = await findProgram(name);
    } catch (error) {
      if (!(error instanceof ToolMissing)) throw error;
      const reason = `${name} is not here: ${error.message}`;
      if (process.env['CI'] === 'true') t.fail(reason);
      else t.pass(`needs ${name}`, { skip: reason });
      return undefined;
    }
  }
  return paths as Record<N, string>;
}

async function firstProgram(folders: readonly string[], name: string): Promise<string | undefined> {
  for (const path of folders.filter((folder) => folder !== '').map((folder) => join(folder, name))) {
    const isThere = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isThere) return path;
  }
  return undefined;
}

/** Of several processes at once each unpacks its own, and the first to rename it into place wins. */
async function unpack(wanted: string, cache: string, target: string): Promise<void> {
  const folder = await mkdtemp(join(cache, 'unpack-'));
  try {
    const download = (): Promise<unknown> =>
      run('apt-get', ['download', wanted], { cwd: folder, timeout: downloadTimeoutMs });
    // A machine that has not looked at its package lists yet knows no package.
    await download().catch(async () => {
      await run('apt-get', ['update', '-qq'], { timeout: downloadTimeoutMs });
      await download();
    });
    const archive = (await readdir(folder)).find((name) => name.endsWith('.deb'));
    if (archive === undefined) throw new ToolMissing(`apt-get brought no ${wanted}`);
    await run('dpkg-deb', ['-x', archive, 'root'], { cwd: folder });
    await rename(join(folder, 'root'), target).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
    });
  } catch (error) {
    if (error instanceof ToolMissing) throw error;
    const { message } = error as Error;
    throw new ToolMissing(`Debian's package ${wanted} could not be unpacked: ${message.trim().slice(-500)}`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
