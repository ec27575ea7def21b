/**
 * Which keys have something to do at a time: `scheduled/NAME` is present where a keyring has a rotation or a deletion to come, so that
 * nobody has to read them all.
 */
import { hasCode } from '../errors.ts';
import type { RecordStore } from '../keystores/contract.ts';
import { recordNames } from '../keystores/records.ts';
import { parseKeyring, type KeyringRecord } from './keyring-record.ts';
import { pathOf } from './keyring-reader.ts';
import type { KeyName } from './names.ts';
import { isDue } from './transitions.ts';

/** What is to be done with a key now. */
export interface DueWork {
  readonly name: KeyName;
  readonly kind: 'rotate' | 'delete';
}

const folder = 'scheduled';

export class KeyringSchedule {
  readonly #records: RecordStore;

  constructor(records: RecordStore) {
    this.#records = records;
  }

  /** Keys for which something is due. Marks that no keyring needs any more are removed. */
  async due(nowSeconds: number): Promise<DueWork[]> {
    const due: DueWork[] = [];
    for await (const text of recordNames(this.#records, folder)) {
      const name = text as KeyName;
      const record = await this.#read(name);
      if (record === undefined || !isScheduled(record)) {
        await this.#unmark(name);
        continue;
      }
      const { deletion, state } = record;
      if (state === 'deleting' || (deletion !== undefined && nowSeconds >= deletion.after))
        due.push({ name, kind: 'delete' });
      else if (isDue(record, nowSeconds)) due.push({ name, kind: 'rotate' });
    }
    return due;
  }

  async mark(name: KeyName): Promise<void> {
    try {
      await this.#records.write(`${folder}/${name}`, Buffer.from('1'), 0);
    } catch (error) {
      if (!hasCode(error, 'SELLO_RECORD_CONFLICT')) throw error; // it is there
    }
  }

  async #unmark(name: KeyName): Promise<void> {
    const path = `${folder}/${name}`;
    const found = await this.#records.read(path);
    if (found === undefined) return;
    await this.#records.delete(path, found.revision);
    // A change that came in between relied on the mark.
    const record = await this.#read(name);
    if (record !== undefined && isScheduled(record)) await this.mark(name);
  }

  async #read(name: KeyName): Promise<KeyringRecord | undefined> {
    const found = await this.#records.read(pathOf(name));
    return found === undefined ? undefined : parseKeyring(found.value);
  }
}

export function isScheduled({ deletion, rotateAt, state }: KeyringRecord): boolean {
  return state === 'deleting' || deletion !== undefined || (rotateAt !== 0 && state !== 'deleted');
}
