/** A range of a sealed file: its envelope, the header of its stream and the segments that hold the range, and nothing else, are read. */
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { Readable } from 'node:stream';
import {
  envelopeLength,
  envelopePrefixBytes,
  objectHeaderBytes,
  parseStreamHeader,
  plainStreamLength,
  planStream,
  type ByteSpan,
} from '../formats/index.ts';
import { Failure, fileFailure } from './failure.ts';
import { pathOf, type Io } from './io.ts';
import { readBytes, type Input } from './sealed-file.ts';

export const rangeForm = /^(?:(\d{1,16})-(\d{0,16})|-(\d{1,16}))$/;

/** `a-b` (both included), `a-`, `-n` (the last n bytes) of a file of `length` bytes; undefined when none of it is there. */
export function spanOf(text: string, length: number): ByteSpan | undefined {
  const [, first, last, count] = rangeForm.exec(text) ?? [];
  const from = count === undefined ? Number(first) : Math.max(0, length - Number(count));
  const to = last === undefined || last === '' ? length : Math.min(length, Number(last) + 1);
  return from < to ? { from, to } : undefined;
}

/**
 * What to read for a range. A range that reaches the end takes in the stream's last segment, also where no byte of the range is in it: a file that
 * was cut at a segment would pass for a shorter one.
 */
export async function rangeInputOf(
  io: Io,
  file: string,
  text: string,
): Promise<{ readonly input: Input; readonly span: ByteSpan }> {
  const path = pathOf(io, file);
  try {
    await using handle = await open(path);
    const { size } = await handle.stat();
    const read = async (at: number, count: number): Promise<Buffer> => {
      const bytes = Buffer.alloc(count);
      const { bytesRead } = await handle.read(bytes, 0, count, at);
      return bytes.subarray(0, bytesRead);
    };
    const start = await read(0, envelopePrefixBytes);
    const envelopeBytes = start.length < envelopePrefixBytes ? undefined : envelopeLength(start);
    if (envelopeBytes === undefined || size < envelopeBytes + objectHeaderBytes)
      throw new Failure('not a sealed file', { hint: "'sello inspect FILE' shows what a file is." });
    const front = await read(0, envelopeBytes + objectHeaderBytes);
    const { segmentBytes } = parseStreamHeader(front.subarray(envelopeBytes));
    const length = plainStreamLength(size - envelopeBytes, segmentBytes);
    if (length === undefined)
      throw new Failure(`'${file}' does not open: it is cut, or has something behind it`);
    const span = spanOf(text, length);
    if (span === undefined)
      throw new Failure(`no byte of the range is in '${file}'`, {
        hint: `It has ${String(length)} bytes, of which the first is 0.`,
      });
    const { sealed } = planStream(span, segmentBytes, length);
    const from = envelopeBytes + sealed.from;
    const to = span.to === length ? size : envelopeBytes + sealed.to;
    const segments = createReadStream(path, { start: from, end: to - 1, highWaterMark: readBytes });
    const stream = Readable.from(inTurn(front, segments), { objectMode: false, highWaterMark: readBytes });
    return { input: { stream, bytes: front.length + to - from, name: file }, span };
  } catch (error) {
    throw error instanceof Error && 'syscall' in error ? fileFailure(error, file) : error;
  }
}

async function* inTurn(front: Buffer, rest: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  yield front;
  yield* rest;
}
