/** What tests of sealed objects share. */
import { randomBytes } from 'node:crypto';
import { hasCode } from '../../src/errors.ts';
import { seal, type Engine, type Placed } from '../../src/sse/index.ts';
import { pieces } from '../formats/pieces.ts';

export const place = { tenant: 'acme', bucket: 'photos', object: 'cats/1.jpg' };

export function held(key: Buffer = randomBytes(32)): Placed {
  return { place, protection: { mode: 'held', key } };
}

/** Runs bytes through a sealer or opener, cut at the given places. */
export function run(
  { engine }: { readonly engine: Engine },
  bytes: Buffer,
  cuts: readonly number[] = [],
): Buffer {
  const out: Buffer[] = engine.header === undefined ? [] : [engine.header];
  for (const piece of pieces(bytes, cuts)) engine.update(piece, out);
  engine.final(out);
  return Buffer.concat(out);
}

export interface Attempt {
  /** True when the stream ended as a whole one. */
  readonly isWhole: boolean;
  /** What came out until then. */
  readonly released: Buffer;
}

/** As {@link run}, for bytes that may be refused; any other failure is thrown. */
export function attempt(
  { engine }: { readonly engine: Engine },
  bytes: Buffer,
  cuts: readonly number[] = [],
): Attempt {
  const out: Buffer[] = [];
  try {
    for (const piece of pieces(bytes, cuts)) engine.update(piece, out);
    engine.final(out);
    return { isWhole: true, released: Buffer.concat(out) };
  } catch (error) {
    if (!hasCode(error, 'SELLO_OBJECT_NOT_AUTHENTIC') && !hasCode(error, 'SELLO_OBJECT_FORMAT_UNKNOWN'))
      throw error;
    return { isWhole: false, released: Buffer.concat(out) };
  }
}

export const segmentBytes = 65_536;
export const sealedSegment = segmentBytes + 16;

/** Three segments, the last one short. */
export async function threeSegments(aead: 'aes-256-gcm' | 'chacha20-poly1305' = 'aes-256-gcm') {
  const placed = held();
  const message = randomBytes(2 * segmentBytes + 100);
  const object = await seal(placed);
  const sealed = run(object.seal({ segmentBytes, aead }), message);
  return { placed, message, object, sealed };
}
