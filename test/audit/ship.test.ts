import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import tls from 'node:tls';
import t from 'tap';
import type { Test } from 'tap';
import { auditLine, openAuditStream, type AuditFault, type AuditFile } from '../../src/audit/index.ts';
import { ocsfLine } from '../../src/audit/ocsf.ts';
import { streamFolders } from '../../src/audit/segment.ts';
import type { AuditRecord } from '../../src/audit/record.ts';
import { systemClock } from '../../src/clock.ts';
import type { AuditConfig, ShipConfig, TrailConfig } from '../../src/config/model.ts';
import { keyCall } from './fixtures.ts';

async function until(what: string, holds: () => boolean): Promise<void> {
  for (let i = 0; i < 2_000; i++) {
    if (holds()) return;
    await sleep(10);
  }
  throw new Error(`waited in vain for: ${what}`);
}

async function open(
  folder: string,
  ship: ShipConfig[],
  change: Partial<TrailConfig> = {},
  deadlineMs = 5_000,
): Promise<{ stream: AuditFile; faults: AuditFault[] }> {
  const trail: TrailConfig = {
    signingKey: `${folder}.key.pem`,
    checkpointRecords: 1_000,
    checkpointMs: 60_000,
    segmentBytes: 100_000,
    segmentAgeMs: 86_400_000,
    compression: 'zstd',
    release: 'written',
    ship,
    ...change,
  };
  const config: AuditConfig = { mode: 'written', path: folder, trail, deadlineMs, maxRecordsPerSecond: 0 };
  const faults: AuditFault[] = [];
  const stream = await openAuditStream(config, { clock: systemClock, onFault: (f) => faults.push(f) });
  return { stream, faults };
}

async function append(stream: AuditFile, count: number, name: string): Promise<void> {
  for (let from = 0; from < count; from += 100)
    await Promise.all(
      Array.from({ length: Math.min(100, count - from) }, (_, i) =>
        stream.append(keyCall({ requestId: `${name}${from + i}` })),
      ),
    );
}

/** A receiver that answers as told. */
class Receiver {
  readonly #server: http.Server;
  status = 200;
  hangs = false;
  bodies: string[] = [];
  headers: http.IncomingHttpHeaders[] = [];

  constructor(t: Test) {
    this.#server = http.createServer((request, response) => {
      let body = '';
      request.setEncoding('utf8').on('data', (text: string) => (body += text));
      request.on('end', () => {
        if (this.hangs) return;
        if (this.status === 200) {
          this.bodies.push(body);
          this.headers.push(request.headers);
        }
        response.writeHead(this.status).end();
      });
    });
    t.teardown(() => {
      this.#server.closeAllConnections();
      this.#server.close();
    });
  }

  listen(port = 0): Promise<number> {
    return new Promise((resolve) => {
      this.#server.listen(port, '127.0.0.1', () => resolve((this.#server.address() as AddressInfo).port));
    });
  }

  get sequences(): number[] {
    return this.bodies
      .flatMap((body) => body.trimEnd().split('\n'))
      .map((line) => (JSON.parse(line) as { sello: { chain: { sequence: number } } }).sello.chain.sequence);
  }
}

function webhook(port: number, change: Partial<Extract<ShipConfig, { kind: 'webhook' }>> = {}): ShipConfig {
  return {
    kind: 'webhook',
    url: `http://127.0.0.1:${port}/in`,
    caFile: undefined,
    authorizationFile: undefined,
    format: 'ecs',
    batchRecords: 50,
    timeoutMs: 1_000,
    ...change,
  };
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

t.test(
  'a webhook gets every record in order, also after it was down, and over restarts',
  { timeout: 60_000 },
  async (t) => {
    const directory = t.testdir({ token: 'Bearer secret-token\n' });
    const folder = path.join(directory, 'acme');
    const receiver = new Receiver(t);
    const port = await receiver.listen();
    const ship = [webhook(port, { authorizationFile: path.join(directory, 'token') })];
    const first = await open(folder, ship);
    await append(first.stream, 300, 'a');
    await until('shipping', () => first.stream.chain!.shipped[0] === 301);
    t.strictSame(receiver.sequences, upTo(301));
    t.match(receiver.headers[0], {
      authorization: 'Bearer secret-token',
      'content-type': 'application/x-ndjson',
      'sello-stream': first.stream.chain!.stream,
      'sello-first-sequence': '0',
    });
    receiver.status = 500;
    await append(first.stream, 300, 'b');
    await until('the word', () => first.faults.some((fault) => fault.kind === 'unshipped'));
    t.match(first.faults.at(-1)?.detail, /answered 500/);
    t.equal(first.stream.trouble, undefined, 'keys are served all the same');
    await append(first.stream, 300, 'c');
    await first.stream.close();
    receiver.status = 200;

    const second = await open(folder, ship);
    await append(second.stream, 10, 'd');
    await until('shipping', () => second.stream.chain!.shipped[0] === 912);
    const all = receiver.sequences;
    t.strictSame([...new Set(all)], upTo(912), 'nothing is lost, and new ones come in order');
    t.ok(all.length <= 912 + 50, 'at most one batch twice');
    t.notMatch(JSON.stringify([...first.faults, ...second.faults]), /secret-token/);
    await second.stream.close();
    const [streamFolder = ''] = await streamFolders(folder);
    const files = fs.readdirSync(streamFolder);
    t.equal(
      files.filter((name) => name.endsWith('.shipped')).length,
      1,
      'the spool is the trail: beside it is one number',
    );
  },
);

t.test(
  'a target that is down for the whole run costs no record, no key, and no disk beyond the trail',
  { timeout: 60_000 },
  async (t) => {
    const folder = path.join(t.testdir(), 'acme');
    const probe = new Receiver(t);
    const port = await probe.listen();
    const { stream, faults } = await open(folder, [webhook(1), webhook(port, { format: 'ocsf' })]);
    await append(stream, 2_000, 'r');
    await until('the other target', () => stream.chain!.shipped[1] === 2_001);
    t.equal(stream.chain!.shipped[0], 0);
    t.match(faults, [{ kind: 'unshipped', detail: /ECONNREFUSED/ }]);
    t.equal(stream.queued, 0);
    await stream.close();
    const [streamFolder = ''] = await streamFolders(folder);
    t.strictSame(
      fs
        .readdirSync(streamFolder)
        .filter((name) => !/\.jsonl|\.checkpoints$|^s(tate|tream)\.json$|\.shipped$/.test(name)),
      [],
    );
    const ocsf = probe.bodies
      .flatMap((body) => body.trimEnd().split('\n'))
      .map((line) => JSON.parse(line) as object);
    t.match(ocsf[1], {
      class_uid: 6003,
      type_uid: 600301,
      time: Number,
      metadata: { version: '1.9.0', sequence: 1 },
    });
  },
);

t.test(
  'release: shipped lets a key go only once the target has its record',
  { timeout: 60_000 },
  async (t) => {
    const folder = path.join(t.testdir(), 'acme');
    const receiver = new Receiver(t);
    const port = await receiver.listen();
    const { stream } = await open(folder, [webhook(port)], { release: 'shipped' }, 700);
    await stream.append(keyCall({ requestId: 'acknowledged' }));
    t.match(receiver.bodies.join(''), /"id":"acknowledged"/);
    receiver.hangs = true;
    await t.rejects(stream.append(keyCall({ requestId: 'hanging' }))!, { code: 'SELLO_AUDIT_UNAVAILABLE' });
    t.notMatch(receiver.bodies.join(''), /hanging/);
    receiver.hangs = false;
    await until('the target again', () => /hanging/.test(receiver.bodies.join('')));
    await stream.append(keyCall({ requestId: 'again' }));
    const told = receiver.bodies
      .join('')
      .split('\n')
      .filter((line) => line.includes('"id":"hanging"'));
    t.match(told[0], /"outcome":"success"/);
    t.ok(
      told.some((line) =>
        /"outcome":"failure","reason":"not acknowledged.*recorded, and not released/.test(line),
      ),
      'the target hears as well that it was not released',
    );
    await stream.close();
  },
);

t.test(
  'syslog over TLS gets framed messages, over a checked certificate only',
  { timeout: 60_000 },
  async (t) => {
    const directory = t.testdir();
    const key = path.join(directory, 'key.pem');
    const cert = path.join(directory, 'cert.pem');
    const flags =
      '-x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1';
    execFileSync('openssl', ['req', ...flags.split(' '), '-keyout', key, '-out', cert], { stdio: 'ignore' });
    let received = '';
    const sockets = new Set<tls.TLSSocket>();
    const server = tls.createServer({ key: fs.readFileSync(key), cert: fs.readFileSync(cert) }, (socket) => {
      sockets.add(socket);
      socket.setEncoding('latin1').on('data', (text: string) => (received += text));
      socket.on('error', () => undefined).on('close', () => sockets.delete(socket));
    });
    server.on('tlsClientError', () => undefined);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    t.teardown(() => {
      for (const socket of sockets) socket.destroy();
      server.close();
    });
    const { port } = server.address() as AddressInfo;
    const target: ShipConfig = {
      kind: 'syslog',
      host: '127.0.0.1',
      port,
      caFile: cert,
      certFile: undefined,
      keyFile: undefined,
      timeoutMs: 2_000,
    };

    const untrusting = await open(path.join(directory, 'untrusting'), [{ ...target, caFile: undefined }]);
    await until('the refusal', () => untrusting.faults.length > 0);
    t.match(untrusting.faults, [{ kind: 'unshipped', detail: /self-signed/ }]);
    await untrusting.stream.close();
    t.equal(received, '');

    const { stream } = await open(path.join(directory, 'acme'), [target]);
    await append(stream, 700, 'r');
    await until('shipping', () => stream.chain!.shipped[0] === 701);
    for (const socket of sockets) socket.destroy();
    await sleep(50);
    await append(stream, 10, 's');
    await until('shipping', () => stream.chain!.shipped[0] === 711);
    await stream.close();
    const seen = new Set<number>();
    let text = received;
    while (text !== '') {
      const [, length = ''] = /^(\d+) /.exec(text) ?? [];
      const message = text.slice(length.length + 1, length.length + 1 + Number(length));
      const found = /^<1(?:10|08)>1 \d{4}-\d\d-\d\dT[\d:.]+Z \S+ sello \d+ audit - (\{.*\})$/.exec(message);
      if (found === null) {
        t.fail(`no frame: ${text.slice(0, 80)}`);
        return;
      }
      seen.add((JSON.parse(found[1]!) as { sello: { chain: { sequence: number } } }).sello.chain.sequence);
      text = text.slice(length.length + 1 + Number(length));
    }
    t.equal(seen.size, 711);
  },
);

t.test('OCSF: use of keys is API Activity, their life Entity Management', async (t) => {
  const of = (change: object): object => {
    const line = auditLine(keyCall(change));
    return JSON.parse(ocsfLine(Buffer.from(line.trimEnd(), 'latin1'))) as object;
  };
  t.match(of({ bucket: 'photos', object: 'a.jpg' }), {
    class_uid: 6003,
    activity_id: 1,
    type_uid: 600301,
    status_id: 1,
    action_id: 1,
    actor: { user: { uid: /^f5e7/ } },
    src_endpoint: { ip: '192.0.2.7' },
    resources: [{ name: 'app-key' }, { name: 'photos/a.jpg' }],
  });
  t.match(of({ operation: 'delete', status: 403, decision: 'deny', error: 'SELLO_NOT_AUTHORIZED' }), {
    class_uid: 3004,
    type_uid: 300404,
    status_id: 2,
    status_code: 'SELLO_NOT_AUTHORIZED',
    action_id: 2,
    entity: { name: 'app-key' },
  });
  t.match(of({ operation: undefined }), { class_uid: 6003, activity_id: 2 });
});

t.test('a record in OCSF tells of its trace where the class has a place for it', (t) => {
  const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
  const ocsf = (record: AuditRecord) =>
    JSON.parse(ocsfLine(Buffer.from(auditLine(record).trimEnd(), 'latin1'))) as object;
  t.match(ocsf(keyCall({ traceId })), {
    class_uid: 6003,
    metadata: { profiles: ['security_control', 'trace'] },
    trace: { uid: traceId },
  });
  t.match(ocsf(keyCall({ traceId, operation: 'rotate' })), {
    class_uid: 3004,
    metadata: { profiles: ['security_control'] },
    trace: undefined,
    unmapped: { trace_id: traceId },
  });
  t.notMatch(JSON.stringify(ocsf(keyCall({}))), 'trace');
  t.end();
});
