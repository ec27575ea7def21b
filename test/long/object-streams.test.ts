/** 20 GiB through the server, each protocol. */
import t from 'tap';
import { sealedStreamLength } from '../../src/sse/index.ts';
import { mebibyte, StreamServer, through } from '../api/objects/stream-process.ts';

for (const over of ['HTTP/1.1', 'HTTP/2'] as const) {
  t.test(
    `20 GiB through ${over} keep the growth of memory below 96 MiB`,
    { timeout: 1_800_000 },
    async (t) => {
      const server = await StreamServer.start();
      t.teardown(() => server.stop());
      await through(server, over, 32 * mebibyte);
      const before = await server.sizes();
      const total = 20_480 * mebibyte;
      t.equal(await through(server, over, total), sealedStreamLength(total, 131_072));
      const { peak } = await server.sizes();
      t.ok(peak - before.rss < 96 * mebibyte, `${Math.round((peak - before.rss) / mebibyte)} MiB`);
    },
  );
}
