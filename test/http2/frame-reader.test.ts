/** Frames come out the same however the bytes were cut, and nothing but the known error comes of any bytes. */
import t from 'tap';
import fc from 'fast-check';
import { ConnectionError, FrameReader } from '../../src/http2/frame-reader.ts';
import { preface } from '../../src/http2/frame.ts';
import { frame } from '../attacks/frames.ts';

function read(chunks: readonly Buffer[]): string[] {
  const seen: string[] = [];
  let data = '';
  const reader = new FrameReader({
    onFrame: (type, flags, stream, payload) =>
      seen.push(`${type} ${flags} ${stream} ${payload.toString('hex')}`),
    onDataBegin: (stream, length) => (data = `data ${stream} ${length} `),
    onPadding: (_stream, length) => (data += `(${length})`),
    onData: (_stream, part) => (data += part.toString('hex')),
    onDataEnd: (stream, isEnd, isEmpty) => seen.push(`${data} ${stream} ${isEnd} ${isEmpty}`),
  });
  try {
    for (const chunk of chunks) reader.feed(chunk);
  } catch (error) {
    if (!(error instanceof ConnectionError)) throw error;
    seen.push(`error ${error.code}`);
  }
  return seen;
}

const padded = 8;
const stream = Buffer.concat([
  preface,
  frame('settings', 0, 0),
  frame('settings', 1, 0),
  frame('headers', 5, 1, Buffer.from('82868441', 'hex')),
  frame('data', 0, 1, Buffer.from('first')),
  frame('data', padded, 1, Buffer.from('\x03second\0\0\0')),
  frame('data', padded | 1, 1, Buffer.from('\x02\0\0')),
  frame('data', 0, 3),
  frame('data', 1, 3, Buffer.alloc(16_384, 7)),
  frame('ping', 0, 0, Buffer.from('12345678')),
  frame('data', padded, 5, Buffer.from('\x09short')),
]);

t.test('any cut gives the same frames', async (t) => {
  const whole = read([stream]);
  t.equal(whole.length, 10);
  t.match(whole.at(-1), /^error 1$/, 'more padding than frame');
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: stream.length - 1 }), { maxLength: 30 }), (cuts) => {
      const at = [0, ...[...new Set(cuts)].sort((a, b) => a - b), stream.length];
      const chunks = at.slice(1).map((end, i) => stream.subarray(at[i], end));
      return JSON.stringify(read(chunks)) === JSON.stringify(whole);
    }),
    { numRuns: 1000, seed: 9113 },
  );
  t.same(read(Array.from(stream, (byte) => Buffer.of(byte))), whole, 'byte by byte');
});

t.test('random bytes behind the preface give frames or a ConnectionError', async () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 10 }), (chunks) => {
      read([preface, ...chunks.map((chunk) => Buffer.from(chunk))]);
      return true;
    }),
    { numRuns: 5000, seed: 9113 },
  );
});

t.test('what is refused at once', async (t) => {
  t.match(read([Buffer.from('GET / HTTP/1.1\r\n')]), [/error 1/]);
  t.match(
    read([preface, Buffer.from('00400100', 'hex'), Buffer.alloc(5)]),
    [/error 6/],
    'a byte more than 16 KiB',
  );
  t.match(read([preface, frame('data', padded, 1)]), [/error 6/], 'no room for the pad length');
});
