/**
 * The line of a record that is like others before it. A storage node asks for few keys again and again: of what {@link auditLine} writes
 * about its calls only the time, the ids and the object differ. So a line is made once per caller and path with marks in the places of those, and cut
 * there; later lines are put together from the pieces, in a fifth of the time. Order, names and escapes stay `auditLine`'s alone.
 */
import { randomBytes } from 'node:crypto';
import { auditLine, isPlain, timestamp, whole } from './line.ts';
import type { AuditRecord } from './record.ts';

/** Callers times paths that are kept; one more begins anew. An entry is some 2 KiB. */
const maxShapes = 1_024;

/** Nobody who could choose a field's value knows these. */
const marks = {
  requestId: randomBytes(12).toString('hex'),
  bucket: randomBytes(12).toString('hex'),
  object: randomBytes(12).toString('hex'),
  contextSha256: randomBytes(32).toString('hex'),
};
/** Seconds that no record has, and a duration that none will have: 11 days and something. */
const markTimeMs = 1_000_000_000_123;
const markDurationMs = 1_000_000_000 + Number(randomBytes(4).readUInt32BE());

interface Shape {
  /** Of all fields that are not marked: the record that the pieces were made from. */
  readonly of: AuditRecord;
  readonly pieces: readonly string[];
}

const shapes = new Map<string, Map<string, Shape>>();
let kept = 0;

/** {@link auditLine}'s, byte for byte. */
export function usualLine(record: AuditRecord): string {
  const { identity, path } = record;
  if (identity === undefined || path === undefined || !hasUsualFields(record)) return auditLine(record);
  let ofCaller = shapes.get(identity);
  let shape = ofCaller?.get(path);
  if (shape === undefined || !isAlike(shape.of, record)) {
    const pieces = piecesOf(record);
    if (pieces === undefined) return auditLine(record);
    if (kept >= maxShapes) {
      shapes.clear();
      kept = 0;
      ofCaller = undefined;
    }
    if (ofCaller === undefined) shapes.set(identity, (ofCaller = new Map<string, Shape>()));
    if (!ofCaller.has(path)) kept++;
    ofCaller.set(path, (shape = { of: record, pieces }));
  }
  const { pieces } = shape;
  const line =
    pieces[0]! +
    timestamp(record.timeMs) +
    pieces[1]! +
    whole(record.durationMs * 1e6) +
    pieces[2]! +
    record.requestId +
    pieces[3]!;
  if (record.contextSha256 === undefined) return line;
  if (record.object !== undefined)
    return (
      line + record.bucket! + pieces[4]! + record.object + pieces[5]! + record.contextSha256 + pieces[6]!
    );
  if (record.bucket !== undefined)
    return line + record.bucket + pieces[4]! + record.contextSha256 + pieces[5]!;
  return line + record.contextSha256 + pieces[4]!;
}

/** What differs from call to call is written as it is, and what few records have at all is not there. */
function hasUsualFields(record: AuditRecord): boolean {
  const { bucket, contextSha256, object, requestId } = record;
  return (
    record.traceId === undefined &&
    record.vaultRequestId === undefined &&
    record.bytesIn === undefined &&
    record.bytesOut === undefined &&
    record.count === undefined &&
    record.items === undefined &&
    isPlain(requestId, 'requestId') &&
    (contextSha256 === undefined
      ? bucket === undefined && object === undefined
      : isPlain(contextSha256, 'contextSha256')) &&
    (bucket === undefined ? object === undefined : isPlain(bucket, 'bucket')) &&
    (object === undefined || isPlain(object, 'object'))
  );
}

/** Same caller and path are given. */
function isAlike(a: AuditRecord, b: AuditRecord): boolean {
  return (
    a.status === b.status &&
    a.rule === b.rule &&
    a.decision === b.decision &&
    a.key === b.key &&
    a.keyVersion === b.keyVersion &&
    a.tenant === b.tenant &&
    a.method === b.method &&
    a.operation === b.operation &&
    a.face === b.face &&
    a.sourceIp === b.sourceIp &&
    a.certificateSerial === b.certificateSerial &&
    a.certificateIssuer === b.certificateIssuer &&
    a.error === b.error &&
    a.reason === b.reason &&
    a.phase === b.phase &&
    a.scope === b.scope &&
    a.aborted === b.aborted &&
    (a.contextSha256 === undefined) === (b.contextSha256 === undefined) &&
    (a.bucket === undefined) === (b.bucket === undefined) &&
    (a.object === undefined) === (b.object === undefined)
  );
}

/** Undefined when the marks are not found where they must be. */
function piecesOf(record: AuditRecord): string[] | undefined {
  const { bucket, contextSha256, object } = record;
  const marked = auditLine({
    ...record,
    timeMs: markTimeMs,
    durationMs: markDurationMs,
    requestId: marks.requestId,
    bucket: bucket === undefined ? undefined : marks.bucket,
    object: object === undefined ? undefined : marks.object,
    contextSha256: contextSha256 === undefined ? undefined : marks.contextSha256,
  });
  const inOrder = [
    timestamp(markTimeMs),
    whole(markDurationMs * 1e6),
    marks.requestId,
    ...(bucket === undefined ? [] : [marks.bucket]),
    ...(object === undefined ? [] : [marks.object]),
    ...(contextSha256 === undefined ? [] : [marks.contextSha256]),
  ];
  const pieces: string[] = [];
  let from = 0;
  for (const mark of inOrder) {
    const at = marked.indexOf(mark, from);
    if (at === -1) return undefined;
    pieces.push(marked.slice(from, at));
    from = at + mark.length;
  }
  pieces.push(marked.slice(from));
  return pieces;
}
