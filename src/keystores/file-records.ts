/**
 * Records of a file keystore. The disk has no compare-and-set, so a record is a folder of its own with a file per revision: link(2)
 * lets one writer alone make the next one (durable-folder.ts), and the newest file is the record.
 *
 *   records/FOLDER/=NAME/REVISION      FOLDER in clear (no name of a key is ever in it), NAME hidden as file-names.ts hides names
 *
 * Each file is sealed for its path and revision: one that is moved or renamed does not open. An older file put back in place of all
 * newer ones does; what is stored has to tell that itself (keyrings count generations).
 */
import { createCipheriv } from 'node:crypto';
import { mkdir, readdir, rmdir, stat, unlink } from 'node:fs/promises';
import path from 'node:path';
import { equalSecrets, hkdfSha256, hmacSha256, wipe } from '../crypto/index.ts';
import { SelloError } from '../errors.ts';
import { maxRecordBytes, type RecordPage, type RecordStore, type StoredRecord } from './contract.ts';
import { errnoOf, storeError } from './disk-errors.ts';
import { createFile, flushFolder, FolderSync, readWholeFile } from './durable-folder.ts';
import type { FileHeader } from './file-header.ts';
import { recordsFolder, temporaryFolder } from './file-layout.ts';
import { openRecord, recordOverheadBytes, sealRecord } from './file-record.ts';
import { checkListOptions, checkRecordPath } from './limits.ts';

const sivBytes = 16;
const keyBytes = 32;
/** No folder of ours begins so. */
const recordMark = '=';
const leafPattern = /^=[0-9A-Za-z_-]{23,192}$/;
const revisionPattern = /^[1-9]\d{0,14}$/;

/** What stands in the last revision of a record that ended: nothing, and it may be removed. */
const endMark = Buffer.from('ended');
const valueMark = Buffer.from('value');

const largestFileBytes = maxRecordBytes + valueMark.length + recordOverheadBytes;

/** Writers that come and go in one record's folder are tried again at most this often. */
const mostAttempts = 5;

export interface FileRecordsOptions {
  readonly folder: string;
  readonly header: FileHeader;
  readonly storeKey: Buffer;
  /** Rejects when the store is not the one that was opened. */
  readonly checkStore: () => Promise<void>;
}

export class FileRecordStore implements RecordStore {
  readonly #options: FileRecordsOptions;
  readonly #root: string;
  readonly #names: RecordNames;

  constructor(options: FileRecordsOptions) {
    this.#options = options;
    this.#root = recordsFolder(options.folder);
    this.#names = new RecordNames(options.storeKey, options.header.storeId);
  }

  async read(recordPath: string): Promise<StoredRecord | undefined> {
    const folder = this.#folderOf(recordPath);
    await this.#options.checkStore();
    return this.#guarded('read a record', async () => {
      for (let attempt = 1; ; attempt++) {
        const newest = (await revisionsIn(folder)).at(-1);
        if (newest === undefined) {
          await this.#checkRoot();
          return undefined;
        }
        const found = await this.#readRevision(recordPath, folder, newest);
        if (found !== 'gone') return found === 'ended' ? undefined : { value: found, revision: newest };
        if (attempt === mostAttempts) throw changing();
      }
    });
  }

  async write(recordPath: string, value: Buffer, expected: number): Promise<number> {
    const folder = this.#folderOf(recordPath);
    if (value.length > maxRecordBytes)
      throw new RangeError(`record: expected at most ${maxRecordBytes} bytes, got ${value.length}`);
    await this.#options.checkStore();
    return this.#guarded('write a record', async () => {
      await this.#compare(recordPath, folder, expected, true);
      await this.#put(recordPath, folder, expected + 1, valueMark, value);
      return expected + 1;
    });
  }

  async delete(recordPath: string, expected: number): Promise<void> {
    const folder = this.#folderOf(recordPath);
    await this.#options.checkStore();
    await this.#guarded('delete a record', async () => {
      if (!(await this.#compare(recordPath, folder, expected, false))) return;
      const end = expected + 1;
      await this.#put(recordPath, folder, end, endMark, Buffer.alloc(0));
      await unlink(path.join(folder, String(end)));
      await rmdir(folder).catch(() => undefined); // somebody makes the record anew
      await flushFolder(path.dirname(folder));
    });
  }

  async list(
    folder: string,
    { after = '', limit }: { readonly after?: string; readonly limit: number },
  ): Promise<RecordPage> {
    checkListOptions({ limit, prefix: '' });
    const place = path.join(this.#root, checkRecordPath(folder, 1));
    await this.#options.checkStore();
    return this.#guarded('list records', async () => {
      const names: string[] = [];
      const all = (await entriesOf(place))
        .map((entry) => this.#names.nameOf(entry))
        .filter((name): name is string => name !== undefined && name > after)
        .sort();
      for (const name of all) {
        // A record that ended leaves an empty folder, or its end, when it was stopped in between.
        const recordPath = `${folder}/${name}`;
        if ((await this.#current(recordPath, this.#folderOf(recordPath))) === 0) continue;
        if (names.length === limit) return { names, more: true };
        names.push(name);
      }
      if (all.length === 0) await this.#checkRoot();
      return { names, more: false };
    });
  }

  wipe(): void {
    this.#names.wipe();
  }

  #folderOf(recordPath: string): string {
    const segments = checkRecordPath(recordPath).split('/');
    const name = segments.pop()!;
    return path.join(this.#root, ...segments, this.#names.entryOf(name));
  }

  /** @returns false when there is nothing to delete @throws SelloError SELLO_RECORD_CONFLICT */
  async #compare(recordPath: string, folder: string, expected: number, isWrite: boolean): Promise<boolean> {
    const current = await this.#current(recordPath, folder);
    if (current === 0 && !isWrite) return false;
    if (current !== expected) throw conflict();
    // What a stopped delete left would look like a later revision than the new record's first.
    if (expected === 0) for (const revision of await revisionsIn(folder)) await remove(folder, revision);
    return true;
  }

  /** The record's revision; 0 when there is none. */
  async #current(recordPath: string, folder: string): Promise<number> {
    for (let attempt = 1; attempt <= mostAttempts; attempt++) {
      const newest = (await revisionsIn(folder)).at(-1);
      if (newest === undefined) return 0;
      const found = await this.#readRevision(recordPath, folder, newest);
      if (found === 'ended') return 0;
      if (found !== 'gone') {
        wipe(found);
        return newest;
      }
    }
    throw changing();
  }

  async #put(
    recordPath: string,
    folder: string,
    revision: number,
    mark: Buffer,
    value: Buffer,
  ): Promise<void> {
    const { header, storeKey } = this.#options;
    const content = Buffer.concat([mark, value]);
    const sealed = sealRecord(header, storeKey, boundTo(recordPath, revision), content, 'record');
    wipe(content);
    if (!(await this.#create(folder, revision, sealed))) throw conflict();
    const revisions = await revisionsIn(folder);
    if (revisions.at(-1) !== revision) {
      // Two came before: their files were gone already when this one's name was free again.
      await remove(folder, revision);
      throw conflict();
    }
    for (const older of revisions.slice(0, -1)) await remove(folder, older);
  }

  async #create(folder: string, revision: number, sealed: Buffer): Promise<boolean> {
    for (let attempt = 1; ; attempt++) {
      await this.#makeFolder(folder);
      try {
        return await createFile(
          String(revision),
          sealed,
          new FolderSync(folder, temporaryFolder(this.#options.folder)),
        );
      } catch (error) {
        // A delete removed the folder in between.
        if (errnoOf(error) !== 'ENOENT' || attempt === mostAttempts) throw error;
        await this.#options.checkStore();
      }
    }
  }

  async #makeFolder(folder: string): Promise<void> {
    await this.#checkRoot();
    const first = await mkdir(folder, { recursive: true, mode: 0o700 });
    if (first === undefined) return;
    // Every folder that is new is a name in the one above it.
    for (let made = folder; made.length >= first.length; made = path.dirname(made))
      await flushFolder(path.dirname(made));
  }

  async #readRevision(
    recordPath: string,
    folder: string,
    revision: number,
  ): Promise<Buffer | 'ended' | 'gone'> {
    const { header, storeKey } = this.#options;
    const file = await readWholeFile(path.join(folder, String(revision)), largestFileBytes);
    if (file === 'absent') return 'gone';
    const content =
      typeof file === 'string'
        ? file
        : openRecord(header, storeKey, boundTo(recordPath, revision), file, 'record');
    if (typeof content === 'string')
      throw new SelloError('SELLO_STORED_KEY_UNREADABLE', { detail: `record ${recordPath}: ${content}` });
    if (content.equals(endMark)) return 'ended';
    return content.subarray(valueMark.length);
  }

  /** With its folder away, nothing is known of any record. */
  async #checkRoot(): Promise<void> {
    try {
      await stat(this.#root);
    } catch (error) {
      throw new SelloError('SELLO_STORE_UNREACHABLE', {
        detail: `${this.#root}: ${errnoOf(error) ?? 'cannot be read'}`,
        cause: error,
      });
    }
  }

  async #guarded<T>(what: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw storeError(error, what);
    }
  }
}

/** Names of records as file-names.ts hides names of keys, under keys of their own; base64url, since they may be longer. */
export class RecordNames {
  readonly #macKey: Buffer;
  readonly #encryptionKey: Buffer;

  constructor(storeKey: Buffer, storeId: Buffer) {
    const keys = hkdfSha256(
      storeKey,
      storeId,
      Buffer.from('sello-file-keystore v1 record names'),
      2 * keyBytes,
    );
    this.#macKey = keys.subarray(0, keyBytes);
    this.#encryptionKey = keys.subarray(keyBytes);
  }

  entryOf(name: string): string {
    const clear = Buffer.from(name, 'latin1');
    const siv = this.#siv(clear);
    return recordMark + Buffer.concat([siv, this.#applied(siv, clear)]).toString('base64url');
  }

  /** Undefined: not an entry of this store. */
  nameOf(entry: string): string | undefined {
    if (!leafPattern.test(entry)) return undefined;
    const bytes = Buffer.from(entry.slice(recordMark.length), 'base64url');
    const siv = bytes.subarray(0, sivBytes);
    const clear = this.#applied(siv, bytes.subarray(sivBytes));
    return equalSecrets(this.#siv(clear), siv) ? clear.toString('latin1') : undefined;
  }

  wipe(): void {
    wipe(this.#macKey, this.#encryptionKey);
  }

  #siv(clear: Buffer): Buffer {
    return hmacSha256(this.#macKey, clear).subarray(0, sivBytes);
  }

  #applied(siv: Buffer, bytes: Buffer): Buffer {
    return createCipheriv('aes-256-ctr', this.#encryptionKey, siv).update(bytes);
  }
}

/** What a record's file is sealed for. A path has no such character. */
export function boundTo(recordPath: string, revision: number): string {
  return `${recordPath}\0${String(revision)}`;
}

/** A file of a record by its place below the folder of records: its path and revision; undefined for anything else. */
export function recordFileOf(
  place: string,
  names: RecordNames,
): { readonly recordPath: string; readonly revision: number } | undefined {
  const segments = place.split('/');
  const revision = segments.pop() ?? '';
  const name = names.nameOf(segments.pop() ?? '');
  if (name === undefined || !revisionPattern.test(revision)) return undefined;
  const recordPath = [...segments, name].join('/');
  try {
    return { recordPath: checkRecordPath(recordPath), revision: Number(revision) };
  } catch {
    return undefined;
  }
}

/** Every record's newest file, still sealed, with its place below the folder of records. */
export async function* sealedRecordsOf(
  storeFolder: string,
): AsyncGenerator<{ readonly place: string; readonly content: Buffer }> {
  for (const leaf of await leavesOf(storeFolder)) {
    for (let attempt = 1; ; attempt++) {
      const newest = (await revisionsIn(path.join(recordsFolder(storeFolder), leaf))).at(-1);
      if (newest === undefined) break; // ended since
      const place = `${leaf}/${String(newest)}`;
      const content = await readWholeFile(path.join(recordsFolder(storeFolder), place), largestFileBytes);
      if (typeof content !== 'string') {
        yield { place, content };
        break;
      }
      if (content !== 'absent')
        throw new SelloError('SELLO_STORED_KEY_UNREADABLE', { detail: `${place}: ${content}` });
      if (attempt === mostAttempts) throw changing(); // else: written since
    }
  }
}

/** Folders of records, as places below the folder of records. */
async function leavesOf(storeFolder: string): Promise<string[]> {
  const root = recordsFolder(storeFolder);
  const found: string[] = [];
  const walk = async (below: string, depth: number): Promise<void> => {
    for (const entry of (await entriesOf(path.join(root, below))).sort()) {
      const place = below === '' ? entry : `${below}/${entry}`;
      if (leafPattern.test(entry)) found.push(place);
      else if (depth < deepestFolder) await walk(place, depth + 1);
    }
  };
  await walk('', 0);
  return found;
}

const deepestFolder = 3;

/** What a place below the folder of records may look like: no more than names of ours, and nothing that leads elsewhere. */
export function isRecordPlace(place: string): boolean {
  const segments = place.split('/');
  const [revision = '', leaf = ''] = segments.splice(-2).reverse();
  return (
    segments.length >= 1 &&
    segments.length <= deepestFolder &&
    leafPattern.test(leaf) &&
    revisionPattern.test(revision) &&
    segments.every((segment) => /^(?!\.{1,2}$)[0-9A-Za-z_.-]{1,128}$/.test(segment))
  );
}

/** Ascending. */
async function revisionsIn(folder: string): Promise<number[]> {
  return (await entriesOf(folder))
    .filter((entry) => revisionPattern.test(entry))
    .map(Number)
    .sort((a, b) => a - b);
}

async function entriesOf(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return [];
    throw error;
  }
}

async function remove(folder: string, revision: number): Promise<void> {
  try {
    await unlink(path.join(folder, String(revision)));
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
}

function conflict(): SelloError {
  return new SelloError('SELLO_RECORD_CONFLICT');
}

function changing(): SelloError {
  return new SelloError('SELLO_STORE_FAILED', {
    detail: 'a record changed again and again while it was read',
  });
}
