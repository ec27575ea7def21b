/** Everything that can change while running changes under load: no request is lost, and what is revoked stops in time. */
import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync, renameSync } from 'node:fs';
import https from 'node:https';
import net from 'node:net';
import path from 'node:path';
import { X509Certificate } from 'node:crypto';
import t from 'tap';
import { askHttp1, openSocket, pause, Session, within, type Call, type Target } from './client.ts';
import { authority, credentialsOf, issue, revocationList, serverCertificate, type Issued } from './pki.ts';
import { listenerYaml, serverAuditOff, Site, tenantsYaml } from './site.ts';

const generate: Call = {
  method: 'PUT',
  path: '/v1/key/generate/app',
  body: '{}',
  headers: { 'content-length': '2' },
};

/** Storage nodes as they are: one HTTP/2 session that is replaced when the server retires it, and kept HTTP/1.1 connections. */
class Nodes {
  served = 0;
  readonly failures: string[] = [];
  #stopping = false;
  #done: Promise<unknown> = Promise.resolve();
  readonly #target: () => Target;

  constructor(target: () => Target) {
    this.#target = target;
  }

  start({ http1, http2, pauseMs }: { http1: number; http2: number; pauseMs: number }): void {
    const agent = new https.Agent({ keepAlive: true, maxSockets: http1 });
    const calls = [
      ...Array.from({ length: http1 }, () => this.#overHttp1(agent, pauseMs)),
      this.#overHttp2(http2, pauseMs),
    ];
    this.#done = Promise.all(calls).finally(() => agent.destroy());
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#done;
  }

  #count(how: string, status: number | undefined, reason?: string): void {
    if (status === 200) this.served++;
    else this.failures.push(`${how}: ${status ?? reason}`);
  }

  async #overHttp1(agent: https.Agent, pauseMs: number): Promise<void> {
    while (!this.#stopping) {
      try {
        this.#count('HTTP/1.1', (await askHttp1(this.#target(), generate, agent)).status);
      } catch (error) {
        this.#count('HTTP/1.1', undefined, String(error));
      }
      await pause(pauseMs);
    }
  }

  /** A request that the server says it has not taken (REFUSED_STREAM, or beyond GOAWAY's last stream) is sent again, as RFC 9113 §8.7 allows. */
  async #overHttp2(callers: number, pauseMs: number): Promise<void> {
    let current: Promise<Session> | undefined;
    const session = async (): Promise<Session> => {
      const held = await current?.catch(() => undefined);
      if (held?.isOpen !== true) current = Session.open(this.#target());
      return current!;
    };
    const call = async (): Promise<void> => {
      while (!this.#stopping) {
        for (let attempt = 1; ; attempt++) {
          try {
            this.#count('HTTP/2', (await (await session()).ask(generate)).status);
            break;
          } catch (error) {
            const { code, message } = error as NodeJS.ErrnoException;
            const isUntaken =
              code === 'ERR_HTTP2_GOAWAY_SESSION' ||
              code === 'ERR_HTTP2_INVALID_SESSION' ||
              /REFUSED_STREAM|code 7 /.test(message);
            if (isUntaken && attempt < 5) continue;
            this.#count('HTTP/2', undefined, `${code ?? ''} ${message}`);
            break;
          }
        }
        await pause(pauseMs);
      }
    };
    await Promise.all(Array.from({ length: callers }, call));
    (await current?.catch(() => undefined))?.close();
  }
}

interface Pki {
  readonly ca: Issued;
  readonly nextCa: Issued;
  readonly admin: Issued;
  readonly revoked: Issued;
}

function pkiAt(site: Site): Pki {
  const [ca, nextCa] = [authority('ca'), authority('next ca')];
  const made = {
    ca,
    nextCa,
    admin: issue('admin', { issuer: ca }),
    revoked: issue('revoked', { issuer: ca }),
  };
  site.write('ca.pem', ca.certificatePem);
  site.write('ca.crl', revocationList(ca, []));
  return made;
}

function configYaml(
  { admin, revoked }: Pki,
  listener: string,
  more: { allow: boolean; policies?: number } = { allow: true },
): string {
  const extra = Object.fromEntries(
    Array.from({ length: more.policies ?? 0 }, (_, i) => [
      `extra-${i}`,
      { allow: [{ operations: ['list'] }], identities: [] },
    ]),
  );
  return (
    listener +
    serverAuditOff +
    tenantsYaml({
      name: 'alpha',
      admins: [admin.identity],
      clients: { ca: 'ca.pem', crls: ['ca.crl'] },
      keystore: { fs: { path: 'keys' } },
      policies: {
        node: { allow: more.allow ? [{ operations: ['*'] }] : [], identities: [revoked.identity] },
        ...extra,
      },
      keys: ['app'],
    })
  );
}

t.test(
  'a hundred reloads under load lose no request, and bad files change nothing',
  { timeout: 90_000 },
  async (t) => {
    const site = new Site();
    t.teardown(() => site.remove());
    const pki = pkiAt(site);
    const good = (i: number): string => configYaml(pki, listenerYaml, { allow: true, policies: i % 3 });
    await site.start(good(0));
    const nodes = new Nodes(() => site.as(pki.admin));
    nodes.start({ http1: 2, http2: 4, pauseMs: 2 });

    const servedCertificate = async (): Promise<string> => {
      const socket = await openSocket(site.as(pki.admin), 'h2');
      const fingerprint = socket.getPeerX509Certificate()!.fingerprint256;
      socket.destroy();
      return fingerprint;
    };
    const stranger = issue('stranger', { issuer: pki.nextCa });
    const isLetIn = async (leaf: Issued): Promise<boolean> => {
      const session = await Session.open(site.as(leaf)).catch(() => undefined);
      session?.close();
      return session !== undefined;
    };
    const refusedBy = async (what: string, text: string): Promise<void> => {
      await t.rejects((async () => site.reload(text))(), what);
    };
    let certificate = await servedCertificate();
    for (let i = 0; i < 100; i++) {
      switch (i % 10) {
        case 1: {
          const renewed = serverCertificate();
          site.installServerCertificate(renewed);
          await site.reload(good(i));
          t.equal(
            await servedCertificate(),
            new X509Certificate(renewed.certificatePem).fingerprint256,
            `${i}: the renewed certificate is served`,
          );
          certificate = await servedCertificate();
          break;
        }
        case 2:
          site.write('server.key', issue('mismatched', { keyKind: 'p256' }).privateKeyPem);
          await refusedBy(`${i}: a key that is not the certificate's`, good(i));
          t.equal(await servedCertificate(), certificate, `${i}: the old certificate is still served`);
          site.installServerCertificate(serverCertificate());
          await site.reload(good(i));
          certificate = await servedCertificate();
          break;
        case 3:
          await refusedBy(`${i}: no YAML`, `${good(i)}\n: [`);
          break;
        case 4:
          await refusedBy(`${i}: an unknown field`, `${good(i)}nonsense: 1\n`);
          break;
        case 5:
          site.write('ca.pem', pki.ca.certificatePem + pki.nextCa.certificatePem);
          await site.reload(good(i));
          t.ok(await isLetIn(stranger), `${i}: a second CA is trusted`);
          break;
        case 6:
          site.write('ca.pem', 'no certificate');
          await refusedBy(`${i}: a CA file without a certificate`, good(i));
          t.ok(await isLetIn(stranger), `${i}: the old CAs are still trusted`);
          break;
        case 7:
          site.write('ca.pem', pki.ca.certificatePem);
          await site.reload(good(i));
          t.notOk(await isLetIn(stranger), `${i}: the second CA is not trusted any more`);
          break;
        case 8:
          site.write('ca.crl', 'no list');
          await refusedBy(`${i}: a broken CRL`, good(i));
          site.write('ca.crl', revocationList(pki.ca, [], i));
          break;
        default:
          await site.reload(good(i));
      }
      await pause(5);
    }
    await nodes.stop();
    t.same(nodes.failures, [], 'no request failed');
    t.ok(nodes.served > 500, `${nodes.served} requests were served meanwhile`);
  },
);

/** `sello serve` as a person starts it. */
class Program {
  readonly child: ChildProcess;
  output = '';
  readonly exit: Promise<number | null>;

  constructor(configFile: string) {
    const main = path.join(import.meta.dirname, '../../src/main.ts');
    this.child = spawn(process.execPath, [main, 'serve', '--config', configFile], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const take = (chunk: Buffer): void => void (this.output += chunk.toString());
    this.child.stdout!.on('data', take);
    this.child.stderr!.on('data', take);
    this.exit = new Promise((resolve) => this.child.once('exit', (code) => resolve(code)));
  }

  get isListening(): boolean {
    return this.output.includes('listening on');
  }

  async stop(): Promise<number | null> {
    this.child.kill('SIGTERM');
    return this.exit;
  }
}

async function freePort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

t.test(
  'files that change are taken over by a running program; a revoked client stops in time',
  { timeout: 60_000 },
  async (t) => {
    const site = new Site();
    t.teardown(() => site.remove());
    const pki = pkiAt(site);
    const port = await freePort();
    const listener = listenerYaml.replace('127.0.0.1:0', `127.0.0.1:${port}`);
    site.write('sello.yaml', configYaml(pki, listener));
    const program = new Program(site.file('sello.yaml'));
    t.teardown(() => program.stop());
    t.ok(await within(15_000, () => program.isListening), 'it starts');
    const as = (leaf: Issued): Target => ({ port, credentials: credentialsOf(leaf) });
    const nodes = new Nodes(() => as(pki.admin));
    nodes.start({ http1: 1, http2: 2, pauseMs: 10 });
    const session = await Session.open(as(pki.revoked));
    const status = async (): Promise<number> => (await session.ask(generate)).status;
    t.equal(await status(), 200);
    /** Swapped as certificate tools do: a new file over the old name. */
    const swap = (name: string, text: string): void => {
      site.write(`${name}.new`, text);
      renameSync(site.file(`${name}.new`), site.file(name));
    };
    /** `propagation`: within this time a revocation acts. */
    const boundMs = 10_000;
    const stopsAndComesBack = async (
      what: string,
      name: string,
      bad: string,
      good: string,
    ): Promise<void> => {
      const startMs = performance.now();
      swap(name, bad);
      t.ok(
        await within(boundMs, async () => (await status()) === 403),
        `${what}: refused on the open connection after ${Math.round(performance.now() - startMs)} ms`,
      );
      swap(name, good);
      t.ok(await within(boundMs, async () => (await status()) === 200), `${what}: and let in again`);
    };
    await stopsAndComesBack(
      'CRL',
      'ca.crl',
      revocationList(pki.ca, [pki.revoked], 2),
      revocationList(pki.ca, [], 3),
    );
    await stopsAndComesBack(
      'policy',
      'sello.yaml',
      configYaml(pki, listener, { allow: false }),
      configYaml(pki, listener),
    );
    swap('sello.yaml', 'version: sello/v1\nlisteners: [');
    t.ok(
      await within(boundMs, () => program.output.includes('reload refused')),
      'a broken file is refused aloud',
    );
    t.equal(await status(), 200, 'and what was in force stays so');
    await nodes.stop();
    t.same(nodes.failures, [], 'no request failed');
    t.ok(nodes.served > 50, `${nodes.served} requests were served meanwhile`);
    session.close();
  },
);

/** How many processes listen on a port that they share (SO_REUSEPORT: each has a socket of its own). */
function listeningSockets(port: number): number {
  const local = `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const rows = readFileSync('/proc/net/tcp', 'latin1')
    .split('\n')
    .map((row) => row.trim().split(/\s+/));
  return rows.filter((row) => row[1] === local && row[3] === '0A').length;
}

t.test('ten stops under load over two processes lose no request', { timeout: 120_000 }, async (t) => {
  const site = new Site();
  t.teardown(() => site.remove());
  const pki = pkiAt(site);
  const port = await freePort();
  const listener = `processes: 1\n${listenerYaml.replace('127.0.0.1:0', `127.0.0.1:${port}`)}`;
  // Two workers of one supervisor share the port; stopping one of them is what a rolling restart does.
  site.write('sello.yaml', configYaml(pki, listener.replace('processes: 1', 'processes: 2')));
  const program = new Program(site.file('sello.yaml'));
  t.teardown(() => program.stop());
  t.ok(await within(20_000, () => program.isListening), 'both processes start');
  const workers = (): number[] =>
    readFileSync(`/proc/${program.child.pid}/task/${program.child.pid}/children`, 'utf8')
      .trim()
      .split(' ')
      .filter(Boolean)
      .map(Number);
  t.equal(workers().length, 2, 'two processes');
  t.equal(listeningSockets(port), 2, 'and both listen');
  const nodes = new Nodes(() => ({ port, credentials: credentialsOf(pki.admin) }));
  nodes.start({ http1: 4, http2: 4, pauseMs: 5 });
  for (let stop = 0; stop < 10; stop++) {
    const [oldest] = workers();
    process.kill(oldest!, 'SIGTERM');
    t.ok(await within(10_000, () => !workers().includes(oldest!)), `stop ${stop}: the process ends`);
    t.ok(await within(20_000, () => listeningSockets(port) === 2), `stop ${stop}: another takes its place`);
  }
  await nodes.stop();
  t.same(nodes.failures, [], 'no request failed');
  t.ok(nodes.served > 500, `${nodes.served} requests were served meanwhile`);
  t.equal(await program.stop(), 0, 'and the whole ends cleanly');
});
