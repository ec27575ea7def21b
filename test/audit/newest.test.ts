/** Reading a trail for a screen: the newest first, and what is written meanwhile. */
import { appendFileSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import t from 'tap';
import { TrailFollower } from '../../src/audit/follow.ts';
import { newestRecords } from '../../src/audit/newest.ts';
import { segmentName } from '../../src/audit/segment.ts';
import { tailOf } from '../../src/audit/tail.ts';

const startMs = Date.parse('2026-11-23T00:00:00.000Z');
const hourMs = 3_600_000;

function lineOf(timeMs: number, key: string): string {
  const time = new Date(timeMs).toISOString();
  return `{"@timestamp":"${time}","organization":{"id":"acme"},"sello":{"key":"${key}"}}\n`;
}

async function all(lines: AsyncIterable<Buffer>): Promise<string[]> {
  const found: string[] = [];
  for await (const line of lines) found.push(`${line.toString()}\n`);
  return found;
}

interface Written {
  readonly timeMs: number;
  readonly line: string;
}

/** Streams of segments, each of times that rise; all but a stream's last segment may be compressed. */
function write(trail: string, streams: readonly (readonly (readonly number[])[])[]): Written[] {
  const written: Written[] = [];
  for (const [at, segments] of streams.entries()) {
    const folder = path.join(trail, String(at).padStart(32, '0'));
    mkdirSync(folder, { recursive: true });
    let first = 0;
    for (const [i, hours] of segments.entries()) {
      const lines = hours.map((hour, j) => {
        const timeMs = startMs + Math.floor(hour * hourMs);
        return { timeMs, line: lineOf(timeMs, `key-${String(at)}-${String(first + j)}`) };
      });
      written.push(...lines);
      const text = lines.map(({ line }) => line).join('');
      const file = path.join(folder, segmentName(first));
      if (i < segments.length - 1 && i % 2 === 0) writeFileSync(`${file}.gz`, gzipSync(text));
      else writeFileSync(file, text);
      first += lines.length;
    }
  }
  return written;
}

const segment = fc.array(fc.double({ min: 0, max: 100, noNaN: true }), { minLength: 1, maxLength: 8 });

t.test('the newest records of any trail are those that sorting all of them gives', async (t) => {
  const trail = t.testdir();
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(segment, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 3 }),
      fc.integer({ min: 1, max: 30 }),
      fc.option(fc.double({ min: 0, max: 100, noNaN: true })),
      async (drawn, most, since) => {
        rmSync(trail, { recursive: true, force: true });
        // Within a stream time goes on.
        const streams = drawn.map((segments) => {
          const hours = segments.flat().sort((a, b) => a - b);
          return segments.map(({ length }) => hours.splice(0, length));
        });
        const sinceMs = since === null ? undefined : startMs + Math.floor(since * hourMs);
        const wanted = write(trail, streams)
          .filter(({ timeMs }) => sinceMs === undefined || timeMs >= sinceMs)
          .map(({ timeMs }) => timeMs)
          .sort((a, b) => b - a)
          .slice(0, most);
        const found = await all(newestRecords(trail, { sinceMs }, most));
        t.same(
          found.map((line) => Date.parse((JSON.parse(line) as { '@timestamp': string })['@timestamp'])),
          wanted,
        );
        t.equal(new Set(found).size, found.length);
      },
    ),
    { numRuns: 60 },
  );
});

t.test('older segments are not read when the newest say all', async (t) => {
  const trail = t.testdir();
  write(trail, [
    [
      [1, 2],
      [50, 51],
      [90, 91, 92],
    ],
  ]);
  // What would have to be read would fail: it is no file.
  const second = path.join(trail, '0'.repeat(32), segmentName(2));
  const found: string[] = [];
  for await (const line of newestRecords(trail, {}, 2)) {
    found.push(line.toString());
    if (found.length === 1) rmSync(second);
  }
  t.equal(found.length, 2);
});

t.test('what is written is followed through segments, streams and compression', async (t) => {
  const trail = t.testdir();
  write(trail, [[[1], [2, 3]]]);
  const follower = new TrailFollower(trail, {});
  await follower.begin();
  t.same(await all(follower.more()), [], 'from here on');
  const folder = path.join(trail, '0'.repeat(32));
  const file = path.join(folder, segmentName(1));
  const [a, b, c, d, e] = [4, 5, 6, 7, 8].map((hour) =>
    lineOf(startMs + hour * hourMs, `new-${String(hour)}`),
  );
  appendFileSync(file, a! + b!.slice(0, 20));
  t.same(await all(follower.more()), [a], 'a piece is no record yet');
  appendFileSync(file, b!.slice(20));
  t.same(await all(follower.more()), [b]);
  writeFileSync(path.join(folder, segmentName(5)), c!);
  t.same(await all(follower.more()), [c], 'the next segment');
  const text = lineOf(startMs, 'x');
  writeFileSync(`${file}.gz`, gzipSync(text));
  rmSync(file);
  t.same(await all(follower.more()), [], 'what was compressed is not read again');
  const other = path.join(trail, '1'.repeat(32));
  mkdirSync(other);
  writeFileSync(path.join(other, segmentName(0)), d!);
  t.same(await all(follower.more()), [d], 'a stream that began');
  appendFileSync(path.join(other, segmentName(0)), e!);
  t.same(await all(follower.more()), [e]);
});

t.test('a plain file is followed when it was rotated, and by what is sought alone', async (t) => {
  const file = path.join(t.testdir(), 'acme.jsonl');
  writeFileSync(file, lineOf(startMs, 'old') + lineOf(startMs, 'old'));
  const follower = new TrailFollower(file, { key: 'app' });
  await follower.begin();
  appendFileSync(file, lineOf(startMs, 'app') + lineOf(startMs, 'other'));
  t.equal((await all(follower.more())).length, 1);
  renameSync(file, `${file}.1`);
  writeFileSync(file, lineOf(startMs, 'app'));
  t.equal((await all(follower.more())).length, 1);
});

t.test('the end of a file is its last whole line', async (t) => {
  const file = path.join(t.testdir(), 'lines');
  for (const [text, end, line] of [
    ['', 0, undefined],
    ['piece', 0, undefined],
    ['one\n', 4, 'one'],
    ['one\ntwo\npie', 8, 'two'],
    [`${'x'.repeat(200_000)}\nlast\n`, 200_006, 'last'],
    [`${'x'.repeat(200_000)}\n`, 200_001, undefined],
    ['\n', 1, ''],
  ] as const) {
    writeFileSync(file, text);
    const tail = await tailOf(file);
    t.same([tail.end, tail.line?.toString()], [end, line], text.slice(0, 10));
  }
});
