/**
 * The server's streams against a plain TLS echo: each in a process of its own, one client that sends and takes in at once. What
 * counts is the processor time of the server, because the client shares the machine.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import http2 from 'node:http2';
import https from 'node:https';
import { once } from 'node:events';
import tls from 'node:tls';

const mebibyte = 1_048_576;

interface Ready {
  readonly port: number;
  readonly cert: string;
  readonly key: string;
}

class Bench {
  readonly #child: ChildProcess;
  readonly ready: Ready;

  private constructor(child: ChildProcess, ready: Ready) {
    this.#child = child;
    this.ready = ready;
  }

  static async start(kind: 'sello' | 'echo' | 'collecting echo'): Promise<Bench> {
    const child = fork(new URL('stream-bench-server.ts', import.meta.url), [kind], {
      execArgv: ['--max-semi-space-size=8'],
    });
    const [ready] = (await once(child, 'message')) as [Ready];
    return new Bench(child, ready);
  }

  /** Processor seconds so far. */
  async cpuSeconds(): Promise<number> {
    this.#child.send('cpu');
    const [seconds] = (await once(this.#child, 'message')) as [number];
    return seconds;
  }

  stop(): void {
    this.#child.kill();
  }
}

function tlsOf({ port, cert, key }: Ready, protocol?: string): tls.ConnectionOptions {
  return {
    host: '127.0.0.1',
    port,
    cert,
    key,
    rejectUnauthorized: false,
    ...(protocol === undefined ? {} : { ALPNProtocols: [protocol] }),
  };
}

const chunk = randomBytes(mebibyte);

interface Duplexed {
  write(bytes: Buffer): boolean;
  end(): void;
  once(event: 'drain', listener: () => void): unknown;
}

async function feed(target: Duplexed, total: number): Promise<void> {
  for (let sent = 0; sent < total; sent += chunk.length) {
    if (!target.write(chunk)) await new Promise<void>((resolve) => target.once('drain', resolve));
  }
  target.end();
}

async function throughEcho(ready: Ready, total: number): Promise<void> {
  const socket = tls.connect(tlsOf(ready));
  let got = 0;
  const done = new Promise<void>((resolve) => {
    socket.on('data', (bytes: Buffer) => {
      got += bytes.length;
      if (got >= total) resolve();
    });
  });
  await feed(socket, total);
  await done;
  socket.destroy();
}

async function throughHttp1(ready: Ready, path: string, total: number): Promise<void> {
  const request = https.request({
    ...(tlsOf(ready, 'http/1.1') as https.RequestOptions),
    method: 'POST',
    path,
    headers: { 'content-length': String(total) },
    agent: false,
  });
  const done = new Promise<void>((resolve, reject) => {
    request.on('error', reject);
    request.on('response', (response) => {
      response.on('data', () => undefined);
      response.on('end', resolve);
      response.on('error', reject);
    });
  });
  await feed(request, total);
  await done;
}

async function throughHttp2(ready: Ready, path: string, total: number): Promise<void> {
  const session = http2.connect(`https://127.0.0.1:${String(ready.port)}`, {
    ...tlsOf(ready, 'h2'),
    settings: { initialWindowSize: mebibyte },
  });
  session.on('connect', () => session.setLocalWindowSize(16 * mebibyte));
  const stream = session.request({ ':method': 'POST', ':path': path });
  const done = new Promise<void>((resolve, reject) => {
    stream.on('data', () => undefined);
    stream.on('end', resolve);
    stream.on('error', reject);
  });
  await feed(stream, total);
  await done;
  session.close();
}

async function smallObjects(ready: Ready, seconds: number): Promise<number> {
  const session = http2.connect(`https://127.0.0.1:${String(ready.port)}`, tlsOf(ready, 'h2'));
  const body = randomBytes(4096);
  let done = 0;
  const endMs = performance.now() + seconds * 1000;
  const worker = async (): Promise<void> => {
    while (performance.now() < endMs) {
      const stream = session.request({
        ':method': 'POST',
        ':path': '/objects/v1/seal?bucket=b&object=o',
        'content-length': '4096',
      });
      stream.on('data', () => undefined);
      stream.end(body);
      await once(stream, 'end');
      done++;
    }
  };
  const startMs = performance.now();
  await Promise.all(Array.from({ length: 32 }, worker));
  const rate = (done / (performance.now() - startMs)) * 1000;
  session.close();
  return rate;
}

export async function serverTable(quick: boolean): Promise<void> {
  const total = (quick ? 256 : 2048) * mebibyte;
  console.log(
    `\nThrough a server and back, ${String(total / mebibyte)} MiB, one stream; server and client share the machine\n`,
  );
  console.log('| what | GB/s | server CPU, s per GB | CPU against echo |');
  console.log('| --- | --- | --- | --- |');
  const [echo, collecting, sello] = await Promise.all([
    Bench.start('echo'),
    Bench.start('collecting echo'),
    Bench.start('sello'),
  ]);
  let echoCpu = 0;
  const measure = async (what: string, bench: Bench, work: () => Promise<void>): Promise<void> => {
    const before = await bench.cpuSeconds();
    const start = performance.now();
    await work();
    const seconds = (performance.now() - start) / 1000;
    const cpu = ((await bench.cpuSeconds()) - before) / (total / 1e9);
    if (echoCpu === 0) echoCpu = cpu;
    console.log(
      `| ${what} | ${(total / seconds / 1e9).toFixed(2)} | ${cpu.toFixed(2)} | ${(echoCpu / cpu).toFixed(2)} |`,
    );
  };
  try {
    const path = '/objects/v1/seal?bucket=b&object=o';
    await throughEcho(echo.ready, 64 * mebibyte);
    await throughEcho(collecting.ready, 64 * mebibyte);
    await throughHttp1(sello.ready, path, 64 * mebibyte);
    await throughHttp2(sello.ready, path, 64 * mebibyte);
    await measure('plain TLS echo', echo, () => throughEcho(echo.ready, total));
    await measure('TLS echo that collects as Sello does', collecting, () =>
      throughEcho(collecting.ready, total),
    );
    await measure('seal, HTTP/1.1', sello, () => throughHttp1(sello.ready, path, total));
    await measure('seal, HTTP/2', sello, () => throughHttp2(sello.ready, path, total));
    const rate = await smallObjects(sello.ready, quick ? 3 : 10);
    console.log(
      `\n4 KiB objects sealed over one HTTP/2 connection, 32 at a time: ${rate.toFixed(0)} per second`,
    );
  } finally {
    echo.stop();
    collecting.stop();
    sello.stop();
  }
}
