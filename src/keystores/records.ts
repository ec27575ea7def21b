/** What many do with small records: walk over a folder of them, end one, end a whole folder. */
import { eachOf } from '../concurrency.ts';
import { wipe } from '../crypto/index.ts';
import { hasCode } from '../errors.ts';
import type { RecordStore } from './contract.ts';

const pageNames = 1024;
/** Records read or written at a time. */
export const recordsAtOnce = 16;

/** Names directly below a folder, in order. What is written meanwhile may be missed. */
export async function* recordNames(records: RecordStore, folder: string): AsyncGenerator<string> {
  let after: string | undefined;
  do {
    const page = await records.list(folder, {
      limit: pageNames,
      ...(after === undefined ? {} : { after }),
    });
    yield* page.names;
    after = page.more ? page.names.at(-1) : undefined;
  } while (after !== undefined);
}

/** Ends a record whatever it has become meanwhile; absent is no error. */
export async function removeRecord(records: RecordStore, path: string): Promise<void> {
  for (;;) {
    const found = await records.read(path);
    if (found === undefined) return;
    wipe(found.value);
    try {
      await records.delete(path, found.revision);
      return;
    } catch (error) {
      if (!hasCode(error, 'SELLO_RECORD_CONFLICT')) throw error;
    }
  }
}

/** Ends every record of a folder, what is added meanwhile included. */
export async function removeRecords(records: RecordStore, folder: string): Promise<void> {
  for (;;) {
    const { names } = await records.list(folder, { limit: pageNames });
    if (names.length === 0) return;
    await eachOf(names, recordsAtOnce, (name) => removeRecord(records, `${folder}/${name}`));
  }
}
