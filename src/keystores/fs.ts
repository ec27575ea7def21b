/**
 * Keys as KES's `fs` keystore keeps them: in one folder, a file per key, named like the key, mode 0600, holding
 * exactly the stored value. Made for takeover: KES and people may work on the folder at the same time. The
 * values are not encrypted; the `file` keystore's are.
 */
import { access, constants, mkdir, readdir, stat, unlink } from 'node:fs/promises';
import path from 'node:path';
import { SelloError } from '../errors.ts';
import { isName, type KeyName } from '../keys/names.ts';
import type { Keystore, ListOptions, NamePage } from './contract.ts';
import { errnoOf, storeError } from './disk-errors.ts';
import { createFile, FolderSync, readWholeFile, removeLeftovers } from './durable-folder.ts';
import { checkListOptions, checkValue, maxValueBytes } from './limits.ts';
import { NameIndex } from './name-index.ts';

export class FsKeystore implements Keystore {
  readonly kind = 'fs';
  readonly location: string;
  readonly #folder: string;
  readonly #sync: FolderSync;
  readonly #names: NameIndex;
  /** The folder's inode when it was last known to be the store. */
  #inode: bigint;
  #closed = false;

  private constructor(folder: string, inode: bigint) {
    this.#folder = folder;
    this.location = folder;
    this.#inode = inode;
    this.#sync = new FolderSync(folder);
    this.#names = new NameIndex([
      { changedAt: async () => (await stat(folder, { bigint: true })).mtimeNs, names: () => namesIn(folder) },
    ]);
  }

  /** Makes the folder when it is absent, as KES does. */
  static async open(folder: string): Promise<FsKeystore> {
    try {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      await removeLeftovers(folder);
      return new FsKeystore(folder, (await stat(folder, { bigint: true })).ino);
    } catch (error) {
      throw storeError(error, 'open');
    }
  }

  async create(name: KeyName, value: Buffer): Promise<void> {
    checkValue(value);
    await this.#checkRoot();
    let made: boolean;
    try {
      made = await createFile(name, value, this.#sync);
    } catch (error) {
      throw storeError(error, 'create');
    }
    if (!made) throw new SelloError('SELLO_KEY_EXISTS');
    this.#names.note(0, name, true);
  }

  async read(name: KeyName): Promise<Buffer> {
    this.#checkOpen();
    const content = await readWholeFile(path.join(this.#folder, name), maxValueBytes).catch(
      (error: unknown) => {
        throw storeError(error, 'read', true);
      },
    );
    if (content === 'absent') {
      await this.#checkRoot();
      throw new SelloError('SELLO_KEY_NOT_FOUND');
    }
    if (typeof content === 'string' || content.length === 0) {
      const detail = typeof content === 'string' ? content : 'empty';
      throw new SelloError('SELLO_STORED_KEY_UNREADABLE', { detail });
    }
    return content;
  }

  async delete(name: KeyName): Promise<void> {
    await this.#checkRoot();
    try {
      await unlink(path.join(this.#folder, name));
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw storeError(error, 'delete', errnoOf(error) === 'EISDIR');
      await this.#checkRoot();
      throw new SelloError('SELLO_KEY_NOT_FOUND');
    }
    this.#names.note(0, name, false);
    await this.#sync.flush().catch((error: unknown) => {
      throw storeError(error, 'delete');
    });
  }

  async list(options: ListOptions): Promise<NamePage> {
    checkListOptions(options);
    await this.#checkRoot();
    try {
      return (await this.#names.page(options.prefix, options.after ?? '', options.limit)) as NamePage;
    } catch (error) {
      throw storeError(error, 'list');
    }
  }

  async health(): Promise<void> {
    await this.#checkRoot();
    try {
      await access(this.#folder, constants.R_OK | constants.W_OK | constants.X_OK);
    } catch (error) {
      throw new SelloError('SELLO_STORE_UNREACHABLE', { detail: `health: ${errnoOf(error)}`, cause: error });
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  /**
   * The folder is there, and is the one that was opened. An unmounted volume leaves an empty folder in its place, and
   * "no such key" from there makes MinIO create a second key of the same name: an empty folder in the place of another is no store.
   */
  async #checkRoot(): Promise<void> {
    this.#checkOpen();
    try {
      const root = await stat(this.#folder, { bigint: true });
      if (!root.isDirectory()) throw new SelloError('SELLO_STORE_UNREACHABLE', { detail: 'not a folder' });
      if (root.ino === this.#inode) return;
      if ((await namesIn(this.#folder)).length === 0) {
        throw new SelloError('SELLO_STORE_UNREACHABLE', {
          detail:
            'an empty folder took the place of the one that was opened; mount the volume, or start again',
        });
      }
      this.#inode = root.ino;
    } catch (error) {
      if (error instanceof SelloError) throw error;
      throw new SelloError('SELLO_STORE_UNREACHABLE', { detail: `folder: ${errnoOf(error)}`, cause: error });
    }
  }

  #checkOpen(): void {
    if (this.#closed) throw new SelloError('SELLO_STORE_UNREACHABLE', { detail: 'the store is closed' });
  }
}

/** Files, and links as Kubernetes mounts secrets; folders and other people's files are not keys. */
async function namesIn(folder: string): Promise<string[]> {
  const names: string[] = [];
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if ((entry.isFile() || entry.isSymbolicLink()) && isName(entry.name)) names.push(entry.name);
  }
  return names;
}
