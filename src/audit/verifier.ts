/**
 * Judges a trail, or a copy of one, offline (docs/formats/audit-log.md, "What a verifier checks"). It reads each stream once from
 * its first record on, and holds no more of it than a hash per level of the tree.
 *
 * What is said of a log without something kept elsewhere (an anchor, a checkpoint) is only that it fits together: who can
 * write all its files and has the signing key can cut it off or write it anew.
 */
import path from 'node:path';
import { stat } from 'node:fs/promises';
import type { Anchor } from './anchor.ts';
import type { Checkpoint, NoteKey } from './checkpoint.ts';
import { streamFolders } from './segment.ts';
import { verifyStream } from './stream-verifier.ts';

/** What somebody kept where the log's writer could not reach it. */
export interface Evidence {
  /** All anchors of the tenant's keystore: a stream that is not among them has no business here. */
  readonly anchors?: readonly Anchor[] | undefined;
  /** Kept checkpoints, of any of the streams. */
  readonly checkpoints?: readonly Checkpoint[] | undefined;
  /** The public key that must have signed; else it is taken from the anchor, or from the folder itself. */
  readonly key?: NoteKey | undefined;
}

export interface VerifyOptions extends Evidence {
  /** Clocks are corrected all the time; more than this is a finding. */
  readonly clockToleranceMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export type FindingKind =
  'changed' | 'missing' | 'repeated' | 'segment' | 'stream' | 'rollback' | 'checkpoint' | 'clock';

/** Something that must not be. */
export interface Finding {
  readonly kind: FindingKind;
  /** The first record concerned, where there is one. */
  readonly index?: number | undefined;
  /** For people, one line. */
  readonly text: string;
}

export interface StreamReport {
  readonly stream: string;
  readonly tenant: string | undefined;
  readonly node: string | undefined;
  /** Records that follow on each other from the first one on. */
  readonly records: number;
  /** Records up to here are as an anchor or a kept checkpoint knows them: none is missing or changed. */
  readonly attested: number | undefined;
  /** Records up to here are as a checkpoint in the folder says. */
  readonly signed: number;
  readonly ended: boolean | undefined;
  readonly firstTime: string | undefined;
  readonly lastTime: string | undefined;
  readonly findings: readonly Finding[];
  /** Things a person may want to know that are no fault. */
  readonly notices: readonly string[];
}

/** `verified`: every stream is attested and nothing was found. `unattested`: nothing found, and later removal not excluded. */
export type Verdict = 'verified' | 'unattested' | 'wrong';

export interface TrailReport {
  readonly verdict: Verdict;
  readonly streams: readonly StreamReport[];
  /** Findings that belong to no stream that is here. */
  readonly findings: readonly Finding[];
}

export const defaultClockToleranceMs = 60_000;

/**
 * @param trail the folder of a trail, or of one stream
 * @throws when the folder cannot be read
 */
export async function verifyTrail(trail: string, options: VerifyOptions = {}): Promise<TrailReport> {
  const folder = path.resolve(trail);
  const alone = await isStreamFolder(folder);
  const folders = alone ? [folder] : await streamFolders(folder);
  const here = new Set(folders.map((found) => path.basename(found)));
  const findings: Finding[] = [];
  const streams: StreamReport[] = [];
  for (const found of folders) streams.push(await verifyStream(found, options));
  for (const anchor of alone ? [] : (options.anchors ?? [])) {
    if (here.has(anchor.stream)) continue;
    const size = anchor.checkpoint?.size ?? 0;
    const text = `stream ${anchor.stream} of node ${anchor.node} is missing: its anchor knows ${size} records`;
    findings.push({ kind: 'stream', text });
  }
  for (const checkpoint of alone ? [] : (options.checkpoints ?? [])) {
    const stream = checkpoint.origin.split('/').at(-1)!;
    if (here.has(stream)) continue;
    const text = `stream ${stream} is missing: a kept checkpoint knows ${checkpoint.size} records of ${checkpoint.origin}`;
    findings.push({ kind: 'stream', text });
  }
  if (folders.length === 0 && findings.length === 0)
    findings.push({ kind: 'stream', text: `there is no stream in ${folder}` });
  const wrong = findings.length > 0 || streams.some((stream) => stream.findings.length > 0);
  const attested = streams.every((stream) => stream.attested !== undefined);
  return { verdict: wrong ? 'wrong' : attested ? 'verified' : 'unattested', streams, findings };
}

async function isStreamFolder(folder: string): Promise<boolean> {
  if (!/^[0-9a-f]{32}$/.test(path.basename(folder))) return false;
  return (await stat(folder)).isDirectory();
}
