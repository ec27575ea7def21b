/**
 * Makes checkpoints of one stream: flushes what they are over, signs, appends them beside the segments, writes down the stream's
 * position, tells the anchor, and compresses segments once they are sealed. Nobody waits for any of it.
 */
import type { KeyObject } from 'node:crypto';
import { readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Anchorage } from './anchorage.ts';
import { signCheckpoint, type Checkpoint } from './checkpoint.ts';
import { CheckpointFiles } from './checkpoint-file.ts';
import { onLane } from './lane.ts';
import { compressSegment, flush } from './seal.ts';
import { parseSegmentName, segmentName, stateName, type Compression } from './segment.ts';
import type { TrailHead, TrailPosition } from './trail-target.ts';

export interface NotaryOptions {
  readonly folder: string;
  readonly origin: string;
  readonly privateKey: KeyObject;
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
  #work: Promise<unknown> = Promise.resolve();

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
    const { disk, anchorage, now } = this.#options;
    const work = this.#work.then(async () => {
      const isOld = head.size === (this.#last?.size ?? 0) && head.sealed.length === 0;
      if (isOld && !ended && this.#fault === undefined && anchorage?.trouble === undefined) return;
      try {
        if (!isOld) this.#last = await onLane(disk, () => this.#write(head));
        this.#fault = undefined;
      } catch (error) {
        this.#fault = `no checkpoint can be written: ${textOf(error)}`;
        return;
      }
      await anchorage?.update(this.#last, ended, now());
      if (head.sealed.length > 0) this.#compressLater(head.segment);
    });
    this.#work = work;
    return work;
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
    const { folder, origin, privateKey } = this.#options;
    // A checkpoint says that records are there, so they had better survive the machine's crash.
    for (const first of [...head.sealed.map((sealed) => sealed.first), head.segment])
      await flush(path.join(folder, segmentName(first)));
    let last: Checkpoint | undefined;
    for (const { first, size, root } of head.sealed) {
      last = signCheckpoint({ origin, size, root }, privateKey);
      await this.#files.append(first, last);
    }
    if (last?.size !== head.size) {
      last = signCheckpoint({ origin, size: head.size, root: head.root }, privateKey);
      await this.#files.append(head.segment, last);
    }
    await flush(folder);
    await writePosition(folder, head);
    return last!;
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
  return error instanceof Error ? error.message : String(error);
}
