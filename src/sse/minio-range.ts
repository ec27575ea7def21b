/**
 * Ranges of MinIO's encrypted objects, in closed form from the parts' stored lengths, which `xl.meta` and MinIO's own index have: which sealed
 * bytes of which parts to read, and how to open them. An object that is not in parts is one part.
 */
import { darePlainLength, planDare, type ByteSpan, type DareWindow } from '../formats/index.ts';
import { SelloError } from '../errors.ts';

export interface MinioPart {
  readonly number: number;
  /** Bytes as stored, sealed. */
  readonly size: number;
}

export interface MinioPartPlan {
  readonly part: number;
  /** Sealed bytes to read, from the start of the part. */
  readonly sealed: ByteSpan;
  /** For a `DareOpener` under the part's key. */
  readonly window: DareWindow;
}

/** Plaintext bytes of one part. @throws SelloError SELLO_OBJECT_FORMAT_UNKNOWN when no stream has the length it was stored with */
export function minioPartPlainBytes({ number, size }: MinioPart): number {
  const plainBytes = darePlainLength(size);
  if (plainBytes === undefined)
    throw new SelloError('SELLO_OBJECT_FORMAT_UNKNOWN', {
      detail: `MinIO part ${number}: no stream has ${size} bytes`,
    });
  return plainBytes;
}

/**
 * What holds plaintext bytes `from` to before `to`, part by part in their order; nothing for an empty range.
 * @throws RangeError for a range that is not in the object; SelloError SELLO_OBJECT_FORMAT_UNKNOWN as {@link minioPartPlainBytes}
 */
export function planMinio(parts: readonly MinioPart[], { from, to }: ByteSpan): MinioPartPlan[] {
  const plans: MinioPartPlan[] = [];
  let start = 0;
  for (const part of parts) {
    const plainBytes = minioPartPlainBytes(part);
    const within = { from: Math.max(from - start, 0), to: Math.min(to - start, plainBytes) };
    if (within.from < within.to) plans.push({ part: part.number, ...planDare(within, plainBytes) });
    start += plainBytes;
  }
  /* Precondition: a range that reaches behind the end would come back short without a word. */
  if (!Number.isSafeInteger(from) || !Number.isSafeInteger(to) || from < 0 || to < from || to > start)
    throw new RangeError(`byte range: got ${from} to ${to} of ${start}`);
  return plans;
}
