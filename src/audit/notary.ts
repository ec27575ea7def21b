/**
 * Makes checkpoints of one stream: flushes what they are over, signs, appends them beside the segments, writes down the stream's
 * position, tells the anchor, and compresses segments once they are sealed. Nobody waits for any of it. While the disk or the signer is away
 * checkpoints come late: of those that are due meanwhile the last one says all, and segments get theirs once it is back.
 */
import { readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { SelloError } from '../errors.ts';
import type { Anchorage } from './anchorage.ts';
import { checkpointBody, signedCheckpoint, type Checkpoint } from './checkpoint.ts';
import { CheckpointFiles } from './checkpoint-file.ts';
import { onLane } from './lane.ts';
import { compressSegment, flush } from './seal.ts';
import { parseSegmentName, segmentName, stateName, type Compression } from './segment.ts';
import type { Signer } from './signer.ts';
import type { SealedSegment, TrailHead, TrailPosition } from './trail-target.ts';

export interface NotaryOptions {
  readonly folder: string;
  readonly origin: string;
  readonly signer: Signer;
  readonly compression: Compression;
  /** Which lane its work is queued on. */
  readonly disk: string;
  readonly anchorage: Anchorage | undefined;
  /** RFC 3339. */
  readonly now: () => string;
}

const fileMode = 0o640;

export class Notary {
  readonly #options: NotaryOptions;
  readonly #files: CheckpointFiles;
  /** Why there are no checkpoints at the moment. */
  #fault: string | undefined;
  #last: Checkpoint | undefined;
  #work: Promise<void> = Promise.resolve();
  /** Due, and not begun. */
  #due: { head: TrailHead; ended: boolean; readonly done: Promise<void> } | undefined;
  /** Sealed, and without their checkpoint. */
  #owed: readonly SealedSegment[] = [];

  constructor(options: NotaryOptions) {
    this.#options = options;
    this.#files = new CheckpointFiles(options.folder);
  }

  get trouble(): string | undefined {
    return this.#fault ?? this.#options.anchorage?.trouble;
  }

  get last(): Checkpoint | undefined {
    return this.#last;
  }

  /** Never rejects: {@link trouble} tells. Of several at once each waits for the one before it. */
  checkpoint(head: TrailHead, ended = false): Promise<void> {
    const due = this.#due;
    if (due !== undefined) {
      due.head = { ...head, sealed: [...due.head.sealed, ...head.sealed] };
      due.ended ||= ended;
      return due.done;
    }
    const done = this.#work.then(() => {
      const { head: latest, ended: isEnd } = this.#due!;
      this.#due = undefined;
      return this.#make(latest, isEnd);
    });
    this.#due = { head, ended, done };
    this.#work = done;
    return done;
  }

  async #make(head: TrailHead, ended: boolean): Promise<void> {
    const { anchorage, now } = this.#options;
    const sealed = [...this.#owed, ...head.sealed];
    const isOld = head.size === (this.#last?.size ?? 0) && sealed.length === 0;
    if (isOld && !ended && this.#fault === undefined && anchorage?.trouble === undefined) return;
    try {
      if (!isOld) this.#last = await this.#write({ ...head, sealed });
      this.#owed = [];
      this.#fault = undefined;
    } catch (error) {
      this.#owed = sealed;
      this.#fault = `no checkpoint can be written: ${textOf(error)}`;
      return;
    }
    await anchorage?.update(this.#last, ended, now());
    if (sealed.length > 0) this.#compressLater(head.segment);
  }

  /** Tells the anchor that the stream exists, before there is anything to check. */
  announce(): Promise<void> {
    const { anchorage, now } = this.#options;
    const work = this.#work.then(() => anchorage?.update(undefined, false, now()));
    this.#work = work;
    return work;
  }

  /** Compresses what an earlier process left. */
  compressLeftovers(current: number): void {
    this.#compressLater(current);
  }

  async #write(head: TrailHead): Promise<Checkpoint> {
    const { disk, folder } = this.#options;
    // A checkpoint says that records are there, so they had better survive the machine's crash.
    await onLane(disk, async () => {
      for (const first of [...head.sealed.map((sealed) => sealed.first), head.segment])
        await flush(path.join(folder, segmentName(first)));
    });
    // Not on the disk's lane: others' checkpoints do not wait for this one's signer.
    const notes: { readonly segment: number; readonly checkpoint: Checkpoint }[] = [];
    for (const { first, size, root } of head.sealed)
      notes.push({ segment: first, checkpoint: await this.#sign(size, root) });
    if (head.sealed.at(-1)?.size !== head.size)
      notes.push({ segment: head.segment, checkpoint: await this.#sign(head.size, head.root) });
    await onLane(disk, async () => {
      for (const { segment, checkpoint } of notes) await this.#files.append(segment, checkpoint);
      await flush(folder);
      await writePosition(folder, head);
    });
    return notes.at(-1)!.checkpoint;
  }

  async #sign(size: number, root: string): Promise<Checkpoint> {
    const { origin, signer } = this.#options;
    const head = { origin, size, root };
    return signedCheckpoint(head, signer.key, await signer.sign(checkpointBody(head)));
  }

  /** The segment sealed last stays plain until the next one is sealed: a log shipper may still be reading it. */
  #compressLater(current: number): void {
    const { folder, compression, disk } = this.#options;
    if (compression === 'none') return;
    const work = onLane(disk, async () => {
      const plain = (await readdir(folder))
        .map((name) => parseSegmentName(folder, name))
        .filter((segment) => segment?.compression === 'none' && segment.first < current)
        .map((segment) => segment!.first)
        .sort((a, b) => a - b);
      for (const first of plain.slice(0, -1)) await compressSegment(folder, first, compression);
    });
    // What could not be compressed is complete as it is; the next segment tries again.
    work.catch((error: unknown) => {
      this.#fault ??= `a segment cannot be compressed: ${textOf(error)}`;
    });
  }
}

/** Writes down where a stream stands: a start reads only what comes behind it. */
export async function writePosition(
  folder: string,
  { size, previous, roots, segment, offset }: TrailPosition,
): Promise<void> {
  const temporary = path.join(folder, `.sello-tmp-${stateName}`);
  const text = `${JSON.stringify({ size, previous, roots, segment, offset })}\n`;
  try {
    await writeFile(temporary, text, { mode: fileMode, flush: true });
    await rename(temporary, path.join(folder, stateName));
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** True when the folder is there. */
export async function isThere(folder: string): Promise<boolean> {
  return (await stat(folder).catch(() => undefined)) !== undefined;
}

function textOf(error: unknown): string {
  if (error instanceof SelloError) return error.detail ?? error.message;
  return error instanceof Error ? error.message : String(error);
}
