/** Starts {@link ./stream-server.ts} and moves bytes through it. */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import http2, { type ClientHttp2Session, type ClientHttp2Stream } from 'node:http2';
import https from 'node:https';
import path from 'node:path';
import { tlsOptions, type Target } from '../../attacks/client.ts';

export const mebibyte = 1_048_576;

export interface Sizes {
  readonly rss: number;
  readonly peak: number;
  readonly wholeCollections: number;
  readonly files: number;
  readonly inFlight: number;
}

export class StreamServer {
  readonly #child: ChildProcess;
  readonly target: Target;

  private constructor(child: ChildProcess, target: Target) {
    this.#child = child;
    this.target = target;
  }

  static async start(): Promise<StreamServer> {
    // As src/main.ts starts it, and with a collector that tests can call.
    const execArgv = ['--expose-gc', '--max-semi-space-size=8'];
    const child = fork(path.join(import.meta.dirname, 'stream-server.ts'), [], { execArgv });
    const [ready] = (await once(child, 'message')) as [{ port: number; cert: string; key: string }];
    return new StreamServer(child, { port: ready.port, credentials: { cert: ready.cert, key: ready.key } });
  }

  async sizes(): Promise<Sizes> {
    this.#child.send('sizes');
    const [sizes] = (await once(this.#child, 'message')) as [Sizes];
    return sizes;
  }

  stop(): void {
    this.#child.kill();
  }

  session(): ClientHttp2Session {
    const session = http2.connect(`https://127.0.0.1:${this.target.port}`, {
      ...tlsOptions(this.target),
      settings: { initialWindowSize: mebibyte },
      // What the client itself queues: not what is tested here.
      maxSessionMemory: 1000,
    });
    session.on('error', () => undefined);
    session.on('connect', () => session.setLocalWindowSize(16 * mebibyte));
    return session;
  }

  request1(route: string, headers: Record<string, string>) {
    return https.request({
      ...(tlsOptions(this.target) as https.RequestOptions),
      port: this.target.port,
      method: 'POST',
      path: route,
      headers,
      agent: false,
    });
  }
}

export const sealPath = '/objects/v1/seal?bucket=photos&object=a';

export function sealStream(session: ClientHttp2Session): ClientHttp2Stream {
  const stream = session.request({ ':method': 'POST', ':path': sealPath });
  stream.on('error', () => undefined);
  return stream;
}

const chunk = Buffer.alloc(mebibyte);

/** Sends `total` bytes and takes in what comes back; resolves to its length. */
export async function through(
  server: StreamServer,
  over: 'HTTP/1.1' | 'HTTP/2',
  total: number,
): Promise<number> {
  let got = 0;
  const session = over === 'HTTP/2' ? server.session() : undefined;
  const target =
    session === undefined
      ? server.request1(sealPath, { 'content-length': String(total) })
      : sealStream(session);
  const done = new Promise<void>((resolve, reject) => {
    const take = (source: NodeJS.ReadableStream): void => {
      source.on('data', (bytes: Buffer) => (got += bytes.length));
      source.on('end', resolve);
      source.on('error', reject);
    };
    target.on('error', reject);
    if (session === undefined) target.on('response', take);
    else take(target as ClientHttp2Stream);
  });
  for (let sent = 0; sent < total; sent += chunk.length) {
    if (!target.write(chunk.subarray(0, Math.min(chunk.length, total - sent)))) await once(target, 'drain');
  }
  target.end();
  await done;
  session?.close();
  return got;
}
