/** Clients that take their time, and clients that take every connection: all are bounded, and others are served. */
import { once } from 'node:events';
import net, { type Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import t, { type Test } from 'tap';
import { askHttp1, openSocket, pause, Session, within, type Call } from './client.ts';
import { issue, type Issued } from './pki.ts';
import { listenerYaml, serverAuditOff, Site, tenantsYaml } from './site.ts';

/** Everything is quick here, so that slowness shows soon; the server looks once a second. */
const limits =
  'limits: {handshakeTimeout: 1s, headersTimeout: 1s, requestTimeout: 2s, idleTimeout: 2s, maxConnections: 40}\n';
const boundMs = { handshake: 3000, headers: 4500, request: 5500, idle: 5500 };
const generate: Call = { method: 'PUT', path: '/v1/key/generate/app', body: '{}' };

async function start(t: Test): Promise<{ site: Site; admin: Issued }> {
  const admin = issue('admin');
  const site = new Site();
  t.teardown(() => site.remove());
  await site.start(
    listenerYaml +
      limits +
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

/** Milliseconds until the server ends this connection; undefined when it does not in time. */
async function endedAfter(socket: Socket, withinMs: number): Promise<number | undefined> {
  const startMs = performance.now();
  socket.resume();
  // A reset is an end too.
  socket.on('error', () => socket.destroy());
  const ended = new Promise<true>((resolve) => {
    for (const event of ['close', 'end']) socket.once(event, () => resolve(true));
  });
  const isEnded = await Promise.race([ended, pause(withinMs).then(() => false)]);
  socket.destroy();
  return isEnded ? performance.now() - startMs : undefined;
}

function drip(socket: Socket, text: string, everyMs: number): void {
  let i = 0;
  const timer = setInterval(() => {
    if (socket.destroyed || i >= text.length) clearInterval(timer);
    else socket.write(text[i++]!, 'latin1');
  }, everyMs);
  socket.once('close', () => clearInterval(timer));
  socket.on('error', () => socket.destroy());
}

function connect(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1', () => resolve(socket));
    socket.once('error', reject);
    socket.on('error', () => socket.destroy());
  });
}

t.test('every way of being slow ends', { timeout: 60_000 }, async (t) => {
  const { site, admin } = await start(t);
  const http1 = (): Promise<TLSSocket> => openSocket(site.as(admin), 'http/1.1');
  const h2 = (): Promise<TLSSocket> => openSocket(site.as(admin), 'h2');
  const head = 'PUT /v1/key/generate/app HTTP/1.1\r\nHost: x\r\n';
  const preface = Buffer.concat([
    Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
    Buffer.from('000000040000000000', 'hex'),
  ]);
  const ways: readonly [string, number, () => Promise<Socket>][] = [
    ['no handshake', boundMs.handshake, () => connect(site.port)],
    [
      'a handshake byte by byte',
      boundMs.handshake,
      async () => {
        const socket = await connect(site.port);
        drip(socket, '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'.padEnd(500, 'a'), 100);
        return socket;
      },
    ],
    ['HTTP/1.1: nothing after the handshake', boundMs.headers, http1],
    [
      'HTTP/1.1: headers byte by byte',
      boundMs.headers,
      async () => {
        const socket = await http1();
        drip(socket, `${head}X: ${'a'.repeat(1000)}`, 50);
        return socket;
      },
    ],
    [
      'HTTP/1.1: headers without their end',
      boundMs.headers,
      async () => {
        const socket = await http1();
        socket.write(head);
        return socket;
      },
    ],
    [
      'HTTP/1.1: a body byte by byte',
      boundMs.request,
      async () => {
        const socket = await http1();
        socket.write(`${head}Content-Length: 1000\r\n\r\n`);
        drip(socket, ' '.repeat(1000), 50);
        return socket;
      },
    ],
    [
      'HTTP/1.1: chunks byte by byte',
      boundMs.request,
      async () => {
        const socket = await http1();
        socket.write(`${head}Transfer-Encoding: chunked\r\n\r\n`);
        drip(socket, '1\r\n \r\n'.repeat(200), 30);
        return socket;
      },
    ],
    [
      'HTTP/1.1: idle after an answer',
      boundMs.idle,
      async () => {
        const socket = await http1();
        socket.write('GET /version HTTP/1.1\r\nHost: x\r\n\r\n');
        await once(socket, 'data');
        return socket;
      },
    ],
    ['HTTP/2: no preface', boundMs.idle, h2],
    [
      'HTTP/2: a preface byte by byte',
      boundMs.idle,
      async () => {
        const socket = await h2();
        drip(socket, 'PRI * HTTP/2.0\r\n', 900);
        return socket;
      },
    ],
    [
      'HTTP/2: a preface and nothing more',
      boundMs.idle,
      async () => {
        const socket = await h2();
        socket.write(preface);
        return socket;
      },
    ],
  ];
  const good = await Session.open(site.as(admin));
  const served: number[] = [];
  let isOver = false;
  const serving = (async () => {
    while (!isOver) {
      served.push((await good.ask(generate)).status);
      await pause(50);
    }
  })();
  await Promise.all(
    ways.map(async ([what, limitMs, open]) => {
      const tookMs = await endedAfter(await open(), limitMs);
      t.ok(
        tookMs !== undefined,
        `${what}: ended within ${limitMs} ms (${tookMs === undefined ? 'not' : Math.round(tookMs)})`,
      );
    }),
  );
  isOver = true;
  await serving;
  t.ok(
    served.length > 30 && served.every((status) => status === 200),
    'a good client was served all the while',
  );
  good.close();
});

t.test('HTTP/2: a body byte by byte, and an answer nobody takes, end', { timeout: 40_000 }, async (t) => {
  const { site, admin } = await start(t);
  const session = await Session.open(site.as(admin));
  const slow = session.http2.request({ ':method': 'PUT', ':path': '/v1/key/generate/app' });
  let status: number | undefined;
  slow.on('response', (headers) => (status = headers[':status']));
  slow.on('error', () => undefined);
  slow.resume();
  const dripping = setInterval(() => {
    if (!slow.destroyed) slow.write(' ');
  }, 50);
  t.ok(await within(boundMs.request, () => slow.closed), 'the slow body is cut');
  clearInterval(dripping);
  t.not(status, 200, 'and gets no key');
  t.equal((await session.ask(generate)).status, 200, 'its session serves other requests');
  session.close();

  const socket = await openSocket(site.as(admin), 'h2');
  socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  // SETTINGS with INITIAL_WINDOW_SIZE 0, then GET /v1/api (HPACK: indexed :method and :scheme, literal :path and :authority).
  socket.write(Buffer.from('000006040000000000' + '000400000000', 'hex'));
  const block = Buffer.concat([
    Buffer.from('828704', 'hex'),
    Buffer.from([7]),
    Buffer.from('/v1/api'),
    Buffer.from('01', 'hex'),
    Buffer.from([1]),
    Buffer.from('x'),
  ]);
  const frame = Buffer.alloc(9);
  frame.writeUIntBE(block.length, 0, 3);
  frame[3] = 1; // HEADERS
  frame[4] = 5; // END_STREAM, END_HEADERS
  frame.writeUInt32BE(1, 5);
  socket.write(Buffer.concat([frame, block]));
  const tookMs = await endedAfter(socket, boundMs.idle);
  t.ok(
    tookMs !== undefined,
    `the stalled session is ended (${tookMs === undefined ? 'not' : Math.round(tookMs)} ms)`,
  );
});

t.test('a log stream outlives the silence that ends others', { timeout: 20_000 }, async (t) => {
  const { site, admin } = await start(t);
  const session = await Session.open(site.as(admin));
  const log = session.http2.request({ ':path': '/v1/log/error' });
  log.on('error', () => undefined);
  log.resume();
  await once(log, 'response');
  await pause(4500);
  t.notOk(log.closed, 'it is still open after twice the idle time');
  session.close();
});

t.test(
  'a flood of connections is turned away at the limit, and who is in stays in',
  { timeout: 40_000 },
  async (t) => {
    const { site, admin } = await start(t);
    const good = await Session.open(site.as(admin));
    const flood = await Promise.all(
      Array.from({ length: 120 }, () => connect(site.port).catch(() => undefined)),
    );
    const open = (): number =>
      flood.filter((socket) => socket !== undefined && !socket.destroyed && !socket.readableEnded).length;
    for (const socket of flood) socket?.resume();
    t.ok(await within(1000, () => open() <= 40), `${open()} of ${flood.length} are held`);
    t.equal((await good.ask(generate)).status, 200, 'a client that is in is served');
    t.ok(await within(boundMs.handshake, () => open() === 0), 'those who say nothing are let go');
    t.ok(
      await within(
        2000,
        async () => (await askHttp1(site.as(admin), generate).catch(() => undefined))?.status === 200,
      ),
      'then there is room again',
    );
    good.close();
  },
);
