/**
 * Files that appear whole or not at all. A new file is written under a temporary name, flushed, and given its
 * final name by link(2), which fails when the name exists; then the folder is flushed. So at any kill the final
 * name is absent or complete, and once `create` has returned, the file survives the machine's crash too.
 * (O_EXCL on the final name, as KES does it, leaves an empty or torn file behind when the process dies.)
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { link, lstat, open, readdir, rename, unlink, writeFile, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { errnoOf } from './disk-errors.ts';
import { formatIdentity, identifyProcess, livenessOf, parseIdentity } from './process-identity.ts';

/** No key name begins with a dot, so nothing under this prefix is ever taken for a key. */
export const temporaryPrefix = '.sello-tmp-';

/** A temporary file of a process that cannot be looked up (another host) is left over when it is this old. */
const foreignTemporaryMs = 600_000;

/** Owner only, as KES. */
const fileMode = 0o600;

export function temporaryName(): string {
  const maker = formatIdentity(identifyProcess(process.pid));
  return `${temporaryPrefix}${maker}-${randomBytes(8).toString('hex')}`;
}

/** @returns false when a file of that name exists */
export async function createFile(name: string, content: Uint8Array, sync: FolderSync): Promise<boolean> {
  const temporary = await writeTemporary(sync.temporaryFolder, content);
  try {
    await link(temporary, path.join(sync.folder, name));
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false;
    throw error;
  } finally {
    // A failure here leaves a temporary file, which the next open removes; the outcome above stands.
    await unlink(temporary).catch(() => undefined);
  }
  await sync.flush();
  return true;
}

/** Replaces a file, or makes it: readers see the old content or the new, never a mixture. */
export async function replaceFile(folder: string, name: string, content: Uint8Array): Promise<void> {
  const temporary = await writeTemporary(folder, content);
  try {
    await rename(temporary, path.join(folder, name));
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
  await flushFolder(folder);
}

async function writeTemporary(folder: string, content: Uint8Array): Promise<string> {
  const temporary = path.join(folder, temporaryName());
  const file = await open(temporary, 'wx', fileMode);
  try {
    await writeFile(file, content);
    await file.sync();
  } catch (error) {
    await file.close();
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
  await file.close();
  return temporary;
}

export type FileContent = Buffer | 'absent' | 'too large' | 'not a file';

/** Reads a whole file of at most `maxBytes` into memory of its own. Never waits on a pipe or a device. */
export async function readWholeFile(file: string, maxBytes: number): Promise<FileContent> {
  let handle: FileHandle;
  try {
    handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
    // A dangling link is a name without a value, not an absent name.
    return (await isThere(file)) ? 'not a file' : 'absent';
  }
  try {
    const stat = await handle.stat();
    if (!stat.isFile()) return 'not a file';
    if (stat.size > maxBytes) return 'too large';
    const content = Buffer.allocUnsafeSlow(stat.size);
    let length = 0;
    while (length < content.length) {
      const { bytesRead } = await handle.read(content, length, content.length - length, length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    return content.subarray(0, length);
  } finally {
    await handle.close();
  }
}

async function isThere(file: string): Promise<boolean> {
  try {
    await lstat(file);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
}

/** fsync(2) of a folder: makes names in it survive a crash of the machine. */
export async function flushFolder(folder: string): Promise<void> {
  const handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Flushes one folder for many writers: those that wait while a flush runs share the next one. */
export class FolderSync {
  readonly folder: string;
  /** Where files on their way into the folder are written; on the same file system. */
  readonly temporaryFolder: string;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  constructor(folder: string, temporaryFolder: string = folder) {
    this.folder = folder;
    this.temporaryFolder = temporaryFolder;
  }

  /** Resolves once a flush that began after this call has ended. */
  flush(): Promise<void> {
    if (this.#running === undefined) return this.#run();
    this.#next ??= this.#running.then(
      () => this.#run(),
      () => this.#run(),
    );
    return this.#next;
  }

  #run(): Promise<void> {
    this.#next = undefined;
    const run = flushFolder(this.folder).finally(() => {
      if (this.#running === run) this.#running = undefined;
    });
    this.#running = run;
    return run;
  }
}

/** Removes temporary files whose makers have ended. Those of living processes stay: they are about to be linked. */
export async function removeLeftovers(folder: string, nowMs = Date.now()): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!name.startsWith(temporaryPrefix)) continue;
    const file = path.join(folder, name);
    const maker = parseIdentity(name.slice(temporaryPrefix.length, name.lastIndexOf('-')));
    const liveness = maker === undefined ? 'elsewhere' : livenessOf(maker);
    try {
      if (
        liveness === 'dead' ||
        (liveness === 'elsewhere' && nowMs - (await lstat(file)).mtimeMs > foreignTemporaryMs)
      ) {
        await unlink(file);
      }
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
    }
  }
}
