/** Judges one stream: see verifier.ts. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { chainFieldsOf, noPrevious, type ChainFields } from './chain.ts';
import {
  checkpointsIn,
  isSignedBy,
  noteKeyNamed,
  originOf,
  parseNoteKey,
  type Checkpoint,
  type NoteKey,
} from './checkpoint.ts';
import { ClockWatch, timeOf } from './clock-watch.ts';
import { Frontier, leafHash, type Hash } from './merkle.ts';
import {
  checkpointsName,
  descriptionName,
  readDescription,
  readLines,
  readStreamFolder,
  type ReadLine,
  type Segment,
  type StreamFiles,
} from './segment.ts';
import {
  defaultClockToleranceMs,
  type Finding,
  type FindingKind,
  type StreamReport,
  type VerifyOptions,
} from './verifier.ts';

export async function verifyStream(folder: string, options: VerifyOptions): Promise<StreamReport> {
  return new StreamVerifier(await readStreamFolder(folder), options).run();
}

/** The tree must have this root at this size. */
interface Expectation {
  readonly checkpoint: Checkpoint;
  /** `anchor` and `kept` come from outside the folder. */
  readonly from: 'anchor' | 'kept' | 'folder';
}

const sources: Readonly<Record<Expectation['from'], string>> = {
  anchor: 'the anchor',
  kept: 'a kept checkpoint',
  folder: 'a checkpoint in the folder',
};

class StreamVerifier {
  readonly #files: StreamFiles;
  readonly #options: VerifyOptions;
  readonly #findings: Finding[] = [];
  readonly #notices: string[] = [];
  readonly #tree = new Frontier();
  readonly #clock: ClockWatch;
  #key: NoteKey | undefined;
  /** What the next record must name. */
  #previous: Hash = noPrevious;
  /** Expectations from outside, by size. */
  readonly #outside: Expectation[] = [];
  /** Those of the segment at hand. */
  #inside: Expectation[] = [];
  /** Size up to which a matching checkpoint vouches. */
  #attested: number | undefined;
  #signed = 0;
  /** A link broke at this record and the one after it may tell more: see {@link #linkBroke}. */
  #suspect: { index: number; repaired: Hash; tree: Frontier } | undefined;
  /** The first fault in the records has been found: what comes after cannot be judged. */
  #over = false;
  #firstTime: string | undefined;
  #lastTime: string | undefined;

  constructor(files: StreamFiles, options: VerifyOptions) {
    this.#files = files;
    this.#options = options;
    this.#clock = new ClockWatch(options.clockToleranceMs ?? defaultClockToleranceMs);
  }

  async run(): Promise<StreamReport> {
    const { folder, stream, strange, quarantined } = this.#files;
    const description = await readDescription(folder);
    const anchor = this.#options.anchors?.find((found) => found.stream === stream);
    const tenant = anchor === undefined ? description?.tenant : anchor.tenant;
    if (description === undefined)
      this.#found('stream', undefined, `${descriptionName} is missing or not one`);
    if (anchor !== undefined && description !== undefined && description.key !== anchor.keyText)
      this.#found(
        'stream',
        undefined,
        `${descriptionName} names another key or tenant than the stream's anchor`,
      );
    if (this.#options.anchors !== undefined && anchor === undefined)
      this.#found('stream', undefined, 'the stream is in no anchor');
    const own = anchor?.key ?? parseNoteKey(description?.key ?? '');
    const origin = own?.name ?? originOf(tenant, stream);
    if (!origin.endsWith(`/${stream}`))
      this.#found('stream', undefined, `its key is for another stream, ${origin}`);
    this.#key = this.#options.key === undefined ? own : noteKeyNamed(this.#options.key, origin);
    if (own !== undefined && this.#key !== undefined && !own.raw.equals(this.#key.raw))
      this.#found('stream', undefined, 'its checkpoints are signed with another key than the one given');
    this.#expectFromOutside(origin, anchor?.checkpoint);
    for (const name of strange) this.#notices.push(`${name} is no file of a stream`);
    for (const name of quarantined)
      this.#notices.push(`${name} holds what a crash or a full disk left half-written; it is no record`);
    this.#meetAll();
    await this.#readSegments();
    this.#finish();
    const attested = this.#attested;
    const records = this.#tree.size;
    if (attested !== undefined && records > attested && this.#findings.length === 0) {
      const since =
        anchor?.ended === true ? 'after the stream had ended, as its anchor says' : 'and not attested yet';
      this.#notices.push(
        `records ${attested} to ${records - 1} are newer ${since}: removal of later ones is not excluded`,
      );
    }
    return {
      stream,
      tenant,
      node: anchor?.node ?? description?.node,
      records,
      attested,
      signed: this.#signed,
      ended: anchor?.ended,
      firstTime: this.#firstTime,
      lastTime: this.#lastTime,
      findings: this.#findings,
      notices: this.#notices,
    };
  }

  #expectFromOutside(origin: string, anchored: Checkpoint | undefined): void {
    const { stream } = this.#files;
    if (anchored !== undefined) this.#expect(this.#outside, { checkpoint: anchored, from: 'anchor' });
    else if (this.#options.anchors?.some((anchor) => anchor.stream === stream)) this.#attested = 0;
    for (const checkpoint of this.#options.checkpoints ?? []) {
      if (checkpoint.origin === origin) this.#expect(this.#outside, { checkpoint, from: 'kept' });
      else if (checkpoint.origin.endsWith(`/${stream}`))
        this.#found('stream', undefined, `a kept checkpoint is of ${checkpoint.origin}, not of ${origin}`);
    }
    this.#outside.sort((a, b) => a.checkpoint.size - b.checkpoint.size);
  }

  /** Keeps what is signed as it must be, and tells of the rest. */
  #expect(list: Expectation[], expectation: Expectation): void {
    const { checkpoint, from } = expectation;
    if (this.#key !== undefined && isSignedBy(checkpoint, this.#key)) list.push(expectation);
    else
      this.#found(
        'checkpoint',
        undefined,
        `${sources[from]} over ${checkpoint.size} records is not signed by the stream's key`,
      );
  }

  async #readSegments(): Promise<void> {
    const { segments } = this.#files;
    for (const [at, segment] of segments.entries()) {
      this.#options.signal?.throwIfAborted();
      if (this.#over) return;
      const before = segments[at - 1];
      if (before?.first === segment.first) {
        await this.#compareTwins(before, segment);
        continue;
      }
      const next = segments.slice(at + 1).find(({ first }) => first !== segment.first);
      const size = this.#tree.size;
      if (segment.first > size) {
        this.#missing(
          segment.first,
          at === 0 ? 'the segments before it are gone' : 'a segment, or its end, is gone',
        );
        return;
      }
      if (segment.first < size) {
        this.#found(
          'repeated',
          segment.first,
          `${path.basename(segment.file)} begins at record ${segment.first}, which the segment before it has too`,
        );
        this.#over = true;
        return;
      }
      await this.#readCheckpoints(segment, next);
      try {
        for await (const lines of readLines(segment)) {
          this.#options.signal?.throwIfAborted();
          for (const line of lines) {
            this.#take(line, segment, next === undefined);
            if (this.#over) return;
          }
        }
      } catch (error) {
        this.#options.signal?.throwIfAborted();
        this.#settleSuspect(undefined);
        const reason = error instanceof Error ? error.message : String(error);
        this.#found(
          'segment',
          this.#tree.size,
          `${path.basename(segment.file)} cannot be read beyond record ${this.#tree.size - 1}: ${reason}`,
        );
        this.#over = true;
        return;
      }
    }
  }

  /** A crash between compressing a segment and removing it leaves both: they must say the same. */
  async #compareTwins(plain: Segment, compressed: Segment): Promise<void> {
    const names = `${path.basename(plain.file)} and ${path.basename(compressed.file)}`;
    if ((await digestOf(plain)) === (await digestOf(compressed)))
      this.#notices.push(`${names} hold the same records`);
    else
      this.#found(
        'segment',
        plain.first,
        `${names} both begin at record ${plain.first} and are not the same`,
      );
  }

  async #readCheckpoints(segment: Segment, next: Segment | undefined): Promise<void> {
    this.#settleInside();
    const name = checkpointsName(segment.first);
    let text: string;
    try {
      text = await readFile(path.join(this.#files.folder, name), 'utf8');
    } catch {
      if (next !== undefined)
        this.#notices.push(`${name} is missing: ${path.basename(segment.file)} has no checkpoint of its own`);
      return;
    }
    const found: Expectation[] = [];
    const notes = [...checkpointsIn(text)];
    for (const [at, checkpoint] of notes.entries()) {
      if (checkpoint !== undefined) this.#expect(found, { checkpoint, from: 'folder' });
      // The last one may be on its way, or torn by a crash.
      else if (at < notes.length - 1)
        this.#found('checkpoint', undefined, `${name} holds something that is no checkpoint (note ${at})`);
    }
    this.#inside = found.sort((a, b) => a.checkpoint.size - b.checkpoint.size);
    for (const { checkpoint } of found.filter(({ checkpoint: { size } }) => size < segment.first))
      this.#found('checkpoint', undefined, `${name} has a checkpoint over ${checkpoint.size} records`);
    this.#inside = this.#inside.filter(({ checkpoint: { size } }) => size >= segment.first);
    this.#meetAll();
  }

  #take({ bytes, whole }: ReadLine, segment: Segment, isLast: boolean): void {
    const index = this.#tree.size;
    if (!whole && isLast && bytes.length < 65_536) {
      this.#notices.push(
        `${path.basename(segment.file)} ends in a piece of ${bytes.length} bytes: a record on its way, or what a crash left`,
      );
      return;
    }
    const fields = whole ? chainFieldsOf(bytes) : undefined;
    if (fields === undefined) {
      this.#settleSuspect(undefined);
      this.#wrong('changed', index, `what stands in the place of record ${index} is no record`);
      return;
    }
    if (fields.stream !== this.#files.stream) {
      this.#settleSuspect(undefined);
      this.#wrong('changed', index, `record ${index} is of another stream, ${fields.stream}`);
      return;
    }
    if (fields.sequence !== index) {
      this.#settleSuspect(undefined);
      if (fields.sequence > index && fields.previous !== this.#previous)
        this.#missing(fields.sequence, 'lines are gone');
      else if (fields.sequence < index)
        this.#wrong(
          'repeated',
          index,
          `record ${fields.sequence} stands again in the place of record ${index}`,
        );
      else
        this.#wrong(
          'changed',
          index,
          `what stands in the place of record ${index} says it is record ${fields.sequence}`,
        );
      return;
    }
    this.#settleSuspect(fields.previous);
    if (this.#over) return;
    if (fields.previous !== this.#previous) this.#linkBroke(fields, bytes);
    this.#note(bytes, fields, index);
    const leaf = leafHash(bytes);
    this.#tree.append(leaf);
    this.#previous = leaf;
    this.#meetAll();
  }

  /**
   * Record `sequence` names another hash than the record before it has. Mostly that one was changed. But where the record after
   * it, or a checkpoint, fits this record with its link put right, it was the link.
   */
  #linkBroke({ sequence, previous }: ChainFields, bytes: Buffer): void {
    if (sequence === 0 && previous === noPrevious) return;
    const repaired = Buffer.from(bytes.toString('latin1').replace(previous, this.#previous), 'latin1');
    this.#suspect = { index: sequence, repaired: leafHash(repaired), tree: this.#tree.copy() };
  }

  /** Decides which record was changed, by the link of the one after it or by the root of a tree that ends with it. */
  #settleSuspect(next: Hash | undefined, root?: Hash): void {
    const suspect = this.#suspect;
    if (suspect === undefined) return;
    this.#suspect = undefined;
    const { index, repaired, tree } = suspect;
    if (root !== undefined) tree.append(repaired);
    if (index === 0 || next === repaired || (root !== undefined && tree.root() === root)) {
      this.#wrong('changed', index, `record ${index} was changed: its link to the one before it is wrong`);
      return;
    }
    this.#wrong(
      'changed',
      index - 1,
      `record ${index - 1} was changed: it does not have the hash that record ${index} names`,
    );
  }

  #note(bytes: Buffer, fields: ChainFields, index: number): void {
    const time = timeOf(bytes);
    if (time === undefined) return;
    this.#firstTime ??= time;
    this.#lastTime = time;
    const moved = this.#clock.look(Date.parse(time), fields.uptimeMs);
    if (moved !== undefined) this.#found('clock', index, `record ${index}: ${moved}`);
  }

  #meetAll(): void {
    this.#meet(this.#outside);
    this.#meet(this.#inside);
  }

  /** Compares the tree with what is expected at this size. */
  #meet(list: Expectation[]): void {
    while (!this.#over && list[0]?.checkpoint.size === this.#tree.size) {
      const { checkpoint, from } = list.shift()!;
      if (this.#suspect !== undefined) {
        this.#settleSuspect(undefined, checkpoint.root);
        return;
      }
      const { size } = checkpoint;
      if (this.#tree.root() === checkpoint.root) {
        this.#signed = size;
        if (from !== 'folder') this.#attested = size;
        continue;
      }
      const since = Math.max(this.#signed, this.#attested ?? 0);
      const range = since === size - 1 ? `record ${since} is` : `records ${since} to ${size - 1} are`;
      const which =
        since === size - 1
          ? ''
          : `: their links fit, so either record ${size - 1} was changed, or all from a changed one on were linked anew`;
      this.#wrong('changed', size - 1, `${range} not those that ${sources[from]} is over${which}`);
    }
  }

  /** Checkpoints of the last segment that nothing was there for. */
  #settleInside(): void {
    const left = this.#inside.at(-1)?.checkpoint;
    this.#inside = [];
    if (left === undefined || this.#over) return;
    this.#cut(left.size, 'folder');
  }

  #finish(): void {
    if (!this.#over) this.#settleSuspect(undefined);
    if (!this.#over) this.#settleInside();
    if (this.#over) return;
    const last = this.#outside.at(-1);
    if (last !== undefined) this.#cut(last.checkpoint.size, last.from);
  }

  #cut(size: number, from: Expectation['from']): void {
    const here = this.#tree.size;
    this.#wrong(
      'rollback',
      here,
      `records ${here} to ${size - 1} are missing at the end: ${sources[from]} is over ${size} records`,
    );
  }

  #missing(next: number, why: string): void {
    this.#settleSuspect(undefined);
    if (this.#over) return;
    const size = this.#tree.size;
    const which = next - size === 1 ? `record ${size} is` : `records ${size} to ${next - 1} are`;
    this.#wrong('missing', size, `${which} missing: ${why}`);
  }

  #found(kind: FindingKind, index: number | undefined, text: string): void {
    // A clock that is wrong is wrong for every record after it: the first place says it.
    if (kind === 'clock' && this.#findings.some((finding) => finding.kind === 'clock')) return;
    this.#findings.push({ kind, index, text });
  }

  #wrong(kind: FindingKind, index: number, text: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#found(kind, index, text);
  }
}

async function digestOf(segment: Segment): Promise<string> {
  const digest = createHash('sha256');
  try {
    for await (const lines of readLines(segment))
      for (const { bytes, whole } of lines) digest.update(bytes).update(whole ? '\n' : '');
  } catch {
    return `unreadable ${segment.file}`;
  }
  return digest.digest('hex');
}
