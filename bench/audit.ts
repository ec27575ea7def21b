/**
 * What an audit record costs a key call: an HTTP/2 server on one core appends one record per request through each
 * candidate writer, and one client asks it with 1 and with 32 streams in flight.
 *
 *   node bench/audit.ts [candidate …]
 *
 * CPU time is that of the whole server process, its worker and pool threads included, because on one core a thread's
 * work is taken from the requests. Rounds of the candidates alternate, so that a slow minute of the machine hits all.
 */
import { execFileSync, fork, spawnSync } from 'node:child_process';
import { createCipheriv, createHmac, randomBytes } from 'node:crypto';
import fs from 'node:fs';
import http2 from 'node:http2';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { auditLine } from '../src/audit/line.ts';
import type { AuditRecord } from '../src/audit/record.ts';
import { openAuditStream } from '../src/audit/stream.ts';
import { systemClock } from '../src/clock.ts';
import type { TrailConfig } from '../src/config/model.ts';

type Append = (record: AuditRecord) => Promise<void> | undefined;
type Candidate = (file: string) => Append | Promise<Append>;

/** No audit at all: the base that others are compared with. */
const none: Candidate = () => () => undefined;

/** Only the line is made: what is left is the writer's own cost. */
const line: Candidate = () => {
  const room = Buffer.alloc(4_096);
  return (record) => {
    room.write(auditLine(record), 0, 'latin1');
    return undefined;
  };
};

/** One blocking write(2) per record: the cheapest, and a hung disk stops the whole process. */
const sync: Candidate = (file) => {
  const fd = fs.openSync(file, 'a');
  return (record) => {
    fs.writeSync(fd, auditLine(record), null, 'latin1');
    return undefined;
  };
};

/** (a) fs.write on libuv's pool; what arrives during a write goes with the next. */
const pool: Candidate = (file) => {
  const fd = fs.openSync(file, 'a');
  let lines = '';
  let waiting: PromiseWithResolvers<void> = Promise.withResolvers();
  let busy = false;
  const flush = () => {
    const batch = waiting;
    waiting = Promise.withResolvers();
    const buffer = Buffer.from(lines, 'latin1');
    lines = '';
    busy = true;
    fs.write(fd, buffer, 0, buffer.length, null, () => {
      busy = false;
      batch.resolve();
      if (lines !== '') flush();
    });
  };
  return (record) => {
    lines += auditLine(record);
    if (!busy) {
      busy = true;
      setImmediate(flush);
    }
    return waiting.promise;
  };
};

const portWorker = `
const { parentPort, workerData } = require('node:worker_threads');
const fs = require('node:fs');
const fd = fs.openSync(workerData, 'a');
parentPort.on('message', (lines) => { fs.writeSync(fd, lines, null, 'latin1'); parentPort.postMessage(0); });
`;

/** (b) a worker thread that writes synchronously, messages both ways. */
const port: Candidate = (file) => {
  const worker = new Worker(portWorker, { eval: true, workerData: file });
  let lines = '';
  let waiting: PromiseWithResolvers<void> = Promise.withResolvers();
  let writing = waiting;
  let busy = false;
  const flush = () => {
    writing = waiting;
    waiting = Promise.withResolvers();
    worker.postMessage(lines);
    lines = '';
  };
  worker.on('message', () => {
    busy = false;
    writing.resolve();
    if (lines !== '') {
      busy = true;
      flush();
    }
  });
  return (record) => {
    lines += auditLine(record);
    if (!busy) {
      busy = true;
      setImmediate(flush);
    }
    return waiting.promise;
  };
};

const ringWorker = `
const { workerData } = require('node:worker_threads');
const fs = require('node:fs');
const fd = fs.openSync(workerData.file, 'a');
const state = new Int32Array(workerData.shared, 0, 4);
const bytes = Buffer.from(workerData.shared, 64);
for (;;) {
  Atomics.wait(state, 0, 0);
  const length = Atomics.exchange(state, 0, 0);
  fs.writeSync(fd, bytes, 0, length);
  Atomics.add(state, 1, 1);
  Atomics.notify(state, 1);
}
`;

/** (b) a worker thread over shared memory: Atomics.notify there, Atomics.waitAsync back. */
const ring: Candidate = (file) => {
  const shared = new SharedArrayBuffer(64 + 262_144);
  new Worker(ringWorker, { eval: true, workerData: { file, shared } });
  const state = new Int32Array(shared, 0, 4);
  const bytes = Buffer.from(shared, 64);
  let lines = '';
  let waiting: PromiseWithResolvers<void> = Promise.withResolvers();
  let busy = false;
  const flush = () => {
    const batch = waiting;
    waiting = Promise.withResolvers();
    const done = Atomics.load(state, 1);
    const length = bytes.write(lines, 0, 'latin1');
    lines = '';
    Atomics.store(state, 0, length);
    Atomics.notify(state, 0);
    const wait = Atomics.waitAsync(state, 1, done);
    const after = () => {
      busy = false;
      batch.resolve();
      if (lines !== '') {
        busy = true;
        flush();
      }
    };
    if (wait.async) void wait.value.then(after);
    else after();
  };
  return (record) => {
    lines += auditLine(record);
    if (!busy) {
      busy = true;
      setImmediate(flush);
    }
    return waiting.promise;
  };
};

/** What Sello uses. */
const sello =
  (mode: 'written' | 'synced'): Candidate =>
  async (file) => {
    const config = { mode, path: file, deadlineMs: 2_000, maxRecordsPerSecond: 0 };
    const stream = await openAuditStream(config, { clock: systemClock, onFault: console.error });
    return (record) => stream.append(record);
  };

/** The same with hash chain and Merkle tree, checkpoints as by default (none anchored: a keystore is asked every ten seconds). */
const chained =
  (mode: 'written' | 'synced'): Candidate =>
  async (file) => {
    const trail: TrailConfig = {
      signingKey: `${file}.key.pem`,
      checkpointRecords: 10_000,
      checkpointMs: 10_000,
      segmentBytes: 67_108_864,
      segmentAgeMs: 86_400_000,
      compression: 'zstd',
      release: 'written',
      ship: [],
    };
    const config = { mode, path: `${file}.trail`, trail, deadlineMs: 2_000, maxRecordsPerSecond: 0 };
    const stream = await openAuditStream(config, { clock: systemClock, onFault: console.error });
    return (record) => stream.append(record);
  };

const candidates: Readonly<Record<string, Candidate>> = {
  none,
  line,
  sync,
  pool,
  port,
  ring,
  written: sello('written'),
  synced: sello('synced'),
  'written+chain': chained('written'),
  'synced+chain': chained('synced'),
};

function usualRecord(target: string): AuditRecord {
  return {
    timeMs: Date.now(),
    requestId: '8a3c51b20e7d44f0000001a2',
    tenant: 'default',
    identity: 'f5e70f8a8db7182880796cc708b19925469e4e46591fa2598f4b933dbf08ecf8',
    sourceIp: '127.0.0.1',
    face: 'kes',
    method: 'POST',
    path: target,
    operation: 'issue',
    key: 'app-key',
    contextSha256: 'b9f7d8a7d3c5bb3a0c8a2f9e6ad0d6b1e5d3f8e1d1b6c0f3a4b2c6d8e0f1a2b3',
    decision: 'allow',
    rule: 'policy app: allow /v1/key/generate/app*',
    status: 200,
    durationMs: 0.05,
  };
}

async function serve(name: string): Promise<void> {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'sello-bench-audit-'));
  const append = await candidates[name]!(path.join(directory, 'audit.jsonl'));
  const server = http2.createSecureServer(selfSigned(directory));
  const master = randomBytes(32);
  let answered = 0;
  server.on('stream', (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => {
    const chunks: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('end', () => {
      const key = createHmac('sha256', master).update(randomBytes(16)).digest();
      const cipher = createCipheriv('aes-256-gcm', key, randomBytes(12));
      const body = Buffer.concat([cipher.update(randomBytes(32)), cipher.final(), cipher.getAuthTag()]);
      const answer = (): void => {
        answered++;
        stream.respond({ ':status': 200, 'content-type': 'application/json' });
        stream.end(
          JSON.stringify({ plaintext: body.toString('base64'), ciphertext: body.toString('base64') }),
        );
      };
      const durable = append(usualRecord(String(headers[':path'])));
      if (durable === undefined) answer();
      else durable.then(answer, () => stream.close());
    });
  });
  server.listen(0, '127.0.0.1', () => {
    const address = server.address();
    process.send!({ port: typeof address === 'object' ? address!.port : 0 });
  });
  process.on('message', () => {
    const { user, system } = process.cpuUsage();
    process.send!({ cpuUs: user + system, answered });
  });
  process.on('disconnect', () => {
    fs.rmSync(directory, { recursive: true });
    process.exit();
  });
}

/** A throw-away certificate, by the openssl command. */
function selfSigned(directory: string): { key: Buffer; cert: Buffer } {
  const key = path.join(directory, 'key.pem');
  const cert = path.join(directory, 'cert.pem');
  const flags = '-x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=bench'.split(' ');
  execFileSync('openssl', ['req', ...flags, '-keyout', key, '-out', cert], { stdio: 'ignore' });
  return { key: fs.readFileSync(key), cert: fs.readFileSync(cert) };
}

interface Round {
  readonly perSecond: number;
  readonly cpuUsPerRequest: number;
  readonly medianUs: number;
}

async function measure(name: string, callers: number, forMs: number): Promise<Round> {
  const child = fork(import.meta.filename, ['--serve', name], { execArgv: [] });
  const ask = <T>(): Promise<T> => new Promise((resolve) => child.once('message', (m) => resolve(m as T)));
  const { port: listening } = await ask<{ port: number }>();
  pin(child.pid!, 0);
  const session = http2.connect(`https://127.0.0.1:${listening}`, { rejectUnauthorized: false });
  const body = Buffer.from(JSON.stringify({ context: 'e30=' }));
  let stop = false;
  let timing = false;
  const latenciesUs: number[] = [];
  const one = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const begin = performance.now();
      const stream = session.request({ ':method': 'POST', ':path': '/v1/key/generate/app-key' });
      stream.on('error', reject);
      stream.on('data', () => undefined);
      stream.on('end', () => {
        if (timing) latenciesUs.push((performance.now() - begin) * 1000);
        resolve();
      });
      stream.end(body);
    });
  const caller = async (): Promise<void> => {
    while (!stop) await one();
  };
  const running = Promise.all(Array.from({ length: callers }, caller));
  await sleep(600);
  interface Usage {
    cpuUs: number;
    answered: number;
  }
  child.send(0);
  const before = await ask<Usage>();
  const begin = performance.now();
  timing = true;
  await sleep(forMs);
  timing = false;
  child.send(0);
  const after = await ask<Usage>();
  const seconds = (performance.now() - begin) / 1000;
  stop = true;
  await running;
  session.close();
  child.disconnect();
  latenciesUs.sort((a, b) => a - b);
  const requests = after.answered - before.answered;
  return {
    perSecond: requests / seconds,
    cpuUsPerRequest: (after.cpuUs - before.cpuUs) / requests,
    medianUs: latenciesUs[latenciesUs.length >> 1]!,
  };
}

/**
 * The same without a network, in a process of its own: each request is 40 µs of work and one append. The steadiest of the
 * figures, since nothing but the writer differs.
 */
async function loop(name: string): Promise<void> {
  pin(process.pid, 0);
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'sello-bench-audit-'));
  const append = await candidates[name]!(path.join(directory, 'audit.jsonl'));
  const hold = setInterval(() => undefined, 1_000);
  const line = [name.padEnd(13)];
  for (const callers of [1, 8, 32]) {
    const total = callers === 1 ? 6_000 : 20_000;
    let done = 0;
    const caller = async (): Promise<void> => {
      while (done < total) {
        done++;
        const end = performance.now() + 0.04;
        while (performance.now() < end);
        await append(usualRecord('/v1/key/generate/app-key'));
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    await Promise.all(Array.from({ length: callers }, caller));
    done = 0;
    const before = process.cpuUsage();
    const begin = performance.now();
    await Promise.all(Array.from({ length: callers }, caller));
    const { user, system } = process.cpuUsage(before);
    const wallUs = ((performance.now() - begin) * 1_000) / done;
    line.push(`${callers} callers: ${((user + system) / done).toFixed(1)} µs CPU, ${wallUs.toFixed(1)} µs`);
  }
  console.log(line.join('  '));
  clearInterval(hold);
  fs.rmSync(directory, { recursive: true });
  process.exit();
}

function pin(pid: number, core: number): void {
  spawnSync('taskset', ['-a', '-p', '-c', String(core), String(pid)]);
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

if (process.argv[2] === '--serve') await serve(process.argv[3]!);
else if (process.argv[2] === '--loop') await loop(process.argv[3]!);
else {
  const names = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(candidates);
  console.log('per request of 40 µs, one core, CPU of all threads and time:');
  for (const n of names)
    spawnSync(process.execPath, [import.meta.filename, '--loop', n], { stdio: 'inherit' });
  pin(process.pid, 1);
  for (const callers of [1, 32]) {
    const rounds = new Map<string, Round[]>(names.map((n) => [n, []]));
    for (let i = 0; i < 3; i++) for (const n of names) rounds.get(n)!.push(await measure(n, callers, 1500));
    for (const [n, r] of rounds) {
      console.log(
        `${String(callers).padStart(2)} callers  ${n.padEnd(13)} ${median(r.map((x) => x.perSecond))
          .toFixed(0)
          .padStart(6)} req/s  ` +
          `${median(r.map((x) => x.cpuUsPerRequest))
            .toFixed(1)
            .padStart(6)} µs CPU/req  median ${median(r.map((x) => x.medianUs)).toFixed(0)} µs`,
      );
    }
  }
}
