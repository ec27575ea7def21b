/** One range of RFC 9110 §14: `bytes=a-b`, `bytes=a-`, `bytes=-n`. S3 answers several ranges with the whole object; here they are refused. */
import { SelloError } from '../errors.ts';
import type { ByteSpan } from '../formats/index.ts';
import { invalidArgument, invalidRequest } from './s3-error.ts';

const form = /^bytes=(\d{0,16})-(\d{0,16})$/;

/**
 * @param length of the object, undefined when it is not known: then only `a-b` can be told
 * @throws S3Error InvalidArgument, SelloError SELLO_OBJECT_RANGE_INVALID
 */
export function rangeOf(header: string, length: number | undefined): ByteSpan {
  const match = form.exec(header);
  const [first = '', last = ''] = match?.slice(1) ?? [];
  const [from, to] = [Number(first), Number(last)];
  if (
    match === null ||
    (first === '' && last === '') ||
    !Number.isSafeInteger(from) ||
    !Number.isSafeInteger(to)
  )
    throw invalidArgument('Range is one of bytes=A-B, bytes=A- and bytes=-N.');
  if (first !== '' && last !== '' && to < from) throw invalidArgument('Range ends before it begins.');
  if (length === undefined) {
    if (first === '' || last === '')
      throw invalidRequest(
        'A range without an end, or from the end, needs x-sello-sealed-length or a manifest.',
      );
    return { from, to: to + 1 };
  }
  const span =
    first === ''
      ? { from: Math.max(0, length - to), to: length }
      : { from, to: last === '' ? length : Math.min(length, to + 1) };
  if (span.from >= span.to) throw new SelloError('SELLO_OBJECT_RANGE_INVALID');
  return span;
}
