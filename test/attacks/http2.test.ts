/**
 * Floods and malformed frames over HTTP/2 (CVE-2019-9511 to 9518, CVE-2023-44487, CVE-2024-27316 and kin): each ends in bounded
 * time and memory, a good client on another connection is served meanwhile, and the process survives.
 */
import t, { type Test } from 'tap';
import { askHttp2, pause, Session, within, type Call } from './client.ts';
import { flags, frame, headerBlock, RawConnection, request } from './frames.ts';
import { issue, type Issued } from './pki.ts';
import { listenerYaml, serverAuditOff, Site, tenantsYaml } from './site.ts';

const generate: Call = { method: 'PUT', path: '/v1/key/generate/app', body: '{}' };
const whole = flags.endStream | flags.endHeaders;

async function start(t: Test): Promise<{ site: Site; admin: Issued }> {
  const admin = issue('admin');
  const site = new Site();
  t.teardown(() => site.remove());
  await site.start(
    listenerYaml +
      'limits: {requestTimeout: 3s, idleTimeout: 3s}\n' +
      serverAuditOff +
      tenantsYaml({
        name: 'alpha',
        admins: [admin.identity],
        clients: { auth: 'off', requireClientAuthEku: false },
        keys: ['app'],
      }),
  );
  return { site, admin };
}

/** Sends the same kind of bytes until the connection is closed or the time is up, never more than the socket takes. */
async function flood(connection: RawConnection, forMs: number, next: (i: number) => Buffer): Promise<void> {
  const endMs = performance.now() + forMs;
  for (let i = 0; !connection.isClosed && performance.now() < endMs;) {
    const batch: Buffer[] = [];
    for (let k = 0; k < 100; k++) batch.push(next(i++));
    if (!connection.send(Buffer.concat(batch))) await pause(5);
    else await pause(0);
  }
}

const odd = (i: number): number => 2 * i + 1;
const uint32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

interface Attack {
  /** The connection has to be ended by the server. */
  readonly ends: boolean;
  readonly run: (connection: RawConnection) => Promise<void>;
}

const long = 'a'.repeat(4000);
const attacks: Readonly<Record<string, Attack>> = {
  'rapid reset': {
    ends: true,
    run: (c) =>
      flood(c, 3000, (i) =>
        Buffer.concat([
          frame('headers', whole, odd(i), request('GET', '/version')),
          frame('reset', 0, odd(i), uint32(8)),
        ]),
      ),
  },
  'rapid reset of requests with bodies': {
    ends: true,
    run: (c) =>
      flood(c, 3000, (i) =>
        Buffer.concat([
          frame('headers', flags.endHeaders, odd(i), request('PUT', '/v1/key/generate/app')),
          frame('reset', 0, odd(i), uint32(8)),
        ]),
      ),
  },
  'resets provoked from the server': {
    ends: true,
    run: (c) =>
      flood(c, 3000, (i) =>
        Buffer.concat([
          frame('headers', whole, odd(i), request('GET', '/version')),
          frame('windowUpdate', 0, odd(i), uint32(0)),
        ]),
      ),
  },
  'settings without end': {
    ends: true,
    run: (c) => flood(c, 3000, () => frame('settings', 0, 0, Buffer.from('000300000064', 'hex'))),
  },
  'one settings frame of a thousand entries': {
    ends: true,
    run: async (c) => void c.send(frame('settings', 0, 0, Buffer.from('000300000064'.repeat(1000), 'hex'))),
  },
  'pings without end': {
    ends: false,
    run: (c) => flood(c, 1500, () => frame('ping', 0, 0, Buffer.alloc(8))),
  },
  'pings whose answers are not read': {
    ends: true,
    run: async (c) => {
      c.socket.pause();
      await flood(c, 4000, () => frame('ping', 0, 0, Buffer.alloc(8)));
      c.socket.resume();
    },
  },
  'continuations without end': {
    ends: true,
    run: async (c) => {
      c.send(frame('headers', 0, 1, request('GET', '/version')));
      await flood(c, 3000, (i) => frame('continuation', 0, 1, headerBlock([[`x-${i}`, long]])));
    },
  },
  'empty continuations without end': {
    ends: true,
    run: async (c) => {
      c.send(frame('headers', 0, 1, request('GET', '/version')));
      await flood(c, 3000, () => frame('continuation', 0, 1));
    },
  },
  'a header block that is never finished': {
    ends: true,
    run: async (c) => void c.send(frame('headers', 0, 1, request('GET', '/version'))),
  },
  'headers of 64 KiB': {
    ends: false,
    run: async (c) => {
      const block = request(
        'GET',
        '/version',
        Array.from({ length: 17 }, (_, i) => [`x-${i}`, long] as const),
      );
      c.send(frame('headers', flags.endStream, 1, block.subarray(0, 16_000)));
      for (let at = 16_000; at < block.length; at += 16_000) {
        c.send(
          frame(
            'continuation',
            at + 16_000 >= block.length ? flags.endHeaders : 0,
            1,
            block.subarray(at, at + 16_000),
          ),
        );
      }
    },
  },
  'a thousand header fields': {
    ends: false,
    run: async (c) =>
      void c.send(
        frame(
          'headers',
          whole,
          1,
          request(
            'GET',
            '/version',
            Array.from({ length: 1000 }, (_, i) => [`x${i}`, ''] as const),
          ),
        ),
      ),
  },
  'empty data frames without end': {
    ends: false,
    run: async (c) => {
      c.send(frame('headers', flags.endHeaders, 1, request('PUT', '/v1/key/generate/app')));
      await flood(c, 1500, () => frame('data', 0, 1));
    },
  },
  'priorities without end': {
    ends: false,
    run: (c) => flood(c, 1500, (i) => frame('priority', 0, odd(i % 1000), Buffer.from('0000000010', 'hex'))),
  },
  'a thousand streams that are never finished': {
    ends: false,
    run: async (c) => {
      for (let i = 0; i < 1000; i++)
        c.send(frame('headers', flags.endHeaders, odd(i), request('PUT', '/v1/key/generate/app')));
      await pause(300);
    },
  },
  'answers that nobody takes': {
    ends: true,
    run: async (c) => {
      c.send(frame('settings', 0, 0, Buffer.from('000400000000', 'hex')));
      for (let i = 0; i < 200; i++) c.send(frame('headers', whole, odd(i), request('GET', '/v1/api')));
    },
  },
  'a window that overflows': {
    ends: true,
    run: async (c) => {
      for (let i = 0; i < 3; i++) c.send(frame('windowUpdate', 0, 0, uint32(0x7fffffff)));
    },
  },
  'a frame beyond the size limit': {
    ends: true,
    run: async (c) => void c.send(frame('data', 0, 1, Buffer.alloc(100_000))),
  },
  'data on a stream that is not open': {
    ends: true,
    run: async (c) => void c.send(frame('data', 0, 1, Buffer.alloc(10))),
  },
  'an even stream number': {
    ends: true,
    run: async (c) => void c.send(frame('headers', whole, 2, request('GET', '/version'))),
  },
  'a compressed block that is none': {
    ends: true,
    run: async (c) => void c.send(frame('headers', whole, 1, Buffer.from('ffffffffffffffffff', 'hex'))),
  },
  'goaway, then more': {
    ends: true,
    run: async (c) => {
      c.send(frame('goaway', 0, 0, Buffer.alloc(8)));
      await flood(c, 1000, () => frame('goaway', 0, 0, Buffer.alloc(8)));
    },
  },
};

/** A session may be idle for 3 s; Node starts to count anew once when something was still to be sent. */
const endsWithinMs = 8000;
/** Of everything a flood leaves behind while others wait for the collector. */
const mostGrowthBytes = 150 * 1_048_576;

t.test('floods end, and a good client is served meanwhile', { timeout: 120_000 }, async (t) => {
  const { site, admin } = await start(t);
  const crashes: string[] = [];
  const crashed = (error: Error): void => void crashes.push(String(error));
  process.on('uncaughtException', crashed);
  t.teardown(() => process.off('uncaughtException', crashed));
  const rssBefore = process.memoryUsage.rss();
  const all = Object.entries(attacks);
  const atOnce = 6;
  for (let i = 0; i < all.length; i += atOnce) {
    const batch = all.slice(i, i + atOnce);
    const good = await Session.open(site.as(admin));
    let isOver = false;
    const statuses: number[] = [];
    let slowestMs = 0;
    const serving = (async () => {
      while (!isOver) {
        const startMs = performance.now();
        statuses.push((await good.ask(generate)).status);
        slowestMs = Math.max(slowestMs, performance.now() - startMs);
        await pause(20);
      }
    })();
    await Promise.all(
      batch.map(async ([name, { ends, run }]) => {
        const connection = await RawConnection.open(site.as(admin));
        const startMs = performance.now();
        await run(connection);
        if (ends) {
          t.ok(
            await within(endsWithinMs, () => connection.isClosed),
            `${name}: ended (${Math.round(performance.now() - startMs)} ms, code ${connection.goawayCode ?? 'none'})`,
          );
        }
        t.ok(
          connection.receivedBytes < 4 * 1_048_576,
          `${name}: ${connection.receivedBytes} bytes came back`,
        );
        connection.socket.destroy();
      }),
    );
    await pause(300);
    isOver = true;
    await serving;
    good.close();
    t.ok(
      statuses.length > 5 && statuses.every((status) => status === 200),
      `a good client got ${statuses.length} answers meanwhile`,
    );
    t.ok(slowestMs < 3000, `none later than ${Math.round(slowestMs)} ms`);
  }
  t.same(crashes, [], 'the process took it all');
  const grownBytes = process.memoryUsage.rss() - rssBefore;
  t.ok(grownBytes < mostGrowthBytes, `memory grew by ${Math.round(grownBytes / 1_048_576)} MiB`);
  t.equal((await askHttp2(site.as(admin), generate)).status, 200, 'and the server goes on');
});

t.test('fields that would mean another thing over HTTP/1.1 are refused', { timeout: 30_000 }, async (t) => {
  const { site, admin } = await start(t);
  const hidden = 'PUT /v1/key/create/smuggled HTTP/1.1';
  const refused: Record<string, readonly (readonly [string, string])[]> = {
    'transfer-encoding': [['transfer-encoding', 'chunked']],
    connection: [['connection', 'close']],
    'keep-alive': [['keep-alive', 'timeout=5']],
    upgrade: [['upgrade', 'h2c']],
    'te: chunked': [['te', 'chunked']],
    'upper case in a name': [['X-Y', 'a']],
    'a second path': [[':path', '/v1/key/create/smuggled']],
    'an unknown pseudo field': [[':smuggled', 'a']],
    'two lengths': [
      ['content-length', '0'],
      ['content-length', '5'],
    ],
    'a length that is none': [['content-length', '+0']],
    'a length without a body': [['content-length', '5']],
    'line break in a value': [['x', `a\r\n\r\n${hidden}\r\n\r\n`]],
    'line feed in a value': [['x', `a\n${hidden}`]],
    'NUL in a value': [['x', 'a\0b']],
    'a value that begins with a blank': [['x', ' a']],
    'a value that ends with a tab': [['x', 'a\t']],
    'line break in a name': [['x\r\ny', 'a']],
    'colon in a name': [['x:y', 'a']],
    'an empty name': [['', 'a']],
  };
  let count = 0;
  for (const [name, fields] of Object.entries(refused)) {
    const key = `smuggled-${count++}`;
    const connection = await RawConnection.open(site.as(admin));
    connection.send(frame('headers', whole, 1, request('PUT', `/v1/key/create/${key}`, fields)));
    t.ok(
      await within(
        3000,
        () =>
          connection.isClosed ||
          connection.frames.some(({ type, stream }) => stream === 1 && (type === 3 || type === 1)),
      ),
      `${name}: answered or reset`,
    );
    connection.socket.destroy();
    const made = (await askHttp2(site.as(admin), { method: 'GET', path: `/v1/key/describe/${key}` })).status;
    t.equal(made, 404, `${name}: not acted on`);
    const smuggled = await askHttp2(site.as(admin), { method: 'GET', path: '/v1/key/describe/smuggled' });
    t.equal(smuggled.status, 404, `${name}: nothing else acts`);
  }
  for (const [name, path] of Object.entries({
    'a path with a space': '/version x',
    'a path with a line break': '/version\r\nx: y',
    'no slash': 'version',
    'an empty path': '',
  })) {
    const connection = await RawConnection.open(site.as(admin));
    connection.send(frame('headers', whole, 1, request('GET', path)));
    t.ok(
      await within(3000, () => connection.isClosed || connection.frames.some(({ stream }) => stream === 1)),
      `${name}: answered or reset`,
    );
    connection.socket.destroy();
  }
  const body = await RawConnection.open(site.as(admin));
  body.send(
    frame(
      'headers',
      flags.endHeaders,
      1,
      request('PUT', '/v1/key/import/smuggled', [['content-length', '2']]),
    ),
  );
  body.send(
    frame(
      'data',
      flags.endStream,
      1,
      Buffer.from(`{"key":"${Buffer.alloc(32).toString('base64')}","cipher":"AES256"}`),
    ),
  );
  t.ok(
    await within(3000, () => body.isClosed || body.frames.some(({ stream }) => stream === 1)),
    'a body longer than its length: answered or reset',
  );
  body.socket.destroy();
  t.equal(
    (await askHttp2(site.as(admin), { method: 'GET', path: '/v1/key/describe/smuggled' })).status,
    404,
    'and not acted on',
  );
  t.equal((await askHttp2(site.as(admin), generate)).status, 200, 'and the server goes on');
});
