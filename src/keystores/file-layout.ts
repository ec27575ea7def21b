/**
 * Where things lie in a file keystore's folder, and how an empty folder becomes a store.
 *
 *   store.json   header, written last: without it there is no store
 *   keys/00…ff/  records, by the first byte of their file name
 *   records/     what is kept beside the keys: versions, states (file-records.ts)
 *   tmp/         files on their way into keys/ and records/
 *   locks/       which server has the store open
 */
import { mkdir, readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { SelloError } from '../errors.ts';
import { errnoOf } from './disk-errors.ts';
import { createFile, flushFolder, FolderSync, temporaryPrefix } from './durable-folder.ts';
import { headerName, serializeHeader, type FileHeader } from './file-header.ts';
import { shardCount, shardName } from './file-names.ts';

/** Made by `restore` and removed when it is complete. */
export const restoringName = 'restoring';

export function shardFolder(folder: string, shard: number): string {
  return path.join(folder, 'keys', shardName(shard));
}

/** Made with `records/`: says that it has to be there. Stores of the first releases have neither. */
const recordsMadeName = 'records.made';

export function recordsFolder(folder: string): string {
  return path.join(folder, 'records');
}

export function temporaryFolder(folder: string): string {
  return path.join(folder, 'tmp');
}

/** Every folder of a store; harmless where they exist. */
export async function makeFolders(folder: string): Promise<void> {
  await mkdir(temporaryFolder(folder), { recursive: true, mode: 0o700 });
  for (let shard = 0; shard < shardCount; shard++) {
    await mkdir(shardFolder(folder, shard), { recursive: true, mode: 0o700 });
  }
  await flushFolder(path.join(folder, 'keys'));
  await makeRecordsFolder(folder);
  await flushFolder(folder);
}

/** @returns false when another process of the same server was first */
export function writeFirstHeader(folder: string, header: FileHeader): Promise<boolean> {
  return createFile(headerName, serializeHeader(header), new FolderSync(folder));
}

/**
 * True for a folder that is absent, empty, or where making a store was begun and no record written.
 * A folder with records but without header is a damaged store: a new header would make its keys unreadable for good.
 */
export async function isVacant(folder: string): Promise<boolean> {
  const own = new Set(['keys', 'records', recordsMadeName, 'tmp', 'locks', 'lost+found']);
  const names = (await entries(folder)).filter((name) => !own.has(name) && !name.startsWith(temporaryPrefix));
  if (names.length > 0) return false;
  for (const shard of await entries(path.join(folder, 'keys'))) {
    if ((await entries(path.join(folder, 'keys', shard))).length > 0) return false;
  }
  return (await entries(recordsFolder(folder))).length === 0;
}

async function entries(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}

/** A store of an earlier release gets one; a store that had one and lost it is not used. */
export async function makeRecordsFolder(folder: string): Promise<void> {
  const isMade = (await entries(folder)).includes(recordsMadeName);
  if (isMade) return;
  await mkdir(recordsFolder(folder), { recursive: true, mode: 0o700 });
  await flushFolder(folder);
  await createFile(recordsMadeName, Buffer.alloc(0), new FolderSync(folder));
}

/** A store that lost one of its folders lost keys: it must not answer "no such key" for them. */
export async function checkFolders(folder: string): Promise<void> {
  const folders = [temporaryFolder(folder), recordsFolder(folder)];
  for (let shard = 0; shard < shardCount; shard++) folders.push(shardFolder(folder, shard));
  await Promise.all(
    folders.map(async (each) => {
      try {
        if ((await stat(each)).isDirectory()) return;
      } catch (error) {
        if (errnoOf(error) !== 'ENOENT') throw error;
      }
      throw new SelloError('SELLO_STORE_FAILED', {
        detail: `folder ${each} is missing: restore the store from a backup`,
      });
    }),
  );
}
