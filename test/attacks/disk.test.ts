/**
 * The disk under a trail answers with errors, slowly, or not at all, and the process is killed meanwhile: no key leaves without its
 * record, other tenants go on, and keys come again without a restart once the disk is well.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import { searchTrail, verifyTrail, type TrailReport } from '../../src/audit/index.ts';
import { freePort, RunningProcess } from '../real/process.ts';
import { pause, Session, within } from './client.ts';
import { compileFaultyDisk, FaultyDisk, type DiskMode } from './faulty-disk.ts';
import { credentialsOf, issue, serverCertificate } from './pki.ts';
import { listenerYaml, tenantsYaml } from './site.ts';

t.setTimeout(150_000);

const generate = { method: 'PUT', path: '/v1/key/generate/app', body: '{}' } as const;
const deadlineMs = 600;

const folderOfAll = mkdtempSync(path.join(os.tmpdir(), 'sello-disk-'));
t.teardown(() => rmSync(folderOfAll, { recursive: true, force: true }));

/** Two tenants in a process of their own; alpha's trail is on the disk that fails. */
class Server {
  readonly folder: string;
  readonly trail: string;
  readonly disk: FaultyDisk;
  readonly #admins = { alpha: issue('alpha'), beta: issue('beta') };
  #port = 0;
  #process: RunningProcess | undefined;

  constructor(library: string, name: string, audit: Readonly<Record<string, unknown>> = {}) {
    this.folder = path.join(folderOfAll, name);
    const disk = path.join(this.folder, 'disk');
    mkdirSync(disk, { recursive: true });
    this.trail = path.join(disk, 'alpha');
    this.disk = new FaultyDisk(library, disk, path.join(this.folder, 'mode'));
    const { certificatePem, privateKeyPem } = serverCertificate();
    this.#write('server.crt', certificatePem);
    this.#write('server.key', privateKeyPem);
    this.#write('root.key', Buffer.alloc(32, 7).toString('base64'));
    const tenant = (tenantName: 'alpha' | 'beta', more: Readonly<Record<string, unknown>>) => ({
      name: tenantName,
      admins: [this.#admins[tenantName].identity],
      clients: { auth: 'off', requireClientAuthEku: false },
      keystore: { file: { path: `${tenantName}-keys`, rootKey: { file: 'root.key' } } },
      keys: ['app'],
      audit: more,
    });
    this.#tenants = tenantsYaml(
      tenant('alpha', {
        path: 'disk/alpha/',
        // Else it goes on the disk that fails, too.
        signingKey: 'alpha.pem',
        deadline: `${deadlineMs}ms`,
        checkpoint: { interval: '200ms', records: 50 },
        segment: { size: '100KiB' },
        ...audit,
      }),
      // A thread of its own, as on another disk: threads are told apart by device and durability.
      tenant('beta', { path: 'beta.jsonl', mode: audit['mode'] === 'synced' ? 'written' : 'synced' }),
    );
  }

  readonly #tenants: string;

  #write(name: string, text: string): void {
    writeFileSync(path.join(this.folder, name), text, { mode: 0o600 });
  }

  async start(): Promise<void> {
    this.#port = await freePort();
    const listener = listenerYaml.replace('127.0.0.1:0', `127.0.0.1:${this.#port}`);
    this.#write('sello.yaml', listener + this.#tenants);
    this.#process = await RunningProcess.start({
      command: process.execPath,
      args: [path.resolve('src/main.ts'), 'serve', '--config', path.join(this.folder, 'sello.yaml')],
      log: path.join(this.folder, 'sello.log'),
      env: this.disk.env,
      isReady: async () => {
        (await this.open('alpha')).close();
        return true;
      },
    });
  }

  open(tenant: 'alpha' | 'beta'): Promise<Session> {
    return Session.open({ port: this.#port, credentials: credentialsOf(this.#admins[tenant]) });
  }

  stop(signal?: 'SIGKILL'): Promise<number | null> {
    return this.#process!.stop(signal);
  }

  /** Once the client has left, and the server has seen it: a stop would wait for it. */
  async stopAfter(session: Session): Promise<number | null> {
    session.close();
    await pause(150);
    return this.stop();
  }

  get log(): string {
    return readFileSync(path.join(this.folder, 'sello.log'), 'utf8');
  }

  /** Records in the trail that say a data key was let go. */
  async releases(): Promise<number> {
    let count = 0;
    for await (const line of searchTrail(this.trail, { key: 'app', outcome: 'success' }))
      if (line.includes('"action":"issue"')) count++;
    return count;
  }
}

/** Asks for data keys until told to stop, or until the server is gone; counts what came. */
class Load {
  keys = 0;
  refused = 0;
  other: string[] = [];
  slowestMs = 0;
  #stopping = false;
  readonly #done: Promise<unknown>;

  constructor(session: Session, callers = 8) {
    this.#done = Promise.all(Array.from({ length: callers }, () => this.#call(session)));
  }

  async #call(session: Session): Promise<void> {
    while (!this.#stopping) {
      const startMs = performance.now();
      try {
        const { status, body } = await session.ask(generate);
        // The server was killed with the answer under way.
        if (Number.isNaN(status)) return;
        if (status === 200 && body.includes('plaintext')) this.keys++;
        else if (status === 503 && !body.includes('plaintext')) this.refused++;
        else this.other.push(String(status));
        if (!session.isOpen) return;
        // A refusal costs nothing: without a pause they would be all that this machine does.
        if (status === 503) await pause(5);
      } catch (error) {
        if (!session.isOpen) return;
        this.other.push((error as Error).message);
      }
      this.slowestMs = Math.max(this.slowestMs, performance.now() - startMs);
    }
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#done;
  }
}

const found = (report: TrailReport): string =>
  [...report.findings, ...report.streams.flatMap((stream) => stream.findings)]
    .map(({ text }) => text)
    .join('; ');

/** Every key that a client received is on record, in a trail without a fault. */
async function isComplete(t: Test, server: Server, keys: number): Promise<void> {
  const report = await verifyTrail(server.trail);
  t.equal(report.verdict, 'unattested', found(report));
  const written = await server.releases();
  t.ok(written >= keys, `${keys} keys received, ${written} records of a release`);
}

async function serves(server: Server, tenant: 'alpha' | 'beta', count: number): Promise<Load> {
  const session = await server.open(tenant);
  const load = new Load(session, 2);
  await within(5_000, () => load.keys >= count);
  await load.stop();
  session.close();
  return load;
}

const library = compileFaultyDisk(t, folderOfAll);
if (library !== undefined) {
  const faults: { name: string; mode: DiskMode; audit?: Record<string, unknown>; text: RegExp }[] = [
    { name: 'errors', mode: 'eio', text: /write failed: EIO/ },
    { name: 'errors in mid-write', mode: 'half', text: /write failed: EIO/ },
    { name: 'flushes that fail', mode: 'sync-eio', audit: { mode: 'synced' }, text: /write failed: EIO/ },
    { name: 'no answer', mode: 'hang', text: /the disk takes longer than 600 ms/ },
    {
      name: 'no answer to flushes',
      mode: 'sync-hang',
      audit: { mode: 'synced' },
      text: /longer than 600 ms/,
    },
    { name: 'answers past the deadline', mode: 'slow:1000', text: /longer than 600 ms/ },
  ];
  for (const { name, mode, audit, text } of faults) {
    t.test(`a disk with ${name}: no key without its record, and no restart`, async (t) => {
      const server = new Server(library, name.replaceAll(' ', '-'), audit);
      t.teardown(() => server.stop('SIGKILL'));
      await server.start();
      const session = await server.open('alpha');
      const load = new Load(session);
      t.ok(await within(10_000, () => load.keys > 50), 'keys come');
      server.disk.mode = mode;
      t.ok(await within(10_000, () => load.refused > 50), 'then they are refused');
      const beta = await serves(server, 'beta', 20);
      t.ok(beta.keys >= 20 && beta.refused === 0, `beta gets its keys (${beta.keys})`);
      t.ok(beta.slowestMs < deadlineMs, `without waiting for alpha (${Math.round(beta.slowestMs)} ms)`);
      const before = load.keys;
      server.disk.mode = 'ok';
      t.ok(await within(10_000, () => load.keys > before + 50), 'keys come again once the disk is well');
      await load.stop();
      t.same(load.other, [], 'every answer is a key or a 503');
      t.ok(load.slowestMs < 2_500, `no caller waits for long (${Math.round(load.slowestMs)} ms)`);
      t.equal(await server.stopAfter(session), 0);
      t.match(server.log, text);
      await isComplete(t, server, load.keys);
    });
  }

  t.test('a slow disk within the deadline: every key, later', async (t) => {
    const server = new Server(library, 'slow');
    t.teardown(() => server.stop('SIGKILL'));
    await server.start();
    server.disk.mode = 'slow:300';
    const session = await server.open('alpha');
    const load = new Load(session, 32);
    t.ok(await within(10_000, () => load.keys > 100), `${load.keys} keys`);
    const beta = await serves(server, 'beta', 20);
    t.ok(beta.keys >= 20 && beta.slowestMs < 250, `beta does not feel it (${Math.round(beta.slowestMs)} ms)`);
    await load.stop();
    t.same([load.refused, load.other], [0, []], 'none refused');
    server.disk.mode = 'ok';
    t.equal(await server.stopAfter(session), 0);
    await isComplete(t, server, load.keys);
  });

  for (const mode of ['sync-eio', 'sync-hang'] as const)
    t.test(`checkpoints whose flushes ${mode === 'sync-eio' ? 'fail' : 'hang'} hold up no key`, async (t) => {
      const server = new Server(library, `checkpoints-${mode}`);
      t.teardown(() => server.stop('SIGKILL'));
      await server.start();
      server.disk.mode = mode;
      const session = await server.open('alpha');
      const load = new Load(session);
      t.ok(await within(10_000, () => load.keys > 500), `${load.keys} keys`);
      if (mode === 'sync-eio')
        t.ok(await within(5_000, () => server.log.includes('no checkpoint can be written')), 'it is said');
      server.disk.mode = 'ok';
      await load.stop();
      t.same([load.refused, load.other], [0, []], 'none refused');
      if (mode === 'sync-eio')
        t.ok(await within(5_000, () => server.log.includes('checkpoints are made')), 'and made up for');
      t.equal(await server.stopAfter(session), 0);
      await isComplete(t, server, load.keys);
    });

  t.test('kill -9 under load, also while the disk fails: the next process goes on', async (t) => {
    const server = new Server(library, 'killed');
    t.teardown(() => server.stop('SIGKILL'));
    let keys = 0;
    for (const mode of ['ok', 'hang', 'half', 'ok'] as const) {
      await server.start();
      const session = await server.open('alpha');
      const load = new Load(session);
      await within(10_000, () => load.keys > 100 + Math.random() * 100);
      server.disk.mode = mode;
      if (mode !== 'ok') await within(5_000, () => load.refused > 5);
      await server.stop('SIGKILL');
      await load.stop();
      session.close();
      server.disk.mode = 'ok';
      t.same(load.other, []);
      t.ok(load.keys > 50, `${mode}: ${load.keys} keys`);
      keys += load.keys;
    }
    await server.start();
    keys += (await serves(server, 'alpha', 20)).keys;
    await pause(150);
    t.equal(await server.stop(), 0);
    const report = await verifyTrail(server.trail);
    t.equal(report.streams.length, 1, 'one stream for all of them');
    await isComplete(t, server, keys);
  });
}
