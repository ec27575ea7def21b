/**
 * Reads a stream's records from its files, from some record on, while it is being written. So the trail itself is the
 * spool of what has not been shipped: it takes no disk of its own, and only one batch is ever in memory.
 */
import { readLines, readStreamFolder, type ReadLine, type Segment } from '../segment.ts';

export class TrailReader {
  readonly #folder: string;
  /** Number of the next record. */
  #next: number;
  #segment: Segment | undefined;
  /** Bytes of the segment that have been given out. */
  #offset = 0;
  #lines: AsyncGenerator<ReadLine[]> | undefined;
  #waiting: Buffer[] = [];

  constructor(folder: string, next: number) {
    this.#folder = folder;
    this.#next = next;
  }

  get next(): number {
    return this.#next;
  }

  /**
   * Up to `most` records from the next one on; none when there are no more yet.
   * @returns `gap`: records that are gone, before the ones given out
   */
  async read(most: number): Promise<{ first: number; lines: Buffer[]; gap: number }> {
    let gap = 0;
    while (this.#waiting.length === 0) {
      if (this.#lines === undefined && !(await this.#open())) return { first: this.#next, lines: [], gap };
      const { segment, skipped } = this.#takeSkip();
      gap += skipped;
      const more = await this.#lines!.next();
      if (more.done === true) {
        this.#lines = undefined;
        if (!(await this.#hasLater(segment))) return { first: this.#next, lines: [], gap };
        this.#segment = undefined;
        continue;
      }
      // A piece at the end is a record on its way.
      for (const { bytes, whole } of more.value) if (whole) this.#waiting.push(bytes);
    }
    const lines = this.#waiting.splice(0, most);
    const first = this.#next;
    this.#next += lines.length;
    for (const line of lines) this.#offset += line.length + 1;
    return { first, lines, gap };
  }

  async close(): Promise<void> {
    await this.#lines?.return(undefined);
    this.#lines = undefined;
  }

  #skipped = 0;

  #takeSkip(): { segment: Segment; skipped: number } {
    const skipped = this.#skipped;
    this.#skipped = 0;
    return { segment: this.#segment!, skipped };
  }

  /** Opens the segment that holds the next record, at it. */
  async #open(): Promise<boolean> {
    if (this.#segment !== undefined) {
      this.#lines = readLines(this.#segment, this.#offset);
      return true;
    }
    const { segments } = await readStreamFolder(this.#folder);
    const segment =
      segments.findLast(({ first }) => first <= this.#next) ??
      segments.find(({ first }) => first > this.#next);
    if (segment === undefined) return false;
    // Of a segment's two forms the plain one, which comes first.
    this.#segment = segments.find(({ first }) => first === segment.first)!;
    this.#offset = 0;
    if (segment.first > this.#next) {
      this.#skipped = segment.first - this.#next;
      this.#next = segment.first;
    }
    this.#lines = readLines(this.#segment);
    let toSkip = this.#next - segment.first;
    while (toSkip > 0) {
      const more = await this.#lines.next();
      if (more.done === true) break;
      for (const { bytes, whole } of more.value) {
        if (!whole) continue;
        if (toSkip > 0) {
          toSkip--;
          this.#offset += bytes.length + 1;
        } else this.#waiting.push(bytes);
      }
    }
    return true;
  }

  async #hasLater({ first }: Segment): Promise<boolean> {
    const { segments } = await readStreamFolder(this.#folder);
    return segments.some((segment) => segment.first > first && segment.first >= this.#next);
  }
}
