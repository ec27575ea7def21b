/**
 * Where plaintext lies in sealed streams, in closed form: nothing has to be read to know it.
 * A stream of n bytes is `header ‖ ⌊n / S⌋ segments of S + 16 bytes ‖ one of n mod S + 16 bytes`.
 */
import { aeadTagBytes } from '../crypto/index.ts';
import { objectHeaderBytes } from './object.ts';
import type { OpenWindow } from './segments.ts';

/** Bytes `from` to before `to`. */
export interface ByteSpan {
  readonly from: number;
  readonly to: number;
}

/** Bytes a sealed stream takes, header included. */
export function sealedStreamLength(plainBytes: number, segmentBytes: number): number {
  return objectHeaderBytes + plainBytes + aeadTagBytes * (Math.floor(plainBytes / segmentBytes) + 1);
}

/** Plaintext bytes of a sealed stream; undefined when no stream has that length. */
export function plainStreamLength(sealedBytes: number, segmentBytes: number): number | undefined {
  const body = sealedBytes - objectHeaderBytes;
  const whole = Math.floor(body / (segmentBytes + aeadTagBytes));
  const last = body - whole * (segmentBytes + aeadTagBytes);
  return body < 0 || last < aeadTagBytes ? undefined : whole * segmentBytes + last - aeadTagBytes;
}

export interface StreamPlan {
  /** Sealed bytes of the segments that hold the range, from the start of the stream, header counted. */
  readonly sealed: ByteSpan;
  readonly window: OpenWindow;
}

/**
 * Which segments of a stream hold plaintext bytes `from` to before `to`.
 * @param plainBytes length of the stream, where it is known: `sealed.to` is then exact, else it may lie behind the stream's end
 */
export function planStream(range: ByteSpan, segmentBytes: number, plainBytes?: number): StreamPlan {
  const { from, to } = range;
  /* Precondition: an empty range has no segment of its own. */
  if (!Number.isSafeInteger(from) || !Number.isSafeInteger(to) || from < 0 || to <= from)
    throw new RangeError(`byte range: got ${from} to ${to}`);
  const first = Math.floor(from / segmentBytes);
  const last = Math.floor((to - 1) / segmentBytes);
  const sealedSegment = segmentBytes + aeadTagBytes;
  const end = objectHeaderBytes + (last + 1) * sealedSegment;
  return {
    sealed: {
      from: objectHeaderBytes + first * sealedSegment,
      to: plainBytes === undefined ? end : Math.min(end, sealedStreamLength(plainBytes, segmentBytes)),
    },
    window: { firstSegment: first, skip: from - first * segmentBytes, length: to - from },
  };
}
