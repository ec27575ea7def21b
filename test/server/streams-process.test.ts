import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import type { TLSSocket } from 'node:tls';
import t from 'tap';
import { Session } from '../attacks/client.ts';
import { credentialsOf, issue, serverCertificate } from '../attacks/pki.ts';
import type { SelloError } from '../../src/errors.ts';
import { serverAuditOff, Site, tenantsYaml } from '../attacks/site.ts';

const node = issue('node');
const credentials = credentialsOf(node);
const main = path.join(import.meta.dirname, '../../src/main.ts');
const seal = '/objects/v1/seal?bucket=b&object=o&envelope=front';
const open = '/objects/v1/open?bucket=b&object=o&envelope=front';

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => net.createServer());
  for (const server of servers)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
  const ports = servers.map((server) => (server.address() as net.AddressInfo).port);
  for (const server of servers) await new Promise((resolve) => server.close(resolve));
  return ports;
}

async function within(ms: number, holds: () => boolean | Promise<boolean>): Promise<boolean> {
  const endMs = performance.now() + ms;
  while (!(await holds())) {
    if (performance.now() > endMs) return false;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return true;
}

/** The processes of a program by the name that its supervisor gave them. */
function workersOf(pid: number): Map<string, number> {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ');
  return new Map(
    children.filter(Boolean).flatMap((child) => {
      const name = /(?:^|\0)SELLO_WORKER=([^\0]*)/.exec(
        readFileSync(`/proc/${child}/environ`, 'latin1'),
      )?.[1];
      return name === undefined ? [] : [[name, Number(child)] as const];
    }),
  );
}

function yamlOf(
  listeners: readonly object[],
  probes: string,
  keystore: Readonly<Record<string, unknown>>,
): string {
  return (
    `version: sello/v1\nprobes: ${probes}\nlisteners: ${JSON.stringify(listeners)}\n` +
    serverAuditOff +
    tenantsYaml({
      name: 'alpha',
      clients: { auth: 'off' },
      keystore,
      keys: ['app'],
      objects: { key: 'app' },
      policies: {
        node: {
          allow: [{ operations: ['seal', 'open', 'describe', 'issue'] }, { kes: '/v1/key/*' }],
          identities: [node.identity],
        },
      },
    })
  );
}

const tls = { cert: 'server.crt', key: 'server.key' };

t.test('what cannot be shared is refused', (t) => {
  const site = new Site();
  t.teardown(() => site.remove());
  const shared = { address: '127.0.0.1:0', tls };
  const own = { ...shared, process: 'own' };
  const refuses = (
    listeners: readonly object[],
    keystore: Readonly<Record<string, unknown>>,
    why: RegExp,
  ) => {
    try {
      site.parse(yamlOf(listeners, 'off', keystore));
      t.fail('was taken');
    } catch (error) {
      t.match((error as SelloError).detail, why);
    }
  };
  refuses([own], { fs: { path: 'keys' } }, /there is none/);
  refuses([shared, own], { memory: {} }, /in memory cannot be shared/);
  t.same(
    site.parse(yamlOf([shared, own], 'off', { fs: { path: 'keys' } })).listeners.map((l) => l.ownProcess),
    [false, true],
  );
  t.end();
});

t.test('object streams have a process of their own', { timeout: 90_000 }, async (t) => {
  const site = new Site();
  t.teardown(() => site.remove());
  const [keyPort, streamPort, probePort] = (await freePorts(3)) as [number, number, number];
  const listeners = [
    { address: `127.0.0.1:${keyPort}`, tls },
    { address: `127.0.0.1:${streamPort}`, tls, process: 'own' },
  ];
  site.write('sello.yaml', yamlOf(listeners, `127.0.0.1:${probePort}`, { fs: { path: 'keys' } }));
  const program = spawn(process.execPath, [main, 'serve', '--config', site.file('sello.yaml')], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const ended = new Promise<number | null>((resolve) => program.once('exit', resolve));
  t.teardown(() => void program.kill('SIGKILL'));
  let printed = '';
  program.stdout.on('data', (bytes: Buffer) => (printed += bytes.toString()));
  const probe = async (at: string): Promise<{ status: number; text: string }> => {
    const response = await fetch(`http://127.0.0.1:${probePort}${at}`).catch(() => undefined);
    return { status: response?.status ?? 0, text: (await response?.text()) ?? '' };
  };
  const isWhole = async () => (await probe('/readyz?strict')).status === 200;
  t.ok(await within(30_000, isWhole), 'both are ready');
  t.ok(await within(5000, () => printed.includes('listening')), 'and the supervisor says so');
  t.match(printed, `https://127.0.0.1:${keyPort}, https://127.0.0.1:${streamPort}`);

  const keys = await Session.open({ port: keyPort, credentials });
  t.teardown(() => keys.close());
  const describe = { method: 'GET', path: '/v1/key/describe/app' };
  const plain = randomBytes(300_000);
  const streams = await Session.open({ port: streamPort, credentials });
  const sealed = await streams.ask({ method: 'POST', path: seal, body: plain });
  t.equal(sealed.status, 200);
  const opened = await streams.ask({ method: 'POST', path: open, body: sealed.body });
  t.ok(opened.body.equals(plain), 'the stream comes back');
  t.equal((await keys.ask(describe)).status, 200);

  const workers = workersOf(program.pid!);
  t.same([...workers.keys()].sort(), ['0', 'streams']);
  t.ok(os.getPriority(workers.get('streams')!) > os.getPriority(workers.get('0')!), 'streams give way');

  const page = (await probe('/metrics')).text;
  t.match(page, /^sello_worker_up\{worker="0"\} 1$/m);
  t.match(page, /^sello_worker_up\{worker="streams"\} 1$/m);
  t.match(page, /^sello_http_requests_total\{[^}]*seal[^}]*worker="streams"[^}]*\} 1$/m);

  // It dies in the middle of a stream.
  const halfway = streams.http2.request({ ':method': 'POST', ':path': seal });
  halfway.on('error', () => undefined);
  streams.http2.on('error', () => undefined);
  halfway.write(plain);
  await new Promise((resolve) => halfway.once('data', resolve));
  const broken = new Promise((resolve) => halfway.once('close', resolve));
  process.kill(workers.get('streams')!, 'SIGKILL');
  let asked = 0;
  for (; asked < 200; asked++) if ((await keys.ask(describe)).status !== 200) break;
  t.equal(asked, 200, 'key calls go on, on the same connection');
  t.equal((await probe('/readyz')).status, 200, 'and the server stays ready');
  await broken;
  const isBack = async (): Promise<boolean> => {
    const now = workersOf(program.pid!).get('streams');
    return now !== undefined && now !== workers.get('streams') && (await isWhole());
  };
  t.ok(await within(30_000, isBack), 'it is started again');
  const again = await Session.open({ port: streamPort, credentials });
  t.ok(
    (await again.ask({ method: 'POST', path: open, body: sealed.body })).body.equals(plain),
    'and opens what was sealed before',
  );
  t.equal(workersOf(program.pid!).get('0'), workers.get('0'), 'the other is the one it was');

  // A stuck one harms no key call either, and is told.
  const stuck = workersOf(program.pid!).get('streams')!;
  process.kill(stuck, 'SIGSTOP');
  t.ok(await within(10_000, async () => (await probe('/livez')).status === 503), 'a stuck one is not alive');
  t.match((await probe('/readyz')).text, /worker streams/);
  t.equal((await keys.ask(describe)).status, 200);
  process.kill(stuck, 'SIGCONT');
  t.ok(await within(10_000, async () => (await probe('/livez')).status === 200), 'and alive again');

  // A reload reaches both: each listener shows the new certificate.
  const serial = async (port: number): Promise<string> => {
    const session = await Session.open({ port, credentials });
    const socket = session.http2.socket as unknown as TLSSocket;
    const found = socket.getPeerCertificate().serialNumber;
    session.close();
    return found;
  };
  const [keysBefore, streamsBefore] = [await serial(keyPort), await serial(streamPort)];
  t.equal(keysBefore, streamsBefore);
  site.installServerCertificate(serverCertificate());
  program.kill('SIGHUP');
  for (const port of [keyPort, streamPort])
    t.ok(await within(15_000, async () => (await serial(port)) !== keysBefore), 'a new certificate');

  keys.close();
  again.close();
  const pids = [...workersOf(program.pid!).values()];
  program.kill('SIGTERM');
  t.equal(await ended, 0, 'SIGTERM ends all of them');
  for (const pid of pids) t.throws(() => process.kill(pid, 0), 'none is left');
});
