/**
 * What object streams do to key calls: p99 of key calls on a calm server and beside 64 streams that never stop, with streams on
 * the listener of the keys and on one with a process of its own. Load comes from processes of their own: the one of streams at the lowest priority, the
 * one of key calls at the normal one.
 */
import { fork, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http2, { type ClientHttp2Session, type ClientHttp2Stream } from 'node:http2';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { certificateOf, generateApiKey, parseApiKey, serverCertificate } from '../src/access/index.ts';

interface Job {
  readonly kind: 'calls' | 'streams';
  readonly port: number;
  readonly cert: string;
  readonly key: string;
  readonly seconds: number;
}

const streamCount = 64;
/** Key calls are sent at this pace whatever the answers take: waiting for a slow one would hide those behind it. */
const callsPerSecond = 200;

function connect({ port, cert, key }: Job): ClientHttp2Session {
  const session = http2.connect(`https://127.0.0.1:${String(port)}`, {
    cert,
    key,
    rejectUnauthorized: false,
    settings: { initialWindowSize: 1_048_576 },
  });
  session.on('connect', () => session.setLocalWindowSize(16 * 1_048_576));
  return session;
}

function callOnce(session: ClientHttp2Session): Promise<number> {
  const startMs = performance.now();
  const stream = session.request({ ':method': 'PUT', ':path': '/v1/key/generate/bench-key' });
  let status = 0;
  stream.on('response', (headers) => (status = Number(headers[':status'])));
  stream.on('data', () => undefined);
  stream.end('{}');
  return new Promise((resolve, reject) => {
    stream.once('error', reject);
    stream.once('end', () =>
      status === 200 ? resolve(performance.now() - startMs) : reject(new Error(`status ${String(status)}`)),
    );
  });
}

async function calls(job: Job): Promise<void> {
  const session = connect(job);
  for (let i = 0; i < callsPerSecond; i++) await callOnce(session);
  const took: Promise<number>[] = [];
  const startMs = performance.now();
  for (let sent = 0; sent < job.seconds * callsPerSecond;) {
    const due = ((performance.now() - startMs) / 1000) * callsPerSecond;
    for (; sent < due; sent++) took.push(callOnce(session));
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  const sorted = (await Promise.all(took)).sort((a, b) => a - b);
  session.close();
  const at = (share: number): number => sorted[Math.floor(sorted.length * share)]!;
  process.send!({ p50: at(0.5), p99: at(0.99), most: sorted.at(-1)! });
}

async function streams(job: Job): Promise<void> {
  os.setPriority(19);
  const sessions = Array.from({ length: 8 }, () => connect(job));
  const chunk = Buffer.alloc(262_144);
  let got = 0;
  const push = async (stream: ClientHttp2Stream): Promise<void> => {
    for (;;) if (!stream.write(chunk)) await once(stream, 'drain');
  };
  for (let i = 0; i < streamCount; i++) {
    const stream = sessions[i % sessions.length]!.request({
      ':method': 'POST',
      ':path': '/objects/v1/seal?bucket=b&object=o',
    });
    stream.on('data', (bytes: Buffer) => (got += bytes.length));
    stream.once('response', (headers) => {
      if (headers[':status'] !== 200) throw new Error(`status ${String(headers[':status'])}`);
    });
    void push(stream);
  }
  process.send!('running');
  for (const _ of Array.from({ length: 600 })) {
    await once(process, 'message');
    process.send!(got);
  }
}

const jobText = process.argv[2] === 'job' ? process.argv[3] : undefined;
if (jobText !== undefined) {
  const job = JSON.parse(jobText) as Job;
  process.on('disconnect', () => process.exit(0));
  if (job.kind === 'streams') await streams(job);
  else await calls(job);
  process.exit(0);
}

function start(job: Job): ChildProcess {
  return fork(import.meta.filename, ['job', JSON.stringify(job)], { execArgv: [] });
}

interface Latency {
  readonly p50: number;
  readonly p99: number;
  readonly most: number;
}

async function latency(job: Job): Promise<Latency> {
  return ((await once(start(job), 'message')) as [Latency])[0];
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => net.createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => (server.address() as net.AddressInfo).port);
  await Promise.all(servers.map((server) => once(server.close(), 'close')));
  return ports;
}

/** One row: a server of its own, calm first and then beside the streams. */
async function row(isOwn: boolean, seconds: number): Promise<string> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'sello-bench-'));
  const made = serverCertificate({ names: ['localhost'], ips: ['127.0.0.1'], days: 1 });
  const apiKey = parseApiKey(generateApiKey().reveal());
  const client = certificateOf(apiKey);
  writeFileSync(path.join(folder, 'server.crt'), made.certificatePem);
  writeFileSync(path.join(folder, 'server.key'), made.privateKeyPem, { mode: 0o600 });
  const [keyPort, streamPort] = (await freePorts(2)) as [number, number];
  const tls = 'tls: {cert: server.crt, key: server.key}';
  writeFileSync(
    path.join(folder, 'sello.yaml'),
    `version: sello/v1
probes: off
listeners:
  - {address: "127.0.0.1:${String(keyPort)}", ${tls}}
  - {address: "127.0.0.1:${String(streamPort)}", ${tls}, process: ${isOwn ? 'own' : 'shared'}}
audit: {mode: off}
tenants:
  - name: bench
    admins: [${apiKey.identity}]
    clients: {auth: off}
    keystore: {fs: {path: keys}}
    keys: [bench-key]
    audit: {path: audit.jsonl}
    objects: {key: bench-key}
`,
  );
  const main = path.join(import.meta.dirname, '../src/main.ts');
  const server = spawn(process.execPath, [main, 'serve', '--config', path.join(folder, 'sello.yaml')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const job = { cert: client.certificatePem, key: client.privateKeyPem, seconds };
  let load: ChildProcess | undefined;
  try {
    await once(server.stdout, 'data');
    const calm = await latency({ ...job, kind: 'calls', port: keyPort });
    load = start({ ...job, kind: 'streams', port: streamPort });
    await once(load, 'message');
    await new Promise((resolve) => setTimeout(resolve, 2000));
    const bytes = async (): Promise<number> => {
      load!.send('bytes');
      return ((await once(load!, 'message')) as [number])[0];
    };
    const [before, startMs] = [await bytes(), performance.now()];
    const beside = await latency({ ...job, kind: 'calls', port: keyPort });
    const rate = ((await bytes()) - before) / (performance.now() - startMs) / 1e6;
    const cells = [calm.p50, beside.p50, calm.p99, beside.p99, beside.p99 / calm.p99, beside.most, rate];
    return `| ${isOwn ? 'process of their own' : 'the same process'} | ${cells.map((cell) => cell.toFixed(2)).join(' | ')} |`;
  } finally {
    load?.kill();
    server.kill();
    await once(server, 'exit');
    rmSync(folder, { recursive: true, force: true });
  }
}

export async function callsTable(quick: boolean): Promise<void> {
  console.log(
    `\nKey calls (generate, HTTP/2, ${String(callsPerSecond)} a second) beside ${String(streamCount)} streams that never stop, ms; all on one machine, the streams' client at nice 19\n`,
  );
  console.log(
    '| streams in | p50 calm | p50 beside | p99 calm | p99 beside | ratio | most | streams, GB/s |',
  );
  console.log('| --- | --- | --- | --- | --- | --- | --- | --- |');
  for (const isOwn of [false, true]) console.log(await row(isOwn, quick ? 5 : 20));
}

if (import.meta.main) await callsTable(process.argv.includes('--quick'));
