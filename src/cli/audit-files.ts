/** Files that the `audit` commands are given: anchors, checkpoints, public keys. */
import { readFile } from 'node:fs/promises';
import type { Anchor, Checkpoint, NoteKey } from '../audit/index.ts';
import { Failure, fileFailure } from './failure.ts';
import { type Io, pathOf } from './io.ts';

export async function textOf(io: Io, file: string): Promise<string> {
  return readFile(pathOf(io, file), 'utf8').catch((error: unknown) => {
    throw fileFailure(error, file);
  });
}

export async function anchorsOf(io: Io, file: string): Promise<Anchor[]> {
  const { parseAnchors } = await import('../audit/index.ts');
  const anchors = parseAnchors(await textOf(io, file));
  if (anchors === undefined)
    throw new Failure(`${file} holds no anchors, or a damaged one`, {
      hint: "'sello audit anchor' writes such files.",
    });
  return anchors;
}

export async function checkpointOf(io: Io, file: string): Promise<Checkpoint> {
  const { parseCheckpoint } = await import('../audit/index.ts');
  const checkpoint = parseCheckpoint(await textOf(io, file));
  if (checkpoint === undefined) throw new Failure(`${file} holds no checkpoint`);
  return checkpoint;
}

/** A public key as text, or a file with it. */
export async function keyOf(io: Io, given: string): Promise<NoteKey> {
  const { parseNoteKey } = await import('../audit/index.ts');
  const key = parseNoteKey(given) ?? parseNoteKey(await textOf(io, given));
  if (key === undefined)
    throw new Failure(`${given} is no public key of an audit stream`, {
      hint: "It looks like NAME+1a2b3c4d+BASE64, and stands in a stream's stream.json and its anchor.",
    });
  return key;
}

/** Runs `work` on the files of a trail; what cannot be read is a failure with its reason. */
export async function failingOnFiles<T>(trail: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof RangeError) throw new Failure(error.message, { cause: error });
    if (error instanceof Error && 'code' in error && 'syscall' in error) throw fileFailure(error, trail);
    throw error;
  }
}

/** Folder of the one stream meant: the folder itself, the only one in it, or the one named. */
export async function streamOf(io: Io, trail: string, named: string | undefined): Promise<string> {
  const { readDescription, streamFolders } = await import('../audit/index.ts');
  const folder = pathOf(io, trail);
  if ((await readDescription(folder)) !== undefined) return folder;
  const folders = await failingOnFiles(trail, () => streamFolders(folder));
  const found = folders.filter((each) => named === undefined || each.endsWith(`/${named}`));
  if (found.length === 1) return found[0]!;
  throw new Failure(
    found.length === 0
      ? `there is no such stream in ${trail}`
      : `${trail} has ${String(found.length)} streams`,
    { hint: `Name one with --stream: ${folders.map((each) => each.split('/').at(-1)).join(' ')}` },
  );
}
