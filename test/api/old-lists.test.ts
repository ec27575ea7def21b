/** `lists: ndjson`: lists as servers of before 2023-10 answered them, held against recordings of those. Real TLS, real keystores. */
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  readdirSync,
} from 'node:fs';
import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { FastifyReply } from 'fastify';
import t, { type Test } from 'tap';
import { sendPages } from '../../src/api/kes/paged-answer.ts';
import { lines } from '../../src/client/decode.ts';
import { createClient } from '../../src/client/index.ts';
import { parseConfig } from '../../src/config/index.ts';
import { SelloError } from '../../src/errors.ts';
import { startServer } from '../../src/server/index.ts';
import { readRecording } from '../wire/replay.ts';

const pki = path.join(import.meta.dirname, '../fixtures/pki');
const recordingOf = (name: string) =>
  readRecording(path.join(import.meta.dirname, `../wire/kes/${name}.json`));

interface Answer {
  readonly status: number;
  readonly type: string | undefined;
  readonly length: string | undefined;
  readonly body: string;
}

interface Started {
  readonly keys: string;
  readonly port: number;
  get(target: string, client?: string): Promise<Answer>;
  getOverHttp2(target: string): Promise<Answer>;
}

/** @param keystore names in the keystore */
async function start(
  t: Test,
  configText: string,
  keystore: readonly string[],
  lists = 'ndjson',
): Promise<Started> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'sello-old-lists-'));
  for (const file of readdirSync(pki)) symlinkSync(path.join(pki, file), path.join(folder, file));
  const keys = path.join(folder, 'keys');
  mkdirSync(keys);
  for (const name of keystore) writeFileSync(path.join(keys, name), 'stored');
  const text = configText
    .replace(/^address: .*$/m, 'address: 127.0.0.1:0')
    .replaceAll(/(: |- )\.\//g, `$1${folder}/`);
  const config = parseConfig(
    `${text}\nsello: { lists: ${lists}, audit: { mode: off } }\nlog: { error: off }\n`,
    {
      file: path.join(folder, 'server.yml'),
      env: {},
    },
  );
  const server = await startServer(config);
  t.teardown(async () => {
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  const port = server.ports[0]!;
  const credentials = (client: string) => ({
    cert: readFileSync(path.join(pki, `${client}.crt`)),
    key: readFileSync(path.join(pki, `${client}.key`)),
    rejectUnauthorized: false,
  });
  return {
    keys,
    port,
    get: (target, client = 'admin') =>
      new Promise((resolve, reject) => {
        const options = { host: '127.0.0.1', port, path: target, agent: false, ...credentials(client) };
        https
          .get(options, (response) => {
            const chunks: Buffer[] = [];
            response.on('error', reject);
            response.on('data', (chunk: Buffer) => chunks.push(chunk));
            response.on('end', () =>
              resolve({
                status: response.statusCode!,
                type: response.headers['content-type'],
                length: response.headers['content-length'],
                body: Buffer.concat(chunks).toString(),
              }),
            );
          })
          .on('error', reject);
      }),
    getOverHttp2: (target) =>
      new Promise((resolve, reject) => {
        const session = http2.connect(`https://127.0.0.1:${port}`, credentials('admin'));
        session.on('error', reject);
        const stream = session.request({ ':path': target });
        stream.on('error', reject);
        let headers: http2.IncomingHttpHeaders & http2.IncomingHttpStatusHeader = {};
        const chunks: Buffer[] = [];
        stream.on('response', (received) => (headers = received));
        stream.on('data', (chunk: Buffer) => chunks.push(chunk));
        stream.on('end', () => {
          session.destroy();
          resolve({
            status: headers[':status']!,
            type: headers['content-type'],
            length: headers['content-length'],
            body: Buffer.concat(chunks).toString(),
          });
        });
      }),
  };
}

/** Those servers listed in the order of a map, and times are of their day. */
const comparable = (body: string) =>
  body
    .replaceAll(/"created_at":"[^"]+"/g, '"created_at":"then"')
    .split('\n')
    .sort();

const namesIn = (body: string) =>
  body
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => (JSON.parse(line) as { name: string }).name);

for (const server of ['old-2023-09-28', 'old-v0.22.3']) {
  void t.test(`answers the lists of ${server} line by line`, async (t) => {
    const recording = recordingOf(server);
    const lists = recording.exchanges.filter(({ id }) => /\/(02[234]|048|052)$/.test(id));
    t.equal(lists.length, 5);
    const { get } = await start(t, recording.server_config, lists[0]!.keystore_before!);
    for (const { id, request, response } of lists) {
      const recorded = Object.fromEntries(response!.headers!);
      const answer = await get(request.path!);
      t.equal(answer.status, 200, id);
      t.equal(answer.type, recorded['Content-Type'], id);
      t.same(comparable(answer.body), comparable(response!.body!), id);
      // Times differ in length; lists of keys have none.
      if (request.path!.startsWith('/v1/key/')) t.equal(answer.length, recorded['Content-Length'], id);
    }
  });
}

const { server_config: plain } = recordingOf('old-2023-09-28');

void t.test('patterns are globs over the whole name', async (t) => {
  const { get } = await start(t, plain, ['a1z', 'a2z', 'a22z', 'b1z', 'a1y']);
  const asked = async (pattern: string) =>
    namesIn((await get(`/v1/key/list/${encodeURIComponent(pattern)}`)).body);
  t.same(await asked('a*z'), ['a1z', 'a22z', 'a2z']);
  t.same(await asked('a?z'), ['a1z', 'a2z']);
  t.same(await asked('[ab]1z'), ['a1z', 'b1z']);
  t.same(await asked('*y'), ['a1y']);
  t.same(await asked('a1z'), ['a1z']);
  t.same(await asked('a1'), [], 'a beginning alone matches nothing, as then');
  t.same(await asked(''), ['a1y', 'a1z', 'a22z', 'a2z', 'b1z']);
  const refused = await get('/v1/key/list/%5Ba');
  t.equal(refused.status, 400);
  t.equal(refused.body, `{"message":"listing pattern '[a' is empty, too long or is invalid"\n}`);
  t.equal((await get('/v1/policy/list/%5Ba')).status, 400);
  t.equal((await get('/v1/policy/list/a?p')).body, '', 'what follows a `?` is the query');
  t.same(namesIn((await get('/v1/policy/list/a%3Fp')).body), ['app']);
});

void t.test('a list is whole, however many pages of the keystore it takes', async (t) => {
  const names = Array.from({ length: 2500 }, (_, i) => `key-${String(i).padStart(4, '0')}`);
  const { get, getOverHttp2 } = await start(t, plain, names);
  for (const answer of [await get('/v1/key/list/*'), await getOverHttp2('/v1/key/list/key*')]) {
    t.equal(answer.status, 200);
    t.equal(answer.type, 'application/x-ndjson');
    t.equal(answer.length, undefined);
    t.same(namesIn(answer.body), names);
  }
  // One entry of the last page: the pages before it are empty.
  t.same(namesIn((await get('/v1/key/list/*-2499')).body), ['key-2499']);
});

void t.test('a keystore that is away is an error, not an empty list', async (t) => {
  const { get, keys } = await start(t, plain, []);
  t.match(await get('/v1/key/list/*'), { status: 200, type: 'application/x-ndjson', body: '' });
  rmSync(keys, { recursive: true });
  const answer = await get('/v1/key/list/*');
  t.equal(answer.status, 502);
  t.equal(answer.type, 'application/json');
  t.equal(answer.body, '{"message":"failed to list keys"\n}');
});

const rules = `version: sello/v1
listeners: [{address: "127.0.0.1:0", tls: {cert: ./server.crt, key: ./server.key}}]
probes: off
audit: {mode: off, folder: ./}
tenants:
  - name: photos
    clients: {auth: off}
    kes: {lists: LISTS}
    audit: {mode: off}
    keystore: {fs: {path: ./keys}}
    policies:
      app:
        allow: [{operations: [list]}]
        deny: [{operations: [list], keys: ['secret*']}]
        identities: [a9ea4b8fedf13164190bc1da3147b129f8bb7ba2d79b54711e922e3630cec9b0]
`;

for (const lists of ['json', 'ndjson']) {
  void t.test(`a list that could show a denied name is denied (${lists})`, async (t) => {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'sello-old-lists-'));
    for (const file of readdirSync(pki)) symlinkSync(path.join(pki, file), path.join(folder, file));
    mkdirSync(path.join(folder, 'keys'));
    for (const name of ['app-1', 'secret-1']) writeFileSync(path.join(folder, 'keys', name), 'stored');
    const config = parseConfig(rules.replace('LISTS', lists).replaceAll('./', `${folder}/`), {
      file: path.join(folder, 'sello.yaml'),
      env: {},
    });
    const server = await startServer({ ...config, log: { ...config.log, level: 'silent' } });
    t.teardown(async () => {
      await server.stop();
      rmSync(folder, { recursive: true, force: true });
    });
    const statusOf = (target: string) =>
      new Promise<number>((resolve, reject) => {
        const cert = readFileSync(path.join(pki, 'app.crt'));
        const key = readFileSync(path.join(pki, 'app.key'));
        const options = { host: '127.0.0.1', port: server.ports[0]!, path: target, cert, key };
        https
          .get({ ...options, agent: false, rejectUnauthorized: false }, (response) => {
            response.resume();
            resolve(response.statusCode!);
          })
          .on('error', reject);
      });
    t.equal(await statusOf('/v1/key/list/app*'), 200);
    for (const pattern of ['*', '', 's*', 'secret', 'secret-1*'])
      t.equal(await statusOf(`/v1/key/list/${pattern}`), 403, pattern);
  });
}

void t.test(
  'a list that breaks off says so in its last line, and one that nobody reads is cut',
  async (t) => {
    const failures: unknown[] = [];
    let reading = true;
    const next = async () => {
      if (reading) throw new SelloError('SELLO_STORE_UNREACHABLE');
      return { text: 'x'.repeat(1 << 20), more: true };
    };
    const server = http.createServer((_request, raw) => {
      const reply = { hijack: () => undefined, raw } as unknown as FastifyReply;
      const answer = {
        status: 200,
        body: Buffer.from('{"name":"first"}\n'),
        type: 'application/x-ndjson',
        next,
      };
      void sendPages(reply, answer, {
        // What would take longer than its time: here, at once.
        withDeadline: (work) => (reading ? work : Promise.race([work, pause()])),
        mayGoOn: () => true,
        messageOf: (error) => {
          failures.push(error);
          return 'failed to list keys';
        },
      });
    });
    const pause = () => delay(50).then(() => Promise.reject(new Error('too late')));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.teardown(() => server.close());
    const { port } = server.address() as AddressInfo;
    const whole = await fetch(`http://127.0.0.1:${port}`);
    const text = await whole.text();
    t.equal(text, '{"name":"first"}\n{"error":"failed to list keys"}\n');
    t.match(failures, [{ code: 'SELLO_STORE_UNREACHABLE' }]);
    const received = { status: 200, contentType: 'application/x-ndjson', body: Buffer.from(text) };
    t.throws(() => lines(received, 'names'), { status: 502, message: 'failed to list keys' });
    reading = false;
    const request = http.get({ host: '127.0.0.1', port, agent: false });
    const [response] = (await once(request, 'response')) as [http.IncomingMessage];
    await delay(500); // the reader takes nothing; buffers fill, and the time for that ends
    await t.rejects(
      async () => {
        for await (const chunk of response) void chunk;
      },
      { code: 'ECONNRESET' },
    );
  },
);

async function all(names: AsyncIterable<string>): Promise<string[]> {
  const found: string[] = [];
  for await (const name of names) found.push(name);
  return found;
}

void t.test('Sello’s own client reads both forms', async (t) => {
  const names = ['app-1', 'app-2', 'other'];
  for (const lists of ['json', 'ndjson']) {
    const { port } = await start(t, plain, names, lists);
    const client = createClient({
      endpoints: [`127.0.0.1:${port}`],
      certPem: readFileSync(path.join(pki, 'admin.crt'), 'utf8'),
      keyPem: readFileSync(path.join(pki, 'admin.key')),
      insecure: true,
    });
    t.same(await all(client.listKeys()), names, lists);
    t.same(await all(client.listKeys('app-')), ['app-1', 'app-2'], lists);
    t.same(await all(client.listKeys('none')), [], lists);
    t.same(await all(client.listPolicies()), ['app'], lists);
    t.ok((await all(client.listIdentities('a9'))).length === 1, lists);
    client.close();
  }
});

void t.test('without the setting lists are as today', async (t) => {
  const { get } = await start(t, plain, ['one'], 'json');
  t.match(await get('/v1/key/list/*'), { type: 'application/json', body: '{"names":["one"]}\n' });
});
