/** Checkpoints on the disk: notes one after the other, in a file beside each segment. */
import { appendFile, readFile, truncate } from 'node:fs/promises';
import path from 'node:path';
import { checkpointsIn, type Checkpoint } from './checkpoint.ts';
import { checkpointsName, type Segment } from './segment.ts';

const fileMode = 0o640;

/** Appends to the checkpoints of one stream. A write that broke off in mid-note is cut off again before the next one. */
export class CheckpointFiles {
  readonly #folder: string;
  /** The file whose end is unsure. */
  #unsure: string | undefined;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** On the disk once it resolves. */
  async append(segment: number, { text }: Checkpoint): Promise<void> {
    if (this.#unsure !== undefined) await mend(this.#unsure);
    const file = path.join(this.#folder, checkpointsName(segment));
    this.#unsure = file;
    await appendFile(file, text, { mode: fileMode, flush: true });
    this.#unsure = undefined;
  }
}

/** A crash may have torn the last checkpoint: what is no note goes, so that the next one begins where it should. */
export async function mendCheckpoints(folder: string, segments: readonly Segment[]): Promise<void> {
  for (const { first } of segments.slice(-2)) await mend(path.join(folder, checkpointsName(first)));
}

async function mend(file: string): Promise<void> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
  let whole = 0;
  for (const checkpoint of checkpointsIn(text)) {
    if (checkpoint === undefined) break;
    whole += Buffer.byteLength(checkpoint.text);
  }
  if (whole < Buffer.byteLength(text)) await truncate(file, whole);
}

/** The checkpoint over the first `size` records, from the file it belongs in: that of the last segment that begins before. */
export async function checkpointOver(
  folder: string,
  segments: readonly Segment[],
  size: number,
): Promise<Checkpoint | undefined> {
  const firsts = segments.map(({ first }) => first).filter((first) => first <= size);
  for (const first of firsts.slice(-2)) {
    const text = await readFile(path.join(folder, checkpointsName(first)), 'utf8').catch(() => '');
    for (const checkpoint of checkpointsIn(text)) if (checkpoint?.size === size) return checkpoint;
  }
  return undefined;
}
