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
 * @param trails folders of a trail, or of one stream: of several nodes each its copy. Only where one stream alone is given are others
 *   not missed.
 * @throws when a folder cannot be read
 */
export async function verifyTrail(
  trails: string | readonly string[],
  options: VerifyOptions = {},
): Promise<TrailReport> {
  const given = (typeof trails === 'string' ? [trails] : trails).map((trail) => path.resolve(trail));
  const findings: Finding[] = [];
  const folders: string[] = [];
  const empty: string[] = [];
  let alone = given.length === 1;
  for (const folder of new Set(given)) {
    const isStream = await isStreamFolder(folder);
    alone &&= isStream;
    const found = isStream ? [folder] : await streamFolders(folder);
    folders.push(...found);
    if (found.length === 0) empty.push(folder);
  }
  const streams: StreamReport[] = [];
  for (const found of new Set(folders)) {
    const copies = folders.filter(
      (other) => other !== found && path.basename(other) === path.basename(found),
    );
    const report = await verifyStream(found, options);
    const notices = [...new Set(copies)].map((copy) => `this is ${found}; another copy is ${copy}`);
    streams.push(notices.length === 0 ? report : { ...report, notices: [...report.notices, ...notices] });
  }
  if (!alone) findings.push(...missing(new Set(streams.map(({ stream }) => stream)), options));
  // Of several folders each should have some: one that was not copied is not to be overlooked.
  if (given.length > 1 || findings.length === 0)
    for (const folder of empty) findings.push({ kind: 'stream', text: `there is no stream in ${folder}` });
  const wrong = findings.length > 0 || streams.some((stream) => stream.findings.length > 0);
  const attested = streams.every((stream) => stream.attested !== undefined);
  return { verdict: wrong ? 'wrong' : attested ? 'verified' : 'unattested', streams, findings };
}

/** Streams that somebody wrote, as anchors and kept checkpoints know, and that are not here. */
function missing(here: ReadonlySet<string>, { anchors = [], checkpoints = [] }: Evidence): Finding[] {
  const findings: Finding[] = [];
  for (const { stream, node, checkpoint, updated } of anchors) {
    if (here.has(stream)) continue;
    const size = checkpoint?.size ?? 0;
    const last = size === 0 ? '' : `, the last one number ${size - 1}, checkpointed at ${updated}`;
    findings.push({
      kind: 'stream',
      text: `stream ${stream} of node ${node} is missing: its anchor knows ${size} records${last}`,
    });
  }
  for (const { origin, size } of checkpoints) {
    const stream = origin.split('/').at(-1)!;
    if (here.has(stream)) continue;
    findings.push({
      kind: 'stream',
      text: `stream ${stream} is missing: a kept checkpoint knows ${size} records of ${origin}`,
    });
  }
  return findings;
}

async function isStreamFolder(folder: string): Promise<boolean> {
  if (!/^[0-9a-f]{32}$/.test(path.basename(folder))) return false;
  return (await stat(folder)).isDirectory();
}
