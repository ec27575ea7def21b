/**
 * Sello's own keystore on disk, the embedded default: a file per key, sealed under a store key, which is sealed under
 * the root key. Names are hidden too. Format: docs/formats/file-keystore.md; use: docs/keystores.md.
 */
import { access, constants, mkdir, readdir, stat, unlink } from 'node:fs/promises';
import path from 'node:path';
import { wipe } from '../crypto/index.ts';
import { SelloError, hasCode } from '../errors.ts';
import type { KeyName } from '../keys/names.ts';
import type { Keystore, ListOptions, NamePage } from './contract.ts';
import { errnoOf, storeError } from './disk-errors.ts';
import { createFile, FolderSync, readWholeFile, removeLeftovers } from './durable-folder.ts';
import { headerName, makeHeader, openHeader, readHeader, type OpenedHeader } from './file-header.ts';
import {
  checkFolders,
  isVacant,
  makeFolders,
  makeRecordsFolder,
  restoringName,
  shardFolder,
  temporaryFolder,
  writeFirstHeader,
} from './file-layout.ts';
import { FileLock } from './file-lock.ts';
import { FileNames, shardCount } from './file-names.ts';
import { openRecord, recordOverheadBytes, sealRecord } from './file-record.ts';
import { FileRecordStore } from './file-records.ts';
import { checkListOptions, checkValue, maxValueBytes } from './limits.ts';
import { NameIndex } from './name-index.ts';

export interface FileKeystoreOptions {
  readonly path: string;
  /** 32 bytes; the caller wipes them after `open`. */
  readonly rootKey: Buffer;
  /** Process whose life holds the store: this one unless given. Workers of one server give their supervisor's. */
  readonly ownerPid?: number;
  /** How long a lock from another host is watched before it is taken for abandoned. */
  readonly lockWatchMs?: number;
}

export class FileKeystore implements Keystore {
  readonly kind = 'file';
  readonly location: string;
  readonly #folder: string;
  readonly #opened: OpenedHeader;
  readonly #fileNames: FileNames;
  readonly #lock: FileLock;
  readonly #shards: readonly FolderSync[];
  readonly #names: NameIndex;
  readonly records: FileRecordStore;
  /** Inode and modification time of the header when it was last read: unchanged, it need not be read again. */
  #headerSeen = '';
  #closed = false;

  private constructor(folder: string, opened: OpenedHeader, lock: FileLock) {
    this.#folder = folder;
    this.location = folder;
    this.#opened = opened;
    this.#lock = lock;
    this.#fileNames = new FileNames(opened.storeKey, opened.header.storeId);
    const shards = Array.from({ length: shardCount }, (_, shard) => shardFolder(folder, shard));
    this.#shards = shards.map((shard) => new FolderSync(shard, temporaryFolder(folder)));
    this.records = new FileRecordStore({
      folder,
      header: opened.header,
      storeKey: opened.storeKey,
      checkStore: () => this.#checkStore(),
    });
    this.#names = new NameIndex(
      shards.map((shardPath, shard) => ({
        changedAt: async () => (await stat(shardPath, { bigint: true })).mtimeNs,
        names: async () => this.#fileNames.namesOf(shard, await readdir(shardPath)),
      })),
    );
  }

  /**
   * Opens the store, or makes one in an absent or empty folder.
   * @throws SelloError SELLO_ROOT_KEY_WRONG, SELLO_STORE_LOCKED, SELLO_STORE_FAILED, SELLO_STORE_UNREACHABLE
   */
  static async open(options: FileKeystoreOptions): Promise<FileKeystore> {
    const folder = path.resolve(options.path);
    let lock: FileLock | undefined;
    try {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      if ((await readHeader(folder)) === undefined && !(await isVacant(folder))) throw await noStore(folder);
      lock = await FileLock.acquire(folder, options.ownerPid ?? process.pid, options.lockWatchMs);
      const opened =
        (await openExisting(folder, options.rootKey)) ?? (await makeStore(folder, options.rootKey));
      await makeRecordsFolder(folder);
      await checkFolders(folder);
      await removeLeftovers(folder);
      await removeLeftovers(temporaryFolder(folder));
      return new FileKeystore(folder, opened, lock);
    } catch (error) {
      await lock?.release();
      throw storeError(error, 'open');
    }
  }

  async create(name: KeyName, value: Buffer): Promise<void> {
    checkValue(value);
    await this.#checkStore();
    const { shard, file } = this.#fileNames.fileOf(name);
    const record = sealRecord(this.#opened.header, this.#opened.storeKey, name, value);
    let made: boolean;
    try {
      made = await createFile(file, record, this.#shards[shard]!);
    } catch (error) {
      throw storeError(error, 'create');
    }
    if (!made) throw new SelloError('SELLO_KEY_EXISTS');
    this.#names.note(shard, name, true);
  }

  async read(name: KeyName): Promise<Buffer> {
    this.#checkHeld();
    const { shard, file } = this.#fileNames.fileOf(name);
    const record = await readWholeFile(
      path.join(this.#shards[shard]!.folder, file),
      maxValueBytes + recordOverheadBytes,
    ).catch((error: unknown) => {
      throw storeError(error, 'read', true);
    });
    if (record === 'absent') throw await this.#absent(shard);
    this.#checkHeld();
    const value =
      typeof record === 'string'
        ? record
        : openRecord(this.#opened.header, this.#opened.storeKey, name, record);
    if (typeof value === 'string') throw new SelloError('SELLO_STORED_KEY_UNREADABLE', { detail: value });
    return value;
  }

  async delete(name: KeyName): Promise<void> {
    await this.#checkStore();
    const { shard, file } = this.#fileNames.fileOf(name);
    const sync = this.#shards[shard]!;
    try {
      await unlink(path.join(sync.folder, file));
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') throw await this.#absent(shard);
      throw storeError(error, 'delete', errnoOf(error) === 'EISDIR');
    }
    this.#names.note(shard, name, false);
    await sync.flush().catch((error: unknown) => {
      throw storeError(error, 'delete');
    });
  }

  async list(options: ListOptions): Promise<NamePage> {
    checkListOptions(options);
    await this.#checkStore();
    try {
      return (await this.#names.page(options.prefix, options.after ?? '', options.limit)) as NamePage;
    } catch (error) {
      throw storeError(error, 'list');
    }
  }

  async health(): Promise<void> {
    await this.#checkStore();
    try {
      await access(temporaryFolder(this.#folder), constants.R_OK | constants.W_OK | constants.X_OK);
    } catch (error) {
      throw new SelloError('SELLO_STORE_UNREACHABLE', { detail: `health: ${errnoOf(error)}`, cause: error });
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#fileNames.wipe();
    this.records.wipe();
    wipe(this.#opened.storeKey);
    await this.#lock.release();
  }

  /** Why a file is not there: the key does not exist, or the store (or this part of it) is away. */
  async #absent(shard: number): Promise<SelloError> {
    await this.#checkStore();
    try {
      await stat(this.#shards[shard]!.folder);
      return new SelloError('SELLO_KEY_NOT_FOUND');
    } catch (error) {
      return storeError(error, 'folder');
    }
  }

  /** The folder holds the store that was opened, not an empty mount point or another store. */
  async #checkStore(): Promise<void> {
    this.#checkHeld();
    let detail = `${headerName} is missing`;
    try {
      const { ino, mtimeNs } = await stat(path.join(this.#folder, headerName), { bigint: true });
      const seen = `${ino} ${mtimeNs}`;
      if (seen === this.#headerSeen) {
        this.#checkHeld();
        return;
      }
      const header = await readHeader(this.#folder);
      if (header?.storeId.equals(this.#opened.header.storeId) === true) {
        this.#headerSeen = seen;
        this.#checkHeld();
        return;
      }
      if (header !== undefined) detail = 'another store took the place of the one that was opened';
    } catch (error) {
      if (hasCode(error, 'SELLO_STORE_UNREACHABLE')) throw error;
      throw new SelloError('SELLO_STORE_UNREACHABLE', { detail: headerName, cause: error });
    }
    throw new SelloError('SELLO_STORE_UNREACHABLE', { detail });
  }

  #checkHeld(): void {
    if (this.#closed) throw new SelloError('SELLO_STORE_UNREACHABLE', { detail: 'the store is closed' });
    if (this.#lock.lost) {
      throw new SelloError('SELLO_STORE_UNREACHABLE', { detail: 'another server took over the store' });
    }
  }
}

async function openExisting(folder: string, rootKey: Buffer): Promise<OpenedHeader | undefined> {
  const header = await readHeader(folder);
  return header === undefined ? undefined : openHeader(header, rootKey);
}

async function makeStore(folder: string, rootKey: Buffer): Promise<OpenedHeader> {
  await makeFolders(folder);
  const made = makeHeader(rootKey);
  if (await writeFirstHeader(folder, made.header)) return made;
  wipe(made.storeKey);
  return openHeader((await readHeader(folder))!, rootKey);
}

async function noStore(folder: string): Promise<SelloError> {
  const restoring = await stat(path.join(folder, restoringName)).then(
    () => true,
    () => false,
  );
  return new SelloError('SELLO_STORE_FAILED', {
    detail: restoring
      ? `a restore into ${folder} has not finished: run it again`
      : `${folder} is not empty and has no ${headerName}: not a file keystore, or one to restore from a backup`,
  });
}
