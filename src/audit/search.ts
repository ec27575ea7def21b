/** Finds records of a trail: one pass over its files, a line at a time. */
import path from 'node:path';
import { timeOf } from './clock-watch.ts';
import { fileAsSegment, readLines, segmentFolders, segmentsOf, type Segment } from './segment.ts';

export interface SearchFilter {
  /** Milliseconds since the epoch; from, and up to but without. */
  readonly sinceMs?: number | undefined;
  readonly untilMs?: number | undefined;
  readonly tenant?: string | undefined;
  readonly key?: string | undefined;
  /** `BUCKET`, `BUCKET/OBJECT`, or either with `*` at the end. */
  readonly object?: string | undefined;
  /** An identity, or its beginning. */
  readonly identity?: string | undefined;
  readonly outcome?: string | undefined;
}

/** Records are in the order of their answers, which may take a while: a segment's first time is not quite the least. */
export const disorderMs = 600_000;

/** The lines that match, newline excluded: of each stream in order, and one stream after the other. */
export async function* searchTrail(
  trail: string,
  filter: SearchFilter,
  signal?: AbortSignal,
): AsyncGenerator<Buffer> {
  const matches = recordMatcher(filter);
  for await (const segment of segmentsIn(path.resolve(trail), filter)) {
    for await (const lines of readLines(segment)) {
      signal?.throwIfAborted();
      for (const { bytes, whole } of lines) if (whole && matches(bytes)) yield bytes;
    }
  }
}

/** Segments that may hold matches: of a trail, of a stream, or a plain audit file. */
async function* segmentsIn(trail: string, { sinceMs, untilMs }: SearchFilter): AsyncGenerator<Segment> {
  const folders = await segmentFolders(trail);
  if (folders === undefined) {
    yield fileAsSegment(trail);
    return;
  }
  for (const folder of folders) {
    const alone = await segmentsOf(folder);
    const begins = new Map<Segment, number | undefined>();
    if (sinceMs !== undefined || untilMs !== undefined)
      for (const segment of alone) begins.set(segment, await firstTime(segment));
    for (const [i, segment] of alone.entries()) {
      const begin = begins.get(segment);
      const next = begins.get(alone[i + 1]!);
      if (untilMs !== undefined && begin !== undefined && begin - disorderMs > untilMs) continue;
      if (sinceMs !== undefined && next !== undefined && next + disorderMs < sinceMs) continue;
      yield segment;
    }
  }
}

/** Of a segment's first record, in milliseconds since the epoch. */
export async function firstTime(segment: Segment): Promise<number | undefined> {
  for await (const lines of readLines(segment)) {
    const time = lines[0] === undefined ? undefined : timeOf(lines[0].bytes);
    return time === undefined ? undefined : Date.parse(time);
  }
  return undefined;
}

interface Place {
  readonly bucket?: string;
  readonly object?: string;
}

interface FoundRecord {
  readonly '@timestamp'?: string;
  readonly event?: { readonly outcome?: string };
  readonly organization?: { readonly id?: string };
  readonly sello?: {
    readonly key?: string;
    readonly context?: Place;
    readonly items?: readonly (Place & { readonly key?: string })[];
  };
  readonly user?: { readonly id?: string };
}

/** Whether a line is a record that is sought. */
export function recordMatcher(filter: SearchFilter): (line: Buffer) => boolean {
  const { sinceMs, untilMs, tenant, key, object, identity, outcome } = filter;
  // A cheap look at the bytes first: most lines are not what is sought.
  const needles = [
    tenant === undefined ? undefined : `"organization":{"id":${JSON.stringify(tenant)}`,
    key === undefined ? undefined : `"key":${JSON.stringify(key)}`,
    identity === undefined ? undefined : `"user":{"id":"${identity}`,
    outcome === undefined ? undefined : `"outcome":${JSON.stringify(outcome)}`,
  ].filter((needle) => needle !== undefined);
  return (line) => {
    if (sinceMs !== undefined || untilMs !== undefined) {
      const timeMs = Date.parse(timeOf(line) ?? '');
      if (!(timeMs >= (sinceMs ?? -Infinity) && timeMs < (untilMs ?? Infinity))) return false;
    }
    if (!needles.every((needle) => line.includes(needle))) return false;
    let record: FoundRecord;
    try {
      record = JSON.parse(line.toString('latin1')) as FoundRecord;
    } catch {
      return false;
    }
    return (
      (tenant === undefined || record.organization?.id === tenant) &&
      (key === undefined || isOfKey(record, key)) &&
      (identity === undefined || record.user?.id?.startsWith(identity) === true) &&
      (outcome === undefined || record.event?.outcome === outcome) &&
      (object === undefined || isObject(record, object))
    );
  };
}

/** A batch's items may be of other keys each. */
function isOfKey({ sello }: FoundRecord, wanted: string): boolean {
  return sello?.key === wanted || sello?.items?.some(({ key }) => key === wanted) === true;
}

function isObject({ sello }: FoundRecord, wanted: string): boolean {
  return [sello?.context ?? {}, ...(sello?.items ?? [])].some((place) => isPlace(place, wanted));
}

function isPlace({ bucket, object }: Place, wanted: string): boolean {
  if (bucket === undefined) return false;
  const whole = object === undefined ? bucket : `${bucket}/${object}`;
  if (wanted.endsWith('*')) return whole.startsWith(wanted.slice(0, -1));
  return whole === wanted || bucket === wanted;
}
