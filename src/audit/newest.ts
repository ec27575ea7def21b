/**
 * The newest records of a trail that fit, newest first: what somebody at a screen wants to see. Reads segments from the newest on and
 * stops when no older one can hold anything newer, so a search in a long trail costs what its answer needs.
 */
import path from 'node:path';
import { timeOf } from './clock-watch.ts';
import { disorderMs, firstTime, recordMatcher, type SearchFilter } from './search.ts';
import { fileAsSegment, readLines, segmentFolders, segmentsOf, type Segment } from './segment.ts';
import { tailOf } from './tail.ts';

/** A segment, and times that all its records lie between. */
interface Span {
  readonly segment: Segment;
  readonly fromMs: number;
  readonly untilMs: number;
}

interface Held {
  readonly timeMs: number;
  readonly line: Buffer;
}

/** At most `most` lines, newline excluded. */
export async function* newestRecords(
  trail: string,
  filter: SearchFilter,
  most: number,
  signal?: AbortSignal,
): AsyncGenerator<Buffer> {
  const matches = recordMatcher(filter);
  const { sinceMs = -Infinity, untilMs = Infinity } = filter;
  const spans = (await spansOf(path.resolve(trail)))
    .filter((span) => span.untilMs >= sinceMs && span.fromMs <= untilMs)
    .sort((a, b) => b.untilMs - a.untilMs || b.fromMs - a.fromMs);
  let held: Held[] = [];
  let given = 0;
  for (const [at, { segment }] of spans.entries()) {
    for await (const lines of readLines(segment)) {
      signal?.throwIfAborted();
      for (const { bytes, whole } of lines) {
        if (!whole || !matches(bytes)) continue;
        // A copy: the line is a view of a whole block of the file.
        held.push({ timeMs: Date.parse(timeOf(bytes) ?? '') || 0, line: Buffer.from(bytes) });
      }
      if (held.length > 2 * most) held = newest(held, most - given);
    }
    held = newest(held, most - given);
    const next = spans[at + 1]?.untilMs ?? -Infinity;
    let certain = 0;
    while (certain < held.length && held[certain]!.timeMs > next) certain++;
    for (const { line } of held.splice(0, certain)) {
      given++;
      yield line;
    }
    if (given >= most) return;
  }
}

function newest(held: readonly Held[], most: number): Held[] {
  // Of records of one moment the later one in its file is the newer one.
  return held
    .map((one, place) => ({ one, place }))
    .sort((a, b) => b.one.timeMs - a.one.timeMs || b.place - a.place)
    .slice(0, most)
    .map(({ one }) => one);
}

async function spansOf(trail: string): Promise<Span[]> {
  const folders = await segmentFolders(trail);
  if (folders === undefined) return [{ segment: fileAsSegment(trail), fromMs: -Infinity, untilMs: Infinity }];
  const spans: Span[] = [];
  for (const folder of folders) {
    const alone = await segmentsOf(folder);
    let endsMs = await lastTime(alone.at(-1));
    for (const segment of alone.toReversed()) {
      const beginsMs = await firstTime(segment);
      spans.push({
        segment,
        fromMs: (beginsMs ?? -Infinity) - disorderMs,
        untilMs: endsMs + disorderMs,
      });
      endsMs = beginsMs ?? Infinity;
    }
  }
  return spans;
}

async function lastTime(segment: Segment | undefined): Promise<number> {
  if (segment?.compression !== 'none') return Infinity;
  const line = (await tailOf(segment.file).catch(() => undefined))?.line;
  const time = line === undefined ? undefined : timeOf(line);
  return time === undefined ? Infinity : Date.parse(time);
}
