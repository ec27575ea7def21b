/**
 * Records that reached the disk, or may have, and were not acknowledged: a flush that failed, a write past its deadline, a target that
 * never answered. Whoever waited for them was refused, so a record that tells of a key let go tells of something that did not happen.
 * What is written cannot be taken back. A second record with the same request id says so, as soon as the stream takes records again.
 */
import type { Batch } from './batch.ts';
import type { AuditRecord } from './record.ts';

/** A stream that fails again and again forgets what is beyond; its notes have the number of all that were refused. */
export const maxOwed = 4096;

/** How far a refused batch had come: not handed to the disk; handed to it; in the stream, and only its release was refused. */
export type Reached = 'memory' | 'disk' | 'stream';

export class Amends {
  #owed: AuditRecord[] = [];
  /** Records that say so, which may be refused as well. */
  readonly #made = new WeakSet<AuditRecord>();

  refused({ records }: Batch, reached: Reached, why: string, timeMs: number): void {
    for (const record of records) {
      if (this.#owed.length >= maxOwed) return;
      if (this.#made.has(record)) {
        if (reached !== 'stream') this.#owed.push(record);
      } else if (reached !== 'memory' && isAwaited(record)) this.#owed.push(this.#make(record, why, timeMs));
    }
  }

  /** What is to be written now. */
  take(): readonly AuditRecord[] {
    return this.#owed.splice(0);
  }

  #make(record: AuditRecord, why: string, timeMs: number): AuditRecord {
    const made: AuditRecord = {
      ...record,
      timeMs,
      status: 503,
      error: 'SELLO_AUDIT_UNAVAILABLE',
      reason: `not acknowledged, so what waited for the record with this id was refused: ${why}`,
    };
    this.#made.add(made);
    return made;
  }
}

/** Of a request that is answered once the record is there. The end of a stream and refusals of strangers wait for none. */
function isAwaited({ face, phase, tenant }: AuditRecord): boolean {
  return tenant !== undefined && face !== 'server' && phase !== 'end';
}
