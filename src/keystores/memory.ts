/** A keystore in memory, for tests and trying out: every key is lost when the process ends. */
import { SelloError } from '../errors.ts';
import type { KeyName } from '../keys/names.ts';
import type { Keystore, ListOptions, NamePage } from './contract.ts';
import { checkListOptions, checkValue } from './limits.ts';
import { MemoryRecordStore } from './memory-records.ts';
import { pageOf } from './name-index.ts';

export class MemoryKeystore implements Keystore {
  readonly kind = 'memory';
  readonly location = 'memory (keys are lost when the process ends)';
  readonly #values = new Map<KeyName, Buffer>();
  readonly records = new MemoryRecordStore();
  /** Undefined: has to be sorted anew. */
  #sorted: KeyName[] | undefined;
  #closed = false;

  async create(name: KeyName, value: Buffer): Promise<void> {
    this.#checkOpen();
    checkValue(value);
    if (this.#values.has(name)) throw new SelloError('SELLO_KEY_EXISTS');
    const kept = Buffer.allocUnsafeSlow(value.length);
    kept.set(value);
    this.#values.set(name, kept);
    this.#sorted = undefined;
  }

  async read(name: KeyName): Promise<Buffer> {
    this.#checkOpen();
    const kept = this.#values.get(name);
    if (kept === undefined) throw new SelloError('SELLO_KEY_NOT_FOUND');
    const value = Buffer.allocUnsafeSlow(kept.length);
    value.set(kept);
    return value;
  }

  async delete(name: KeyName): Promise<void> {
    this.#checkOpen();
    const kept = this.#values.get(name);
    if (kept === undefined) throw new SelloError('SELLO_KEY_NOT_FOUND');
    kept.fill(0);
    this.#values.delete(name);
    this.#sorted = undefined;
  }

  async list(options: ListOptions): Promise<NamePage> {
    this.#checkOpen();
    checkListOptions(options);
    const { prefix, after = '', limit } = options;
    this.#sorted ??= [...this.#values.keys()].sort();
    return pageOf(this.#sorted, prefix, after, limit);
  }

  async health(): Promise<void> {
    this.#checkOpen();
  }

  async close(): Promise<void> {
    for (const value of this.#values.values()) value.fill(0);
    this.#values.clear();
    this.records.clear();
    this.#closed = true;
  }

  #checkOpen(): void {
    if (this.#closed) throw new SelloError('SELLO_STORE_UNREACHABLE', { detail: 'the store is closed' });
  }
}
