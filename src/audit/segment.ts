/**
 * Files of a trail (docs/formats/audit-log.md): a folder per stream, in it segments named by the sequence number of their
 * first record, compressed once they are sealed. Reading streams: memory does not grow with a segment.
 */
import { open, readdir, readFile, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { streamName } from './chain.ts';

export const descriptionName = 'stream.json';
export const stateName = 'state.json';
export const lockName = 'lock';

/** Segments are numbered with as many digits, so that their names sort. */
const sequenceDigits = 16;

export function segmentName(first: number): string {
  return `${String(first).padStart(sequenceDigits, '0')}.jsonl`;
}

/** Where a piece that is no whole record of the chain is put: named by the record that came next. */
export function quarantineName(sequence: number): string {
  return `${String(sequence).padStart(sequenceDigits, '0')}.torn`;
}

/** Checkpoints of the trees that end in the segment, oldest first. */
export function checkpointsName(first: number): string {
  return `${String(first).padStart(sequenceDigits, '0')}.checkpoints`;
}

export type Compression = 'none' | 'gzip' | 'zstd';

export const compressionSuffix: Readonly<Record<Compression, string>> = {
  none: '',
  gzip: '.gz',
  zstd: '.zst',
};

export interface Segment {
  /** Full path. */
  readonly file: string;
  /** Sequence number of its first record, as its name says. */
  readonly first: number;
  readonly compression: Compression;
}

const segmentFile = /^([0-9]{16})\.jsonl(\.gz|\.zst)?$/;

export function parseSegmentName(folder: string, name: string): Segment | undefined {
  const found = segmentFile.exec(name);
  if (found === null) return undefined;
  const compression = found[2] === '.gz' ? 'gzip' : found[2] === '.zst' ? 'zstd' : 'none';
  return { file: path.join(folder, name), first: Number(found[1]), compression };
}

export interface StreamFiles {
  readonly folder: string;
  readonly stream: string;
  /** By first record; of two files of one segment the uncompressed one comes first. */
  readonly segments: readonly Segment[];
  readonly quarantined: readonly string[];
  /** Names that nothing of ours has. */
  readonly strange: readonly string[];
}

/** The files of one stream. */
export async function readStreamFolder(folder: string): Promise<StreamFiles> {
  const segments: Segment[] = [];
  const quarantined: string[] = [];
  const strange: string[] = [];
  for (const name of (await readdir(folder)).sort()) {
    const segment = parseSegmentName(folder, name);
    if (segment !== undefined) segments.push(segment);
    else if (/^[0-9]{16}\.torn$/.test(name)) quarantined.push(name);
    else if (/^[0-9]{16}\.checkpoints$|^[0-9a-f]{12}\.shipped$/.test(name)) continue;
    else if (!ownNames.has(name) && !name.startsWith('.sello-tmp-')) strange.push(name);
  }
  segments.sort((a, b) => a.first - b.first || a.file.length - b.file.length);
  return { folder, stream: path.basename(folder), segments, quarantined, strange };
}

const ownNames = new Set([descriptionName, stateName, lockName]);

/** Folders of streams in a trail. */
export async function streamFolders(trail: string): Promise<string[]> {
  const entries = await readdir(trail, { withFileTypes: true });
  return entries
    .filter((entry) => entry.isDirectory() && streamName.test(entry.name))
    .map((entry) => path.join(trail, entry.name))
    .sort();
}

/** Folders with segments: of a trail's streams, or the one stream that `trail` is. Undefined: it is a plain audit file. */
export async function segmentFolders(trail: string): Promise<string[] | undefined> {
  let names: string[];
  try {
    names = await readdir(trail);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOTDIR') throw error;
    return undefined;
  }
  const isStream = names.some((name) => parseSegmentName(trail, name) !== undefined);
  return isStream ? [trail] : streamFolders(trail);
}

/** Each segment of a stream once: of its two forms the plain one, which comes first. */
export async function segmentsOf(folder: string): Promise<Segment[]> {
  const { segments } = await readStreamFolder(folder);
  return segments.filter((segment, i) => segments[i - 1]?.first !== segment.first);
}

/** A plain audit file, read as if it were one. */
export function fileAsSegment(file: string): Segment {
  const compression = file.endsWith('.gz') ? 'gzip' : file.endsWith('.zst') ? 'zstd' : 'none';
  return { file, first: 0, compression };
}

/** What a stream says of itself when it begins. */
export interface StreamDescription {
  readonly format: 'sello-audit-1';
  readonly stream: string;
  /** Absent for the server's own stream. */
  readonly tenant?: string | undefined;
  /** Host name. */
  readonly node: string;
  /** RFC 3339. */
  readonly created: string;
  /** Public key of its checkpoints (see checkpoint.ts). */
  readonly key: string;
}

/** @returns undefined when it is absent or not one */
export async function readDescription(folder: string): Promise<StreamDescription | undefined> {
  try {
    const value: unknown = JSON.parse(await readFile(path.join(folder, descriptionName), 'utf8'));
    const found = value as Partial<StreamDescription>;
    if (found.format !== 'sello-audit-1' || found.stream !== path.basename(folder)) return undefined;
    if (typeof found.key !== 'string' || typeof found.created !== 'string') return undefined;
    return found as StreamDescription;
  } catch {
    return undefined;
  }
}

/** A longer line is no record of ours; what is beyond is not kept. */
export const maxReadLineBytes = 65_536;

export interface ReadLine {
  /** Newline excluded. */
  readonly bytes: Buffer;
  /** False for a piece at the end of the file, and for what is too long. */
  readonly whole: boolean;
}

/** A segment that was plain when the folder was read may have been compressed since. */
async function openSegment(segment: Segment): Promise<{ handle: FileHandle; compression: Compression }> {
  const { file } = segment;
  for (const compression of segment.compression === 'none' ? (['none', 'zstd', 'gzip'] as const) : []) {
    try {
      return { handle: await open(`${file}${compressionSuffix[compression]}`), compression };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
  return { handle: await open(file), compression: segment.compression };
}

/**
 * The lines of a segment, some at a time, from a byte of the plain file on.
 * Rejects when the file cannot be read or decompressed.
 */
export async function* readLines(segment: Segment, from = 0): AsyncGenerator<ReadLine[]> {
  const { handle, compression } = await openSegment(segment);
  const raw = handle.createReadStream({ highWaterMark: 262_144, start: compression === 'none' ? from : 0 });
  const decompress =
    compression === 'zstd' ? createZstdDecompress() : compression === 'gzip' ? createGunzip() : undefined;
  if (decompress !== undefined) {
    raw.on('error', (error) => decompress.destroy(error));
    raw.pipe(decompress);
  }
  let rest: Buffer = Buffer.alloc(0);
  let skipping = false;
  /** Bytes before `from`, in a segment that was compressed since. */
  let before = compression === 'none' ? 0 : from;
  try {
    for await (const chunk of (decompress ?? raw) as AsyncIterable<Buffer>) {
      const lines: ReadLine[] = [];
      const skipped = Math.min(before, chunk.length);
      before -= skipped;
      const fresh = chunk.subarray(skipped);
      let data = rest.length === 0 ? fresh : Buffer.concat([rest, fresh]);
      let start = 0;
      for (let end = data.indexOf(0x0a); end !== -1; end = data.indexOf(0x0a, start)) {
        if (!skipping) lines.push({ bytes: data.subarray(start, end), whole: true });
        skipping = false;
        start = end + 1;
      }
      data = data.subarray(start);
      if (skipping) data = Buffer.alloc(0);
      else if (data.length > maxReadLineBytes) {
        lines.push({ bytes: data.subarray(0, maxReadLineBytes), whole: false });
        skipping = true;
        data = Buffer.alloc(0);
      }
      rest = data;
      if (lines.length > 0) yield lines;
    }
    if (rest.length > 0) yield [{ bytes: rest, whole: false }];
  } finally {
    raw.destroy();
    decompress?.destroy();
  }
}
