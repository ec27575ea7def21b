/** Our HTTP/2 under h2spec, the conformance tests of another house: RFC 9113 (as RFC 7540) and HPACK, on both kinds of streams. */
import { execFile } from 'node:child_process';
import { readFile, mkdtemp, rm } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tls from 'node:tls';
import { promisify } from 'node:util';
import t from 'tap';
import { Http2Connection, Http2Stream, SmallCall, type StreamPort } from '../../src/http2/index.ts';
import { createAuthority } from './certificates.ts';
import { needTools } from './tools.ts';

const body = 'hello, world';

const serve: Readonly<Record<string, (port: StreamPort) => void>> = {
  'streams of any size': (port) => {
    const stream = new Http2Stream(port);
    stream.on('error', () => undefined);
    stream.resume();
    const answer = (): void => {
      stream.respond(200, { 'content-type': 'text/plain' });
      stream.end(Buffer.from(body));
    };
    if (stream.endAfterHeaders) answer();
    else stream.once('end', answer);
  },
  'small calls': (port) => {
    const call = new SmallCall(port);
    const answer = (): void => call.answer(200, { 'content-type': 'text/plain' }, Buffer.from(body), true);
    if (call.endAfterHeaders) answer();
    else call.once('end', answer);
  },
};

const tool = await needTools(t, 'h2spec');
if (tool !== undefined) {
  const folder = await mkdtemp(join(tmpdir(), 'sello-h2spec-'));
  const { cert, key } = await (await createAuthority(folder)).issue('h2spec', 'server');
  const files = { cert: await readFile(cert), key: await readFile(key) };
  t.teardown(() => rm(folder, { recursive: true, force: true }));

  for (const [kind, onRequest] of Object.entries(serve)) {
    t.test(`${kind} conform`, async (t) => {
      const connections = new Set<Http2Connection>();
      const server = tls.createServer({ ...files, ALPNProtocols: ['h2'] }, (socket) => {
        const connection: Http2Connection = new Http2Connection(socket, limits, {
          onRequest,
          onClose: () => connections.delete(connection),
        });
        connections.add(connection);
      });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      const { port } = server.address() as AddressInfo;
      const args = ['-h', '127.0.0.1', '-p', String(port), '-t', '-k', '-S', '-o', '5'];
      const { stdout } = await promisify(execFile)(tool.h2spec, args).catch(
        (error: unknown) => error as Said,
      );
      for (const connection of connections) connection.destroy();
      server.close();
      const [, all, passed] = /^(\d+) tests, (\d+) passed, 0 skipped, 0 failed$/m.exec(stdout) ?? [];
      t.equal(passed, all, failuresOf(stdout));
      t.ok(Number(all) >= leastTests, `${String(all)} tests`);
    });
  }
}

interface Said {
  readonly stdout: string;
}

const leastTests = 146;

function failuresOf(said: string): string {
  const at = said.indexOf('Failures:');
  return at === -1 ? 'all passed' : said.slice(at);
}

const limits = {
  maxConcurrentStreams: 100,
  maxResetsPerSecond: 200,
  maxSettings: 32,
  maxWaitingPings: 10,
  maxMemoryBytes: 10_000_000,
  maxHeaderListBytes: 16_384,
  headerTableBytes: 4096,
  streamWindowBytes: 262_144,
  windowBytes: 4_194_304,
  headersTimeoutMs: 10_000,
  idleTimeoutMs: 60_000,
};
