/** Memory stays where it is, whatever is sent, not read, or given up. Larger figures: test/long/object-streams.test.ts. */
import { once } from 'node:events';
import { setTimeout as wait } from 'node:timers/promises';
import t from 'tap';
import { sealedStreamLength } from '../../../src/sse/index.ts';
import { within } from '../../attacks/client.ts';
import { mebibyte, sealPath, sealStream, StreamServer, through } from './stream-process.ts';

// A busy machine moves these bytes at a tenth of its speed.
t.setTimeout(180_000);
let server: StreamServer;
t.before(async () => {
  server = await StreamServer.start();
  for (const over of ['HTTP/1.1', 'HTTP/2'] as const) await through(server, over, 32 * mebibyte);
});
t.teardown(() => server.stop());

for (const over of ['HTTP/1.1', 'HTTP/2'] as const) {
  t.test(`512 MiB through ${over} leave memory as it was`, async (t) => {
    const before = await server.sizes();
    const total = 512 * mebibyte;
    t.equal(await through(server, over, total), sealedStreamLength(total, 131_072));
    const after = await server.sizes();
    t.ok(
      after.peak - before.rss < 96 * mebibyte,
      `${Math.round((after.peak - before.rss) / mebibyte)} MiB at the most`,
    );
    const collections = after.wholeCollections - before.wholeCollections;
    t.ok(
      collections < 12,
      `${collections} collections of the whole heap: the small ones free what streams leave`,
    );
  });

  t.test(`a reader that does not read holds back its writer: ${over}`, async (t) => {
    const session = over === 'HTTP/2' ? server.session() : undefined;
    const target =
      session === undefined
        ? server.request1(sealPath, { 'transfer-encoding': 'chunked' })
        : sealStream(session);
    target.on('error', () => undefined);
    const chunk = Buffer.alloc(65_536);
    let taken = 0;
    let isStuck = false;
    if (session === undefined) target.on('response', (response: NodeJS.ReadableStream) => response.pause());
    const write = async (): Promise<void> => {
      while (!isStuck && taken < 256 * mebibyte) {
        if (!target.write(chunk))
          await Promise.race([once(target, 'drain'), wait(3000).then(() => (isStuck = true))]);
        taken += chunk.length;
      }
    };
    await write();
    t.ok(isStuck, 'the writer had to wait');
    t.ok(taken < 64 * mebibyte, `${Math.round(taken / mebibyte)} MiB were taken in on the way`);
    target.destroy();
    session?.destroy();
  });
}

t.test('500 streams at once stay below 300 MiB', async (t) => {
  const sessions = Array.from({ length: 4 }, () => server.session());
  const streams = Array.from({ length: 500 }, (_, i) => sealStream(sessions[i % 4]!));
  const chunk = Buffer.alloc(200_000);
  for (const stream of streams) stream.write(chunk);
  await Promise.all(streams.map((stream) => once(stream, 'response')));
  await wait(200);
  const { rss, inFlight } = await server.sizes();
  t.equal(inFlight, 500, 'all are under way');
  t.ok(rss < 300 * mebibyte, `${Math.round(rss / mebibyte)} MiB`);
  const lengths = streams.map(async (stream) => {
    let got = 0;
    stream.on('data', (bytes: Buffer) => (got += bytes.length));
    stream.end();
    await once(stream, 'end');
    return got;
  });
  const expected = sealedStreamLength(chunk.length, 131_072);
  t.ok(
    (await Promise.all(lengths)).every((length) => length === expected),
    'and all end whole',
  );
  for (const session of sessions) session.close();
});

t.test('2,000 streams given up in the middle leave nothing behind', async (t) => {
  const chunk = Buffer.alloc(150_000);
  const round = async (sessions: number, requests: number): Promise<void> => {
    for (let i = 0; i < sessions; i++) {
      const session = server.session();
      const streams = Array.from({ length: 25 }, () => sealStream(session));
      for (const stream of streams) stream.write(chunk);
      await once(streams.at(-1)!, 'response');
      session.destroy();
    }
    for (let i = 0; i < requests; i += 10) {
      await Promise.all(
        Array.from({ length: 10 }, async () => {
          const request = server.request1(sealPath, { 'transfer-encoding': 'chunked' });
          request.on('error', () => undefined);
          request.write(chunk);
          await once(request, 'response');
          request.destroy();
        }),
      );
    }
  };
  const settled = () => within(10_000, async () => (await server.sizes()).inFlight === 0);
  await round(8, 50);
  t.ok(await settled());
  const before = await server.sizes();
  await round(60, 500);
  t.ok(await settled(), 'no request is left');
  const after = await server.sizes();
  t.ok(after.files <= before.files + 3, `${before.files} to ${after.files} open files`);
  t.ok(after.rss - before.rss < 48 * mebibyte, `${Math.round((after.rss - before.rss) / mebibyte)} MiB more`);
});
