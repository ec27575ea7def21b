/**
 * A process's place in a trail: finds the stream to go on with, or begins one, and knows where it stands
 * (docs/formats/audit-log.md). The records themselves are written by trail-target.ts, in the writer thread.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import type { TrailConfig } from '../config/model.ts';
import type { RecordStore, RemoteSigner } from '../keystores/index.ts';
import type { Anchor } from './anchor.ts';
import { Anchorage } from './anchorage.ts';
import { Chain, type ChainState } from './chain.ts';
import { formatNoteKey, noteKey, originOf } from './checkpoint.ts';
import { checkpointOver, mendCheckpoints } from './checkpoint-file.ts';
import { Frontier } from './merkle.ts';
import { Notary, writePosition } from './notary.ts';
import {
  descriptionName,
  readDescription,
  readLines,
  readStreamFolder,
  stateName,
  streamFolders,
  type Segment,
  type StreamDescription,
} from './segment.ts';
import { openSigner, type Signer } from './signer.ts';
import { releaseStream, takeStream } from './stream-lock.ts';
import { startOfTrail, type TrailPosition } from './trail-target.ts';

export interface OpenTrailOptions {
  readonly tenant: string | undefined;
  /** Where anchors are kept; undefined where the keystore has no place for them. */
  readonly records: RecordStore | undefined;
  /** Signs in place of the key in `signingKey`. */
  readonly signer?: RemoteSigner | undefined;
  /** Which lane file work is queued on (see lane.ts). */
  readonly disk: string;
  readonly nowMs: () => number;
}

export interface Trail {
  /** The stream's folder. */
  readonly folder: string;
  readonly stream: string;
  readonly position: TrailPosition;
  readonly notary: Notary;
  /** For the log: why an older stream was left. */
  readonly notices: readonly string[];
  release(): Promise<void>;
}

/** Streams of this node that are looked at before a new one is begun; the newest first. */
const mostCandidates = 64;

const folderMode = 0o750;
const fileMode = 0o640;

/** @throws when the folder cannot be used, or SelloError when the signing key cannot */
export async function openTrail(
  trailFolder: string,
  config: TrailConfig,
  options: OpenTrailOptions,
): Promise<Trail> {
  await mkdir(trailFolder, { recursive: true, mode: folderMode });
  const signer = await openSigner(trailFolder, config.signingKey, options.signer);
  const notices: string[] = [];
  for (const description of await candidates(trailFolder, signer, options.tenant)) {
    const folder = path.join(trailFolder, description.stream);
    if (!(await takeStream(folder))) continue;
    try {
      const position = await findPosition(folder, description);
      const anchorage = anchorageOf(description, signer, options.records);
      const behind = await behindAnchor(description, position, options.records);
      if (behind !== undefined) {
        notices.push(behind);
        await releaseStream(folder);
        continue;
      }
      return made(folder, description, position, signer, anchorage, config, options, notices);
    } catch (error) {
      await releaseStream(folder);
      notices.push(`stream ${description.stream} cannot be gone on with: ${textOf(error)}`);
    }
  }
  const description = await begin(trailFolder, signer, options);
  const folder = path.join(trailFolder, description.stream);
  const anchorage = anchorageOf(description, signer, options.records);
  return made(folder, description, startOfTrail, signer, anchorage, config, options, notices);
}

function made(
  folder: string,
  { stream }: StreamDescription,
  position: TrailPosition,
  signer: Signer,
  anchorage: Anchorage | undefined,
  config: TrailConfig,
  { tenant, disk, nowMs }: OpenTrailOptions,
  notices: readonly string[],
): Trail {
  const notary = new Notary({
    folder,
    origin: originOf(tenant, stream),
    signer,
    compression: config.compression,
    disk,
    anchorage,
    now: () => new Date(nowMs()).toISOString(),
  });
  void notary.announce();
  notary.compressLeftovers(position.segment);
  return { folder, stream, position, notary, notices, release: () => releaseStream(folder) };
}

/** Streams of this host, tenant and key; the newest first. */
async function candidates(
  trailFolder: string,
  signer: Signer,
  tenant: string | undefined,
): Promise<StreamDescription[]> {
  const found: StreamDescription[] = [];
  for (const folder of await streamFolders(trailFolder)) {
    const description = await readDescription(folder);
    if (description === undefined || description.node !== os.hostname()) continue;
    if (description.tenant !== tenant) continue;
    const key = formatNoteKey(noteKey(originOf(tenant, description.stream), signer.key));
    if (description.key === key) found.push(description);
  }
  found.sort((a, b) => (a.created < b.created ? 1 : -1));
  return found.slice(0, mostCandidates);
}

async function begin(
  trailFolder: string,
  signer: Signer,
  { tenant, nowMs }: OpenTrailOptions,
): Promise<StreamDescription> {
  const stream = randomBytes(16).toString('hex');
  const folder = path.join(trailFolder, stream);
  const description: StreamDescription = {
    format: 'sello-audit-1',
    stream,
    ...(tenant === undefined ? {} : { tenant }),
    node: os.hostname(),
    created: new Date(nowMs()).toISOString(),
    key: formatNoteKey(noteKey(originOf(tenant, stream), signer.key)),
  };
  await mkdir(folder, { mode: folderMode });
  await takeStream(folder);
  const text = `${JSON.stringify(description, undefined, 2)}\n`;
  await writeFile(path.join(folder, descriptionName), text, { mode: fileMode, flush: true, flag: 'wx' });
  return description;
}

function anchorageOf(
  description: StreamDescription,
  signer: Signer,
  records: RecordStore | undefined,
): Anchorage | undefined {
  if (records === undefined) return undefined;
  const { stream, tenant, node, created, key: keyText } = description;
  const anchor: Anchor = {
    stream,
    tenant,
    node,
    created,
    key: noteKey(originOf(tenant, stream), signer.key),
    keyText,
    checkpoint: undefined,
    ended: false,
    updated: created,
  };
  return Anchorage.of(records, anchor);
}

/** Why the stream must not go on: its anchor knows more of it, or something else. */
async function behindAnchor(
  { stream }: StreamDescription,
  position: TrailPosition,
  records: RecordStore | undefined,
): Promise<string | undefined> {
  if (records === undefined) return undefined;
  let anchor: Awaited<ReturnType<typeof Anchorage.look>>;
  try {
    anchor = await Anchorage.look(records, stream);
  } catch {
    // A keystore that cannot be asked now: the anchor's own compare-and-set asks again.
    return undefined;
  }
  if (anchor === undefined) return undefined;
  if (anchor === 'damaged') return `the anchor of stream ${stream} is damaged: a new stream is begun`;
  const known = anchor.checkpoint;
  if (known === undefined || known.size < position.size) return undefined;
  if (known.size > position.size)
    return `stream ${stream} has ${position.size} records and its anchor knows ${known.size}: the log was cut or put back; a new stream is begun`;
  const root = Frontier.of(position.size, position.roots).root();
  if (root === known.root) return undefined;
  return `stream ${stream} is not the one that its anchor knows: the log was changed; a new stream is begun`;
}

/** Where a stream stands, by its position written down and the records behind it; else by all its records. */
async function findPosition(folder: string, { stream }: StreamDescription): Promise<TrailPosition> {
  const { segments } = await readStreamFolder(folder);
  const noted = await notedPosition(folder, segments);
  await mendCheckpoints(folder, segments);
  const position = await follow(stream, segments, noted ?? startOfTrail);
  if (noted?.size !== position.size && position.size > 0) await writePosition(folder, position);
  return position;
}

async function notedPosition(
  folder: string,
  segments: readonly Segment[],
): Promise<TrailPosition | undefined> {
  let position: TrailPosition;
  try {
    position = JSON.parse(await readFile(path.join(folder, stateName), 'utf8')) as TrailPosition;
    const tree = Frontier.of(position.size, position.roots);
    if (!Number.isSafeInteger(position.segment) || !Number.isSafeInteger(position.offset)) return undefined;
    if (!/^[0-9a-f]{64}$/.test(position.previous)) return undefined;
    const checkpoint = await checkpointOver(folder, segments, position.size);
    return checkpoint?.root === tree.root() ? position : undefined;
  } catch {
    return undefined;
  }
}

async function follow(
  stream: string,
  segments: readonly Segment[],
  from: TrailPosition,
): Promise<TrailPosition> {
  const chain = new Chain(stream, from satisfies ChainState);
  let { segment: current, offset } = from;
  for (const segment of segments) {
    if (segment.first < from.segment || (segment.first !== current && segment.first !== chain.size)) continue;
    const isFirst = segment.first === from.segment;
    if (isFirst && segment.compression !== 'none' && offset > 0) continue;
    if (isFirst && segment.compression === 'none' && (await stat(segment.file)).size < offset) break;
    if (segment.first !== current) [current, offset] = [segment.first, 0];
    let going = true;
    for await (const lines of readLines(segment, isFirst ? offset : 0)) {
      for (const { bytes, whole } of lines) {
        going &&= whole && chain.follow(bytes);
        if (!going) break;
        offset += bytes.length + 1;
      }
      if (!going) break;
    }
    if (!going) break;
    // Only a plain file can be gone on with.
    if (segment.compression !== 'none') [current, offset] = [chain.size, 0];
  }
  return { ...chain.state(), segment: current, offset };
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
