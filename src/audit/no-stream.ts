import type { AuditRecord } from './record.ts';
import type { AuditFile } from './file.ts';

/** `mode: off`: nothing is written, and listeners still hear. */
export class NoStream implements AuditFile {
  readonly #listeners = new Set<(record: AuditRecord) => void>();
  readonly trouble = undefined;
  readonly queued = 0;
  readonly chain = undefined;

  append(record: AuditRecord): undefined {
    for (const listener of this.#listeners) listener(record);
    return undefined;
  }

  subscribe(listener: (record: AuditRecord) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  reopen(): Promise<void> {
    return Promise.resolve();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
