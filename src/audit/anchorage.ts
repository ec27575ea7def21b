/**
 * Keeps a stream's anchor in its tenant's keystore up to date (anchor.ts). One write is under way at a time; what could not be
 * written is tried again with the next checkpoint, and meanwhile the stream says so.
 */
import { hasCode } from '../errors.ts';
import type { RecordStore } from '../keystores/index.ts';
import { anchorFolder, formatAnchor, parseAnchorRecord, type Anchor } from './anchor.ts';
import type { Checkpoint } from './checkpoint.ts';

/** Conflicts in a row before it is left to the next checkpoint. */
const mostTries = 3;

export class Anchorage {
  readonly #records: RecordStore;
  readonly #path: string;
  #anchor: Anchor;
  #revision: number;
  /** Why the anchor is behind; undefined when it is not. */
  trouble: string | undefined;

  private constructor(records: RecordStore, anchor: Anchor, revision: number) {
    this.#records = records;
    this.#path = `${anchorFolder}/${anchor.stream}`;
    this.#anchor = anchor;
    this.#revision = revision;
  }

  /** What the keystore knows of a stream; rejects when it cannot be asked or what is there is no anchor. */
  static async look(records: RecordStore, stream: string): Promise<Anchor | 'damaged' | undefined> {
    const stored = await records.read(`${anchorFolder}/${stream}`);
    return stored === undefined ? undefined : (parseAnchorRecord(stored.value) ?? 'damaged');
  }

  /** `anchor` is how the stream is known before its first checkpoint. Nothing is written yet. */
  static of(records: RecordStore, anchor: Anchor): Anchorage {
    return new Anchorage(records, anchor, 0);
  }

  /** Never rejects: {@link trouble} tells. */
  async update(checkpoint: Checkpoint | undefined, ended: boolean, now: string): Promise<void> {
    const wanted: Anchor = {
      ...this.#anchor,
      checkpoint: checkpoint ?? this.#anchor.checkpoint,
      ended,
      updated: now,
    };
    try {
      for (let tries = 0; ; tries++) {
        try {
          this.#revision = await this.#records.write(this.#path, formatAnchor(wanted), this.#revision);
          break;
        } catch (error) {
          if (!hasCode(error, 'SELLO_RECORD_CONFLICT') || tries === mostTries) throw error;
          if (!(await this.#learn(wanted))) return;
        }
      }
      this.#anchor = wanted;
      this.trouble = undefined;
    } catch (error) {
      const detail =
        error instanceof Error && 'detail' in error ? String(error.detail ?? error.message) : String(error);
      this.trouble = `the anchor cannot be written: ${detail}`;
    }
  }

  /** Somebody wrote the record since: an earlier process, or one that should not. False when it knows more than this stream has. */
  async #learn(wanted: Anchor): Promise<boolean> {
    const stored = await this.#records.read(this.#path);
    if (stored === undefined) {
      this.#revision = 0;
      return true;
    }
    const there = parseAnchorRecord(stored.value);
    const size = wanted.checkpoint?.size ?? 0;
    if (there === undefined || there.keyText !== wanted.keyText) {
      this.trouble = 'the anchor in the keystore is damaged or of another key; it is left as it is';
      return false;
    }
    if ((there.checkpoint?.size ?? 0) > size && wanted.checkpoint !== undefined) {
      this.trouble = `the anchor knows ${there.checkpoint?.size} records, this stream has ${size}: the log was put back, or two processes write it`;
      return false;
    }
    if (wanted.checkpoint === undefined) this.#anchor = { ...this.#anchor, checkpoint: there.checkpoint };
    this.#revision = stored.revision;
    return true;
  }
}
