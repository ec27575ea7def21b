/** Proofs that one record is in a checkpointed tree, in C2SP's tlog-proof form (c2sp.org/tlog-proof). */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { chainFieldsOf } from './chain.ts';
import { checkpointsIn, isSignedBy, parseCheckpoint, type Checkpoint, type NoteKey } from './checkpoint.ts';
import { inclusionRanges, leafHash, RangeRoots, rootOfInclusion, type Hash } from './merkle.ts';
import { checkpointsName, readLines, readStreamFolder, type StreamFiles } from './segment.ts';

const firstLine = 'c2sp.org/tlog-proof@v1';

export interface Proof {
  readonly index: number;
  readonly hashes: readonly Hash[];
  readonly checkpoint: Checkpoint;
}

export interface ProvedRecord {
  /** The record's line, newline excluded. */
  readonly line: Buffer;
  readonly proof: Proof;
}

/**
 * Proves record `index` of the stream in `folder` by `checkpoint`, else by the latest one in the folder that is over it.
 * The records up to the checkpoint are read once.
 *
 * @throws RangeError when there is no such record, no such checkpoint, or the records are not those it is over
 */
export async function proveRecord(
  folder: string,
  index: number,
  checkpoint?: Checkpoint,
): Promise<ProvedRecord> {
  const files = await readStreamFolder(folder);
  const by = checkpoint ?? (await latestCheckpoint(files));
  if (by === undefined) throw new RangeError('the stream has no checkpoint yet');
  if (index >= by.size)
    throw new RangeError(
      `record ${index} is not in the tree of the latest checkpoint, over ${by.size} records`,
    );
  const pass = new RangeRoots(inclusionRanges(index, by.size));
  let line: Buffer | undefined;
  let at = 0;
  for (const [i, segment] of files.segments.entries()) {
    if (files.segments[i - 1]?.first === segment.first) continue;
    if (at >= by.size) break;
    if (segment.first !== at) throw new RangeError(`records ${at} to ${segment.first - 1} are missing`);
    for await (const lines of readLines(segment)) {
      for (const { bytes, whole } of lines) {
        if (!whole || at >= by.size) continue;
        if (at === index) line = Buffer.from(bytes);
        pass.take(at++, leafHash(bytes));
      }
    }
  }
  if (line === undefined || at < by.size)
    throw new RangeError(`there are ${at} records, and the checkpoint is over ${by.size}`);
  const proof = { index, hashes: pass.roots(), checkpoint: by };
  if (rootOfInclusion(leafHash(line), index, by.size, proof.hashes) !== by.root)
    throw new RangeError("the records are not those that the checkpoint is over: run 'audit verify'");
  return { line, proof };
}

/** The latest checkpoint in a stream's folder. */
export async function latestCheckpoint({ folder, segments }: StreamFiles): Promise<Checkpoint | undefined> {
  for (const { first } of segments.toReversed()) {
    const text = await readFile(path.join(folder, checkpointsName(first)), 'utf8').catch(() => '');
    const found = [...checkpointsIn(text)].findLast((checkpoint) => checkpoint !== undefined);
    if (found !== undefined) return found;
  }
  return undefined;
}

export function formatProof({ index, hashes, checkpoint }: Proof): string {
  const lines = hashes.map((hash) => `${Buffer.from(hash, 'hex').toString('base64')}\n`);
  return `${firstLine}\nindex ${index}\n${lines.join('')}\n${checkpoint.text}`;
}

/** A tree of 2^53 leaves has paths of that length. */
const mostHashes = 64;

/** @returns undefined when the text is no proof */
export function parseProof(text: string): Proof | undefined {
  const divide = text.indexOf('\n\n');
  if (divide === -1) return undefined;
  const [head, ...rest] = text.slice(0, divide).split('\n');
  if (rest[0]?.startsWith('extra ') === true) rest.shift();
  const index = /^index (0|[1-9][0-9]{0,15})$/.exec(rest.shift() ?? '')?.[1];
  const checkpoint = parseCheckpoint(text.slice(divide + 2));
  if (head !== firstLine || index === undefined || checkpoint === undefined || rest.length > mostHashes)
    return undefined;
  const hashes = rest.map((line) => Buffer.from(line, 'base64'));
  if (!hashes.every((hash, i) => hash.length === 32 && hash.toString('base64') === rest[i])) return undefined;
  return { index: Number(index), hashes: hashes.map((hash) => hash.toString('hex')), checkpoint };
}

/** @returns what is wrong, for people; undefined when the record is proved by a checkpoint of `key` */
export function checkProof(
  line: Buffer,
  { index, hashes, checkpoint }: Proof,
  key: NoteKey,
): string | undefined {
  if (!isSignedBy(checkpoint, key)) return `the checkpoint is not signed by the key of ${key.name}`;
  const fields = chainFieldsOf(line);
  if (fields === undefined) return 'the record has no place in a chain';
  if (!checkpoint.origin.endsWith(`/${fields.stream}`)) return 'the record is of another stream';
  if (fields.sequence !== index)
    return `the record says it is number ${fields.sequence}, the proof is for ${index}`;
  if (rootOfInclusion(leafHash(line), index, checkpoint.size, hashes) !== checkpoint.root)
    return 'the record is not in the tree of the checkpoint';
  return undefined;
}
