/** Connections of our HTTP/2 with Node's client and with bytes that no client would send. */
import { once } from 'node:events';
import http2, { type ClientHttp2Session, type ClientHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import tls, { type TLSSocket } from 'node:tls';
import t, { type Test } from 'tap';
import {
  Http2Connection,
  Http2Stream,
  SmallCall,
  type ConnectionLimits,
  type RequestHead,
} from '../../src/http2/index.ts';
import { pause, within } from '../attacks/client.ts';
import { flags, frame, headerBlock, request } from '../attacks/frames.ts';
import { serverCertificate } from '../attacks/pki.ts';

const limits: ConnectionLimits = {
  maxConcurrentStreams: 250,
  maxResetsPerSecond: 200,
  maxSettings: 32,
  maxWaitingPings: 10,
  maxMemoryBytes: 64_000_000,
  maxHeaderListBytes: 16_384,
  headerTableBytes: 4096,
  streamWindowBytes: 262_144,
  windowBytes: 4_194_304,
  headersTimeoutMs: 2000,
  idleTimeoutMs: 60_000,
};

const { certificatePem: cert, privateKeyPem: key } = serverCertificate();
const mebibyte = 1_048_576;

interface Peer {
  readonly port: number;
  readonly connections: Set<Http2Connection>;
}

/** `/echo` sends the body back as it comes, `/small` tells what arrived, `/many` sends so many bytes. */
async function start(t: Test, more: Partial<ConnectionLimits> = {}): Promise<Peer> {
  const connections = new Set<Http2Connection>();
  const server = tls.createServer({ cert, key, ALPNProtocols: ['h2'] }, (socket) => {
    const connection: Http2Connection = new Http2Connection(
      socket,
      { ...limits, ...more },
      {
        onRequest: (port, head) => {
          if (head.path.startsWith('/small')) answerSmall(new SmallCall(port), head);
          else answerStream(new Http2Stream(port), head);
        },
        onClose: () => connections.delete(connection),
      },
    );
    connections.add(connection);
  });
  server.on('tlsClientError', () => undefined);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const sweep = setInterval(() => {
    for (const connection of connections) connection.sweep(performance.now());
  }, 100);
  t.teardown(() => {
    clearInterval(sweep);
    for (const connection of connections) connection.destroy();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, connections };
}

function answerSmall(call: SmallCall, { headers, method, path }: RequestHead): void {
  const parts: Buffer[] = [];
  call.on('data', (part: Buffer) => parts.push(Buffer.from(part)));
  const answer = (): void => {
    const said = { method, path, headers, body: Buffer.concat(parts).toString() };
    call.answer(200, { 'content-type': 'application/json' }, Buffer.from(JSON.stringify(said)), true);
  };
  if (call.endAfterHeaders) answer();
  else call.once('end', answer);
}

function answerStream(stream: Http2Stream, { path }: RequestHead): void {
  stream.on('error', () => undefined);
  stream.respond(200, {});
  if (path === '/echo') stream.pipe(stream);
  else {
    let left = Number(path.slice('/many/'.length));
    const write = (): void => {
      while (left > 0) {
        const length = Math.min(left, 65_536);
        left -= length;
        if (!stream.write(Buffer.alloc(length, 7))) {
          stream.once('drain', write);
          return;
        }
      }
      stream.end();
    };
    write();
  }
}

function connect(
  t: Test,
  { port }: Peer,
  options: http2.SecureClientSessionOptions = {},
): ClientHttp2Session {
  const session = http2.connect(`https://127.0.0.1:${port}`, {
    rejectUnauthorized: false,
    // Node's client counts what it has still to send.
    maxSessionMemory: 1000,
    ...options,
  });
  session.on('error', () => undefined);
  t.teardown(() => session.destroy());
  return session;
}

async function bodyOf(stream: ClientHttp2Stream): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of stream) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

async function raw(
  t: Test,
  { port }: Peer,
): Promise<{ socket: TLSSocket; ended: () => boolean; bytes: () => Buffer }> {
  const socket = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['h2'] });
  let isEnded = false;
  const got: Buffer[] = [];
  socket.on('error', () => (isEnded = true));
  socket.on('close', () => (isEnded = true));
  socket.on('end', () => (isEnded = true));
  socket.on('data', (chunk: Buffer) => got.push(chunk));
  t.teardown(() => socket.destroy());
  await once(socket, 'secureConnect');
  return { socket, ended: () => isEnded, bytes: () => Buffer.concat(got) };
}

const hello = Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame('settings', 0, 0)]);

t.test('large bodies go both ways, one and many at once', { timeout: 60_000 }, async (t) => {
  const session = connect(t, await start(t));
  const sizes = [40 * mebibyte, ...Array.from({ length: 60 }, (_, i) => 200_000 + i)];
  await Promise.all(
    sizes.map(async (size, i) => {
      const stream = session.request({ ':method': 'POST', ':path': '/echo' });
      const sent = Buffer.alloc(size, i + 1);
      const back = bodyOf(stream);
      stream.end(sent);
      t.ok((await back).equals(sent), `${size} bytes`);
    }),
  );
});

t.test('a client that takes little at a time gets all, and costs little', { timeout: 60_000 }, async (t) => {
  const peer = await start(t);
  const session = connect(t, peer, { settings: { initialWindowSize: 1 } });
  const small = await bodyOf(session.request({ ':path': '/small' }));
  t.match(JSON.parse(small.toString()), { path: '/small' });
  t.equal((await bodyOf(session.request({ ':path': '/many/3000' }))).length, 3000);
  const [paused, other] = [connect(t, peer), connect(t, peer)];
  const before = process.memoryUsage.rss();
  const streams = Array.from({ length: 20 }, () => {
    const stream = paused.request({ ':path': `/many/${20 * mebibyte}` });
    stream.pause();
    return stream;
  });
  await pause(500);
  t.equal((await bodyOf(other.request({ ':path': '/small' }))).length > 0, true, 'others are served');
  t.ok(process.memoryUsage.rss() - before < 150 * mebibyte, 'what is not taken is not made');
  t.equal((await bodyOf(streams[0]!)).length, 20 * mebibyte, 'and goes on when it is');
});

t.test('a window that the client makes smaller than what is on its way', { timeout: 30_000 }, async (t) => {
  const session = connect(t, await start(t), { settings: { initialWindowSize: 100_000 } });
  const stream = session.request({ ':method': 'POST', ':path': '/echo' });
  const parts: Buffer[] = [];
  stream.on('data', (part: Buffer) => parts.push(part));
  stream.write(Buffer.alloc(30_000, 1));
  t.ok(await within(3000, () => Buffer.concat(parts).length === 30_000));
  session.settings({ initialWindowSize: 10 });
  await once(session, 'localSettings');
  const ended = once(stream, 'end');
  stream.end();
  await ended;
  t.equal(Buffer.concat(parts).length, 30_000, 'ends whole');
  t.equal((await bodyOf(session.request({ ':path': '/many/500' }))).length, 500, 'and the next has its own');
});

t.test('each request has its own fields, however they are packed', { timeout: 30_000 }, async (t) => {
  const session = connect(t, await start(t));
  await once(session, 'remoteSettings');
  let wrong = 0;
  for (let round = 0; round < 40; round++) {
    const asked = Array.from({ length: 20 }, (_, i) => ({
      ':method': i % 3 === 0 ? 'PUT' : 'POST',
      ':path': `/small/${(round * i) % 7}`,
      'x-round': String(round % 5),
      ...(i % 4 === 0 ? { [`x-${i}`]: 'y'.repeat((round * 37) % 500) } : {}),
    }));
    const answers = await Promise.all(
      asked.map(async (fields, i) => {
        const stream = session.request(fields, { endStream: i % 2 === 0 });
        if (i % 2 === 1) stream.end(`body ${i}`);
        return JSON.parse((await bodyOf(stream)).toString()) as {
          headers: Record<string, string>;
          body: string;
        };
      }),
    );
    for (const [i, { headers, body }] of answers.entries()) {
      const { ':authority': _a, ':scheme': _s, ...rest } = headers;
      if (JSON.stringify(Object.entries(rest).sort()) !== JSON.stringify(Object.entries(asked[i]!).sort()))
        wrong++;
      if (body !== (i % 2 === 1 ? `body ${i}` : '')) wrong++;
    }
  }
  t.equal(wrong, 0, '800 requests');
});

t.test('a table that has to be emptied stays in step', { timeout: 30_000 }, async (t) => {
  for (const headerTableBytes of [0, 4096]) {
    const peer = await start(t, { headerTableBytes });
    const session = connect(t, peer);
    for (let i = 0; i < 30; i++) {
      if (i === 10) for (const connection of peer.connections) connection.limitTable(0);
      const fields = { ':path': '/small', 'x-a': `value ${i % 4}`, 'x-b': 'z'.repeat(i * 20) };
      const said = JSON.parse((await bodyOf(session.request(fields))).toString()) as {
        headers: Record<string, string>;
      };
      t.match(said.headers, { 'x-a': fields['x-a'], 'x-b': fields['x-b'] });
    }
  }
});

t.test('answers stop where the client resets, and others go on', { timeout: 30_000 }, async (t) => {
  const peer = await start(t);
  const session = connect(t, peer);
  for (let i = 0; i < 100; i++) {
    const stream = session.request({ ':path': `/many/${mebibyte}` });
    stream.on('error', () => undefined);
    if (i % 3 === 0) stream.close(http2.constants.NGHTTP2_CANCEL);
    else if (i % 3 === 1) stream.once('data', () => stream.close(http2.constants.NGHTTP2_CANCEL));
    else t.equal((await bodyOf(stream)).length, mebibyte);
  }
  t.ok(await within(2000, () => [...peer.connections][0]?.streams === 0), 'no stream is left');
});

t.test('a connection that is closed serves what has begun', { timeout: 30_000 }, async (t) => {
  const peer = await start(t);
  const session = connect(t, peer);
  const begun = bodyOf(session.request({ ':path': `/many/${8 * mebibyte}` }));
  await pause(20);
  for (const connection of peer.connections) connection.close();
  t.equal((await begun).length, 8 * mebibyte);
  t.ok(await within(2000, () => peer.connections.size === 0), 'and ends then');
});

t.test('what does not come whole ends in time, also a byte at a time', { timeout: 30_000 }, async (t) => {
  const peer = await start(t);
  const whole = flags.endStream | flags.endHeaders;
  const beginnings: Record<string, Buffer> = {
    'nothing at all': Buffer.alloc(0),
    'half the preface': hello.subarray(0, 10),
    'half a frame head': Buffer.concat([hello, frame('ping', 0, 0, Buffer.alloc(8)).subarray(0, 4)]),
    'half a frame': Buffer.concat([
      hello,
      frame('headers', whole, 1, request('GET', '/small')).subarray(0, 20),
    ]),
    'a header block without its end': Buffer.concat([
      hello,
      frame('headers', 0, 1, request('GET', '/small')),
    ]),
  };
  await Promise.all(
    Object.entries(beginnings).map(async ([name, bytes]) => {
      const { ended, socket } = await raw(t, peer);
      socket.write(bytes);
      const drip = setInterval(() => socket.write(Buffer.of(0)), name === 'half a frame' ? 200 : 100_000);
      t.ok(await within(6000, ended), name);
      clearInterval(drip);
    }),
  );
});

t.test('mutated sessions hurt nobody', { timeout: 60_000 }, async (t) => {
  const peer = await start(t, { maxResetsPerSecond: 100_000 });
  const good = connect(t, peer);
  const crashes: unknown[] = [];
  const crashed = (error: unknown): void => void crashes.push(error);
  process.on('uncaughtException', crashed);
  t.teardown(() => process.off('uncaughtException', crashed));
  let seed = 9113;
  // A linear congruential generator (Numerical Recipes): failures can be made again.
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    return seed % below;
  };
  const uint32 = (value: number): Buffer => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(value);
    return bytes;
  };
  const kinds = [
    (id: number) =>
      frame(
        'headers',
        flags.endHeaders | random(2),
        id,
        request('POST', ['/echo', '/small', '/many/70000'][random(3)]!),
      ),
    (id: number) => frame('headers', flags.endHeaders, id, headerBlock([['x', 'y']])),
    (id: number) => frame('data', random(2), id, Buffer.alloc(random(3000))),
    (id: number) => frame('data', 8 | random(2), id, Buffer.alloc(1 + random(100), random(3))),
    (id: number) => frame('reset', 0, id, uint32(random(14))),
    (id: number) =>
      frame('windowUpdate', 0, random(2) * id, uint32(random(5) === 0 ? random(2 ** 31) : random(70_000))),
    () =>
      frame(
        'settings',
        0,
        0,
        Buffer.concat([
          Buffer.of(0, 1 + random(6)),
          uint32(random(4) === 0 ? random(2 ** 31) : random(70_000)),
        ]),
      ),
    () => frame('settings', 1, 0),
    () => frame('ping', random(2), 0, Buffer.alloc(8)),
    (id: number) => frame('priority', 0, id, Buffer.alloc(5)),
    (id: number) => frame('continuation', random(5), id, headerBlock([['x', 'y']])),
    () => frame('goaway', 0, 0, Buffer.alloc(8)),
  ];
  for (let round = 0; round < 400; round++) {
    const { ended, socket } = await raw(t, peer);
    const parts: Buffer[] = [hello];
    let last = 1;
    for (let i = random(25); i >= 0; i--) {
      const made = kinds[random(random(2) === 0 ? 3 : kinds.length)]!(
        random(3) === 0 ? 1 + 2 * random(4) : last,
      );
      if (random(12) === 0) made[random(made.length)]! ^= 1 << random(8);
      parts.push(random(40) === 0 ? made.subarray(0, random(made.length)) : made);
      if (random(2) === 0) last += 2;
    }
    const bytes = Buffer.concat(parts);
    const cut = random(bytes.length);
    socket.write(bytes.subarray(0, cut));
    socket.write(bytes.subarray(cut));
    if (random(3) === 0) await within(5, ended);
    if (random(2) === 0) socket.destroy();
    else socket.end();
    if (round % 40 === 0)
      t.match(JSON.parse((await bodyOf(good.request({ ':path': '/small' }))).toString()), { path: '/small' });
  }
  t.same(crashes, [], 'no exception');
  good.close();
  t.ok(await within(8000, () => peer.connections.size === 0), 'no connection is left');
});
