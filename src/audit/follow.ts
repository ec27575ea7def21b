/** Goes on reading a trail as it is written: by all processes that write it, streams that begin meanwhile included. */
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { recordMatcher, type SearchFilter } from './search.ts';
import { fileAsSegment, readLines, segmentFolders, segmentsOf, type Segment } from './segment.ts';
import { tailOf } from './tail.ts';

/** How far a stream has been read. */
interface Place {
  /** First record of the segment. */
  first: number;
  /** Bytes of the plain segment. */
  offset: number;
}

const plainFile = '';

export class TrailFollower {
  readonly #trail: string;
  readonly #matches: (line: Buffer) => boolean;
  /** By folder. */
  readonly #places = new Map<string, Place>();
  #isFile = false;

  constructor(trail: string, filter: SearchFilter) {
    this.#trail = path.resolve(trail);
    this.#matches = recordMatcher(filter);
  }

  /** From here on, or from the place that was reached. */
  async begin(): Promise<void> {
    for (const folder of await this.#folders()) {
      const segment = (await this.#segments(folder)).at(-1);
      if (segment === undefined) continue;
      const isOpen = segment.compression === 'none';
      // What is compressed is over.
      this.#places.set(
        folder,
        isOpen
          ? { first: segment.first, offset: (await tailOf(segment.file)).end }
          : { first: segment.first + 1, offset: 0 },
      );
    }
  }

  /** What was written since, in the order of each stream. */
  async *more(signal?: AbortSignal): AsyncGenerator<Buffer> {
    for (const folder of await this.#folders()) {
      let place = this.#places.get(folder);
      if (place === undefined) this.#places.set(folder, (place = { first: 0, offset: 0 }));
      for (const segment of await this.#segments(folder)) {
        signal?.throwIfAborted();
        if (segment.first < place.first) continue;
        if (segment.first > place.first) [place.first, place.offset] = [segment.first, 0];
        if (segment.compression === 'none') {
          const size = (await stat(segment.file).catch(() => undefined))?.size;
          // It is being compressed: the next time it will be there again.
          if (size === undefined) break;
          // A plain file that was rotated begins anew.
          if (size < place.offset && this.#isFile) place.offset = 0;
          if (size <= place.offset) continue;
        }
        for await (const lines of readLines(segment, place.offset)) {
          for (const { bytes, whole } of lines) {
            // A piece at the end is a record on its way.
            if (!whole) continue;
            place.offset += bytes.length + 1;
            if (this.#matches(bytes)) yield bytes;
          }
        }
        if (segment.compression !== 'none') [place.first, place.offset] = [segment.first + 1, 0];
      }
    }
  }

  async #folders(): Promise<string[]> {
    const folders = await segmentFolders(this.#trail);
    this.#isFile ||= folders === undefined;
    return folders ?? [plainFile];
  }

  async #segments(folder: string): Promise<Segment[]> {
    return folder === plainFile ? [fileAsSegment(this.#trail)] : segmentsOf(folder);
  }
}
