/**
 * Small versioned records of the KV 2 face in the tenant's keystore (docs/formats/transit-records.md):
 *
 *   kv/PARENT/LEAF       a secret's record, sealed; PARENT and LEAF are hashes of the folder's and the secret's path
 *   kv/PARENT/d.FOLDER   says that a folder has a folder in it; its sealed value is that one's name
 *
 * Names are hashes because paths are longer and freer than names of records, and nobody's business who reads the store.
 */
import { hash } from 'node:crypto';
import { hasCode, SelloError } from '../../errors.ts';
import type { TenantKeys } from '../../keys/index.ts';
import { maxRecordBytes, recordNames, removeRecord, type RecordStore } from '../../keystores/index.ts';
import { openRecord, sealRecord } from './kv-seal.ts';

export interface KvVersion {
  readonly created: string;
  /** Empty: not deleted. */
  readonly deletion: string;
  readonly destroyed: boolean;
  /** JSON text of the data as it was written; none once destroyed. */
  readonly data: string | undefined;
  readonly createdBy: KvActor;
  readonly deletedBy: KvActor | null;
}

export interface KvActor {
  readonly actor: string;
  readonly operation: 'create' | 'update';
  readonly clientId: string;
}

export interface KvRecord {
  readonly path: string;
  readonly created: string;
  readonly updated: string;
  readonly updatedBy: KvActor | null;
  /** 0: none was ever written. */
  readonly current: number;
  readonly oldest: number;
  readonly maxVersions: number;
  readonly casRequired: boolean;
  readonly customMetadata: Readonly<Record<string, string>> | null;
  readonly deleteVersionAfter: string;
  readonly versions: Readonly<Record<string, KvVersion>>;
}

/** Names of one answer to a LIST. */
const maxListed = 10_000;
/** Room for the envelope around a record. */
const sealBytes = 2048;
const mostAttempts = 5;

export class KvStore {
  readonly #keys: TenantKeys;
  readonly #records: RecordStore;
  readonly #tenant: string;

  constructor(keys: TenantKeys, tenant: string) {
    this.#keys = keys;
    this.#records = keys.records!;
    this.#tenant = tenant;
  }

  async read(path: string): Promise<{ readonly record: KvRecord; readonly revision: number } | undefined> {
    const found = await this.#records.read(this.#placeOf(path));
    if (found === undefined) return undefined;
    return {
      record: await this.#opened<KvRecord>(this.#placeOf(path), found.value),
      revision: found.revision,
    };
  }

  /**
   * Changes a record by compare-and-set; `make` sees it as it is, and runs again when somebody else was first.
   * @throws what `make` throws; SelloError SELLO_STORE_FAILED when others are first again and again
   */
  async change(
    path: string,
    make: (record: KvRecord | undefined) => KvRecord | undefined,
  ): Promise<KvRecord | undefined> {
    for (let attempt = 0; attempt < mostAttempts; attempt++) {
      const found = await this.read(path);
      const record = make(found?.record);
      if (record === undefined) return undefined;
      const plaintext = Buffer.from(JSON.stringify(record));
      if (plaintext.length > maxRecordBytes - sealBytes) {
        plaintext.fill(0);
        throw new SelloError('SELLO_OBJECT_TOO_LARGE', { detail: 'a secret with all its versions' });
      }
      try {
        const sealed = await sealRecord(this.#keys, this.#placeOf(path), plaintext);
        if (found === undefined) await this.#addFolders(path);
        await this.#records.write(this.#placeOf(path), sealed, found?.revision ?? 0);
        return record;
      } catch (error) {
        if (!hasCode(error, 'SELLO_RECORD_CONFLICT')) throw error;
      } finally {
        plaintext.fill(0);
      }
    }
    throw new SelloError('SELLO_STORE_FAILED', {
      detail: 'a secret changed again and again while it was changed',
    });
  }

  /** Ends a secret with all its versions; absent is no error. */
  remove(path: string): Promise<void> {
    return removeRecord(this.#records, this.#placeOf(path));
  }

  /** Names in a folder, those of folders with a slash behind; sorted. */
  async list(folder: string): Promise<string[]> {
    const names: string[] = [];
    for await (const name of this.#namesIn(folder)) {
      if (names.length === maxListed)
        throw new SelloError('SELLO_STORE_FAILED', {
          detail: `a folder with more than ${String(maxListed)} names`,
        });
      names.push(name);
    }
    return names.sort();
  }

  async *#namesIn(folder: string): AsyncGenerator<string> {
    const parent = `${root}/${this.#hashOf(folder)}`;
    for await (const name of recordNames(this.#records, parent)) {
      const stored = await this.#records.read(`${parent}/${name}`);
      if (stored === undefined) continue;
      const { path } = await this.#opened<{ readonly path: string }>(`${parent}/${name}`, stored.value);
      // What is left of a folder is its mark: removing that would race with who adds to it.
      if (name.startsWith(folderMark) && (await this.#isEmpty(path))) continue;
      yield path.slice(folder.length);
    }
  }

  async #isEmpty(folder: string): Promise<boolean> {
    for await (const _ of this.#namesIn(folder)) return false;
    return true;
  }

  /** Each folder on the way is named in the one above it. */
  async #addFolders(path: string): Promise<void> {
    for (let end = path.lastIndexOf('/'); end !== -1; end = path.lastIndexOf('/', end - 1)) {
      const folder = path.slice(0, end + 1);
      const above = folder.slice(0, folder.lastIndexOf('/', end - 1) + 1);
      const place = `${root}/${this.#hashOf(above)}/${folderMark}${this.#hashOf(folder)}`;
      if ((await this.#records.read(place)) !== undefined) return;
      const sealed = await sealRecord(this.#keys, place, Buffer.from(JSON.stringify({ path: folder })));
      try {
        await this.#records.write(place, sealed, 0);
      } catch (error) {
        if (!hasCode(error, 'SELLO_RECORD_CONFLICT')) throw error;
      }
      if (end === 0) return;
    }
  }

  /** A record is sealed for its place: it opens at no other. */
  async #opened<T>(place: string, sealed: Buffer): Promise<T> {
    try {
      const plaintext = await openRecord(this.#keys, place, sealed);
      try {
        return JSON.parse(plaintext.toString()) as T;
      } finally {
        plaintext.fill(0);
      }
    } catch (cause) {
      if (cause instanceof SelloError && cause.retryable) throw cause;
      throw new SelloError('SELLO_STORED_KEY_UNREADABLE', { detail: 'a record of the KV engine', cause });
    }
  }

  #placeOf(path: string): string {
    const folder = path.slice(0, path.lastIndexOf('/') + 1);
    return `${root}/${this.#hashOf(folder)}/${this.#hashOf(path)}`;
  }

  #hashOf(path: string): string {
    return hash('sha256', `sello transit kv path v1\0${this.#tenant}\0${path}`);
  }
}

const root = 'kv';
const folderMark = 'd.';
