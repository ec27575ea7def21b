/** Small calls over HTTP/1.1, in the lane and past it: one client sees no difference, whatever the bytes and however they are cut. */
import type { TLSSocket } from 'node:tls';
import t, { type Test } from 'tap';
import { readHttp1Head } from '../../src/server/http1-head.ts';
import { askHttp2, openSocket, pause, within } from '../attacks/client.ts';
import { issue, type Issued } from '../attacks/pki.ts';
import { listenerYaml, serverAuditOff, Site, tenantsYaml } from '../attacks/site.ts';

async function start(t: Test, more = ''): Promise<{ site: Site; admin: Issued }> {
  const admin = issue('admin');
  const site = new Site();
  t.teardown(() => site.remove());
  await site.start(
    listenerYaml +
      more +
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

/** All that came, and whether the server ended the connection. */
class Client {
  readonly socket: TLSSocket;
  text = '';
  isClosed = false;

  private constructor(socket: TLSSocket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => (this.text += chunk.toString('latin1')));
    socket.on('error', () => socket.destroy());
    socket.on('close', () => (this.isClosed = true));
    socket.on('end', () => (this.isClosed = true));
  }

  static async open(site: Site, leaf: Issued): Promise<Client> {
    return new Client(await openSocket(site.as(leaf), 'http/1.1'));
  }

  /** Status and body of each answer; a body ends with its length. */
  get answers(): { status: number; head: string; body: string }[] {
    const found = [];
    for (let rest = this.text; ;) {
      const end = rest.indexOf('\r\n\r\n');
      const head = rest.slice(0, end);
      if (end === -1) return found;
      const length = Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0);
      if (rest.length < end + 4 + length) return found;
      found.push({ status: Number(head.slice(9, 12)), head, body: rest.slice(end + 4, end + 4 + length) });
      rest = rest.slice(end + 4 + length);
    }
  }

  async send(...pieces: readonly string[]): Promise<void> {
    for (const [i, piece] of pieces.entries()) {
      if (i > 0) await pause(20);
      this.socket.write(Buffer.from(piece, 'latin1'));
    }
  }

  async answered(count: number): Promise<boolean> {
    return within(3000, () => this.answers.length >= count || this.isClosed);
  }
}

function call(method: string, path: string, body: string, fields = ''): string {
  return `${method} ${path} HTTP/1.1\r\nHost: localhost\r\n${fields}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
}

const generate = call('PUT', '/v1/key/generate/app', '{}');
const isDataKey = (body: string): boolean =>
  /^\{"plaintext":"[^"]{44}","ciphertext":"[^"]+"\}\n?$/.test(body);

/** What tells answers apart: without the date, and without random keys. */
function shapeOf({ head, body }: { head: string; body: string }): string {
  const fields = head
    .replace(/^date: .*$/im, 'date')
    .replace(/^content-length: 1\d\d$/im, 'content-length: 1xx');
  return `${fields}\n${isDataKey(body) ? 'a data key' : body}`;
}

t.test('an answer is the same from the lane, from Node and in any number of pieces', async (t) => {
  const { site, admin } = await start(t);
  const stranger = issue('stranger');
  const requests: Record<string, string> = {
    generate,
    'generate by POST': call('POST', '/v1/key/generate/app', '{"context":"YWJj"}'),
    'a key that is missing': call('PUT', '/v1/key/generate/none', '{}'),
    'a name that is none': call('PUT', '/v1/key/generate/a%20b', '{}'),
    'no name': call('PUT', '/v1/key/generate/', '{}'),
    'a query': call('PUT', '/v1/key/generate/app?x=1', '{}'),
    'no body': call('PUT', '/v1/key/generate/app', ''),
    'no JSON': call('PUT', '/v1/key/generate/app', 'x'),
    'a ciphertext that is none': call('PUT', '/v1/key/decrypt/app', '{"ciphertext":"AAAA"}'),
    encrypt: call('PUT', '/v1/key/encrypt/none', '{"plaintext":"AAAA"}'),
    hmac: call('PUT', '/v1/key/hmac/app', '{"message":"AAAA"}'),
    'another method': call('GET', '/v1/key/generate/app', ''),
    'a path to clean': call('PUT', '/v1//key/generate/app', '{}'),
    'a field twice': call('PUT', '/v1/key/generate/app', '{}', 'X: 1\r\nX: 2\r\n'),
    'keep-alive': call('PUT', '/v1/key/generate/app', '{}', 'Connection: keep-alive\r\n'),
    'a large body': call('PUT', '/v1/key/generate/app', `{"context":"${'A'.repeat(12_000)}"}`),
    'a route of another kind': call('GET', '/version', ''),
  };
  for (const leaf of [admin, stranger]) {
    for (const [name, request] of Object.entries(requests)) {
      const shapes: string[] = [];
      // A chunk that is no whole head goes to Node; a body behind its head is waited for; the last is the lane's, whole.
      for (const pieces of [
        [request.slice(0, 9), request.slice(9)],
        request.split(/(?<=\r\n\r\n)/),
        [request],
      ]) {
        const client = await Client.open(site, leaf);
        await client.send(...pieces);
        t.ok(await client.answered(1), `${name}: an answer`);
        shapes.push(client.answers.map(shapeOf).join());
        client.socket.destroy();
      }
      t.equal(shapes[1], shapes[0], `${name}: in two pieces`);
      t.equal(shapes[2], shapes[0], `${name}: in one`);
    }
  }
});

t.test(
  'calls sent before their answers are answered in order, whatever takes the connection over',
  async (t) => {
    const { site, admin } = await start(t);
    const missing = call('PUT', '/v1/key/generate/none', '{}');
    const version = call('GET', '/version', '');
    const last = call('PUT', '/v1/key/hmac/app', '{"message":"AAAA"}');
    const sequences: Record<string, readonly string[]> = {
      'all in one piece': [generate + missing + version + generate + last],
      'one after another': [generate, missing, generate, missing, last],
      'a second one behind the first': [generate, generate + missing, last],
      'half a head behind a call': [generate + missing.slice(0, 30), missing.slice(30) + last],
      'half a body behind a call': [generate + last.slice(0, -5), last.slice(-5)],
      'byte by byte after a call': [generate, ...last],
      'chunks behind a call': [
        generate,
        'PUT /v1/key/generate/app HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n',
        last,
      ],
      'a body that looks like a call': [
        generate,
        call('PUT', '/v1/key/hmac/app', `{"message":"${Buffer.from(missing).toString('base64')}"}`),
        last,
      ],
      'a body that is a call': [call('PUT', '/v1/key/hmac/app', missing), last],
    };
    for (const [name, pieces] of Object.entries(sequences)) {
      const client = await Client.open(site, admin);
      for (const piece of pieces) {
        client.socket.write(Buffer.from(piece, 'latin1'));
        if (name === 'byte by byte after a call') await pause(1);
        else if (name !== 'one after another') await pause(15);
      }
      await within(3000, () => client.answers.some(({ body }) => body.includes('"hmac"')));
      const { answers } = client;
      t.match(answers.at(-1)?.body, /"hmac"/, `${name}: the last is answered last`);
      const wanted = [...pieces.join('').matchAll(/(?:PUT|GET) (\/\S*) HTTP\/1\.1\r\nHost/g)]
        .filter((_, i, all) => !(name === 'a body that is a call' && i === 1 && all.length > 1))
        .map(([, path]) => path);
      t.equal(answers.length, wanted.length, `${name}: as many answers as calls`);
      for (const [i, path] of wanted.entries()) {
        const { status } = answers[i]!;
        if (path === '/v1/key/generate/none') t.equal(status, 404, `${name}: ${i}`);
        else if (!(name === 'a body that is a call' && i === 0)) t.equal(status, 200, `${name}: ${i}`);
      }
      client.socket.destroy();
    }
  },
);

t.test('nothing behind the end of a connection acts', async (t) => {
  const { site, admin } = await start(t);
  const make = (name: string): string => call('PUT', `/v1/key/create/${name}`, '');
  const closing = call('PUT', '/v1/key/generate/app', '{}', 'Connection: close\r\n');
  const client = await Client.open(site, admin);
  await client.send(closing + make('behind'));
  t.ok(await within(3000, () => client.isClosed));
  t.equal(client.answers.length, 1);
  t.equal((await askHttp2(site.as(admin), { method: 'GET', path: '/v1/key/describe/behind' })).status, 404);
});

t.test('a call that comes after it was given up is not served', { timeout: 30_000 }, async (t) => {
  const { site, admin } = await start(
    t,
    'limits: {headersTimeout: 1s, requestTimeout: 1s, idleTimeout: 2s}\n',
  );
  const client = await Client.open(site, admin);
  const request = call('PUT', '/v1/key/generate/app', '{"context":"YWJj"}');
  client.socket.write(request.slice(0, -4));
  t.ok(await within(6000, () => client.text.includes(' 408 ')), 'told so');
  client.socket.write(request.slice(-4) + generate);
  await pause(300);
  t.equal(client.text.match(/HTTP\/1\.1 /g)?.length, 1, 'and no more');
  client.socket.destroy();
});

t.test('a client that ends its side gets its answer; an idle one is left', { timeout: 30_000 }, async (t) => {
  const { site, admin } = await start(t, 'limits: {headersTimeout: 1s, idleTimeout: 1s}\n');
  const ending = await Client.open(site, admin);
  ending.socket.end(generate);
  t.ok(await within(3000, () => ending.isClosed));
  t.equal(ending.answers.length, 1);
  const idle = await Client.open(site, admin);
  await idle.send(generate);
  t.ok(await idle.answered(1));
  t.ok(await within(6000, () => idle.isClosed), 'closed');
  t.equal(idle.answers.length, 1, 'without a word');
});

t.test('heads that are not in the one plain form', async (t) => {
  const head = (fields: string): unknown => readHttp1Head(`PUT /v1/key/generate/app HTTP/1.1\r\n${fields}`);
  t.match(head('Host: a\r\nContent-Length: 2'), { method: 'PUT', contentLength: 2, headers: { host: 'a' } });
  t.match(head('Host:a\r\nContent-Length: \t 2 \t'), { contentLength: 2 });
  for (const fields of [
    '',
    'Host: a',
    'Content-Length: 2',
    'Host:\r\nContent-Length: 2',
    'Host: a\r\nHost: a\r\nContent-Length: 2',
    'Host: a\r\nContent-Length: 2\r\nContent-Length: 2',
    'Host: a\r\nContent-Length: +2',
    'Host: a\r\nContent-Length: 2, 2',
    'Host: a\r\nContent-Length: 0x2',
    'Host: a\r\nContent-Length: ',
    'Host: a\r\nContent-Length: 99999999',
    'Host: a\r\nContent-Length : 2',
    'Host : a\r\nContent-Length: 2',
    'Host: a\r\n Content-Length: 2',
    'Host: a\r\nContent-Length: 2\r\nX: a\nY: b',
    'Host: a\r\nContent-Length: 2\r\nX: a\rY: b',
    'Host: a\r\nContent-Length: 2\r\nX: \0',
    'Host: a\r\nContent-Length: 2\r\nX: \xe9',
    'Host: a\r\nContent-Length: 2\r\n: x',
    'Host: a\r\nContent-Length: 2\r\nX',
    'Host: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked',
    'Host: a\r\nContent-Length: 2\r\nConnection: close',
    'Host: a\r\nContent-Length: 2\r\nConnection: keep-alive, x',
    'Host: a\r\nContent-Length: 2\r\nExpect: 100-continue',
    'Host: a\r\nContent-Length: 2\r\nUpgrade: h2c',
    'Host: a\r\nContent-Length: 2\r\nTE: trailers',
    'Host: a\r\nContent-Length: 2\r\nTrailer: x',
    'Host: a\r\nContent-Length: 2\r\n__proto__: x\r\n__proto__: y',
  ])
    // prettier-ignore
    t.equal(head(fields), undefined, JSON.stringify(fields));
  for (const line of [
    'GET / HTTP/1.1',
    'PUT / HTTP/1.0',
    'PUT  / HTTP/1.1',
    'PUT /\t HTTP/1.1',
    'PUT x HTTP/1.1',
    'put / HTTP/1.1',
    'PUT https://a/ HTTP/1.1',
    'PUT /a b HTTP/1.1',
    ' PUT / HTTP/1.1',
    'PUT /\xe9 HTTP/1.1',
  ])
    t.equal(readHttp1Head(`${line}\r\nHost: a\r\nContent-Length: 2`), undefined, line);
});
