/** Records in memory, beside a keystore in memory. */
import { SelloError } from '../errors.ts';
import { maxRecordBytes, type RecordPage, type RecordStore, type StoredRecord } from './contract.ts';
import { checkListOptions, checkRecordPath } from './limits.ts';

export class MemoryRecordStore implements RecordStore {
  readonly #records = new Map<string, StoredRecord>();

  async read(path: string): Promise<StoredRecord | undefined> {
    const found = this.#records.get(checkRecordPath(path));
    return found === undefined ? undefined : { ...found, value: Buffer.from(found.value) };
  }

  async write(path: string, value: Buffer, expected: number): Promise<number> {
    const before = this.#records.get(checkRecordPath(path));
    if (value.length > maxRecordBytes)
      throw new RangeError(`record: expected at most ${maxRecordBytes} bytes, got ${value.length}`);
    if ((before?.revision ?? 0) !== expected) throw new SelloError('SELLO_RECORD_CONFLICT');
    const revision = expected + 1;
    const kept = Buffer.allocUnsafeSlow(value.length);
    kept.set(value);
    this.#records.set(path, { value: kept, revision });
    before?.value.fill(0);
    return revision;
  }

  async delete(path: string, expected: number): Promise<void> {
    const before = this.#records.get(checkRecordPath(path));
    if (before === undefined) return;
    if (before.revision !== expected) throw new SelloError('SELLO_RECORD_CONFLICT');
    before.value.fill(0);
    this.#records.delete(path);
  }

  async list(
    folder: string,
    { after = '', limit }: { readonly after?: string; readonly limit: number },
  ): Promise<RecordPage> {
    checkListOptions({ limit, prefix: '' });
    const below = `${checkRecordPath(folder, 1)}/`;
    const names = [...this.#records.keys()]
      .filter((path) => path.startsWith(below) && !path.includes('/', below.length))
      .map((path) => path.slice(below.length))
      .filter((name) => name > after)
      .sort();
    return { names: names.slice(0, limit), more: names.length > limit };
  }

  /** Overwrites everything. */
  clear(): void {
    for (const { value } of this.#records.values()) value.fill(0);
    this.#records.clear();
  }
}
