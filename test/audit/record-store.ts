/** A RecordStore in memory, with faults on demand: the contract of keystores/contract.ts, and nothing of any one store. */
import { SelloError } from '../../src/errors.ts';
import type { RecordPage, RecordStore, StoredRecord } from '../../src/keystores/index.ts';

export class TestRecords implements RecordStore {
  readonly stored = new Map<string, { value: Buffer; revision: number }>();
  isDown = false;
  writes = 0;

  read(path: string): Promise<StoredRecord | undefined> {
    if (this.isDown) return Promise.reject(new SelloError('SELLO_STORE_UNREACHABLE', { detail: 'down' }));
    const found = this.stored.get(path);
    return Promise.resolve(found && { value: Buffer.from(found.value), revision: found.revision });
  }

  write(path: string, value: Buffer, expected: number): Promise<number> {
    if (this.isDown) return Promise.reject(new SelloError('SELLO_STORE_UNREACHABLE', { detail: 'down' }));
    const revision = this.stored.get(path)?.revision ?? 0;
    if (revision !== expected) return Promise.reject(new SelloError('SELLO_RECORD_CONFLICT'));
    this.writes++;
    this.stored.set(path, { value: Buffer.from(value), revision: revision + 1 });
    return Promise.resolve(revision + 1);
  }

  delete(path: string): Promise<void> {
    this.stored.delete(path);
    return Promise.resolve();
  }

  list(folder: string, { after = '', limit }: { after?: string; limit: number }): Promise<RecordPage> {
    const names = [...this.stored.keys()]
      .filter((path) => path.startsWith(`${folder}/`))
      .map((path) => path.slice(folder.length + 1))
      .filter((name) => name > after)
      .sort();
    return Promise.resolve({ names: names.slice(0, limit), more: names.length > limit });
  }
}
