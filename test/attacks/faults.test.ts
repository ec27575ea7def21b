/** The audit disk is full, or does not answer: no key leaves without its record, and everybody else goes on. */
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import t, { type Test } from 'tap';
import { askHttp2, openSocket, pause, Session, within, type Answer } from './client.ts';
import { issue, type Issued } from './pki.ts';
import { listenerYaml, Site, tenantsYaml } from './site.ts';

const unverified = { auth: 'off', requireClientAuthEku: false } as const;
const generate = { method: 'PUT', path: '/v1/key/generate/app', body: '{}' } as const;

interface Line {
  readonly event: { readonly action?: string };
  readonly http: { readonly response: { readonly status_code: number } };
  readonly sello: { readonly count?: number; readonly decision: string };
}

/** Whole lines only: a full disk may have cut the last one. */
function linesOf(text: string): Line[] {
  return text
    .split('\n')
    .slice(0, -1)
    .flatMap((line) => {
      try {
        return [JSON.parse(line) as Line];
      } catch {
        return [];
      }
    });
}

/** Records that say a data key was let go. */
const releases = (text: string): number =>
  linesOf(text).filter((line) => line.event.action === 'issue' && line.http.response.status_code === 200)
    .length;

interface Scene {
  readonly site: Site;
  readonly alphaAdmin: Issued;
  readonly betaAdmin: Issued;
}

async function scene(site: Site, alphaAudit: string): Promise<Scene> {
  const [alphaAdmin, betaAdmin] = [issue('alpha'), issue('beta')];
  const tenant = (name: string, admin: Issued, audit: string) => ({
    name,
    admins: [admin.identity],
    clients: unverified,
    audit: { path: audit, deadline: '1s' },
    keys: ['app'],
  });
  await site.start(
    listenerYaml.replace('probes: off', 'probes: 127.0.0.1:0') +
      tenantsYaml(tenant('alpha', alphaAdmin, alphaAudit), tenant('beta', betaAdmin, 'beta.jsonl')),
  );
  return { site, alphaAdmin, betaAdmin };
}

/** Asks for data keys until told to stop; counts what came. */
class Load {
  keys = 0;
  refused = 0;
  other: string[] = [];
  slowestMs = 0;
  #stopping = false;
  readonly #done: Promise<unknown>;

  constructor(session: Session, callers: number, pauseMs = 0) {
    this.#done = Promise.all(Array.from({ length: callers }, () => this.#call(session, pauseMs)));
  }

  async #call(session: Session, pauseMs: number): Promise<void> {
    while (!this.#stopping) {
      const startMs = performance.now();
      const answer = await session.ask(generate).catch((error: Error) => error);
      this.slowestMs = Math.max(this.slowestMs, performance.now() - startMs);
      if (answer instanceof Error) this.other.push(answer.message);
      else if (answer.status === 200 && answer.body.includes('plaintext')) this.keys++;
      else if (answer.status === 503 && !answer.body.includes('plaintext')) this.refused++;
      else this.other.push(String(answer.status));
      if (pauseMs > 0) await pause(pauseMs);
    }
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#done;
  }
}

function probe(port: number, at: string): Promise<number> {
  return new Promise((resolve, reject) => {
    http
      .get({ host: '127.0.0.1', port, path: at }, (response) => {
        response.resume();
        resolve(response.statusCode!);
      })
      .on('error', reject);
  });
}

/** While alpha cannot write: others and probes go on, and alpha's keys stay as they are. */
async function othersGoOn(t: Test, { site, alphaAdmin, betaAdmin }: Scene): Promise<void> {
  const [alpha, beta] = [await Session.open(site.as(alphaAdmin)), await Session.open(site.as(betaAdmin))];
  const load = new Load(beta, 2);
  await pause(400);
  await within(5000, () => load.keys > 20);
  await load.stop();
  t.ok(load.keys > 20, `beta gets its keys (${load.keys})`);
  t.same([load.refused, load.other], [0, []], 'and nothing else');
  // Who waited for alpha's disk would wait for its deadline, a second.
  t.ok(load.slowestMs < 750, `without waiting for alpha's disk (${Math.round(load.slowestMs)} ms)`);
  t.equal(await probe(site.server.probePort!, '/livez'), 200, 'alive');
  const ask = (method: string, at: string): Promise<Answer> => alpha.ask({ method, path: at });
  t.equal((await ask('PUT', '/v1/key/create/unrecorded')).status, 503, 'alpha makes no key');
  t.equal((await ask('DELETE', '/v1/key/delete/app')).status, 503, 'and ends none');
  alpha.close();
  beta.close();
}

async function recovers(t: Test, { site, alphaAdmin }: Scene): Promise<void> {
  const alpha = await Session.open(site.as(alphaAdmin));
  t.ok(
    await within(5000, async () => (await alpha.ask(generate)).status === 200),
    'alpha is served again, without a restart',
  );
  t.equal(
    (await alpha.ask({ method: 'GET', path: '/v1/key/describe/unrecorded' })).status,
    404,
    'what was refused was not done',
  );
  t.equal((await alpha.ask({ method: 'GET', path: '/v1/key/describe/app' })).status, 200);
  alpha.close();
}

function tmpfs(t: Test, folder: string): boolean {
  try {
    mkdirSync(folder);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', folder], { stdio: 'ignore' });
  } catch {
    return false;
  }
  t.teardown(() => execFileSync('umount', [folder], { stdio: 'ignore' }));
  return true;
}

t.test('a full audit disk: no key without its record', { timeout: 40_000 }, async (t) => {
  const site = new Site();
  t.teardown(() => site.remove());
  const disk = site.file('disk');
  if (!tmpfs(t, disk)) {
    t.pass('a full disk', { skip: 'mounting a tmpfs needs root' });
    return;
  }
  const filler = path.join(disk, 'filler');
  const record = path.join(disk, 'alpha.jsonl');
  writeFileSync(filler, Buffer.alloc(900_000));
  const made = await scene(site, record);
  const session = await Session.open(site.as(made.alphaAdmin));
  const load = new Load(session, 8);
  t.ok(await within(10_000, () => load.refused > 50), 'the disk fills and keys are refused');
  await othersGoOn(t, made);
  rmSync(filler);
  const before = load.keys;
  t.ok(await within(5000, () => load.keys > before + 50), 'with room again keys come again');
  await load.stop();
  session.close();
  await recovers(t, made);
  await site.server.stop();
  t.same(load.other, [], 'every answer is a key or a 503');
  const written = releases(readFileSync(record, 'utf8'));
  t.ok(
    load.keys > 100 && written >= load.keys,
    `${load.keys} keys received, ${written} records of a release`,
  );
});

t.test('a hung audit disk: no key without its record', { timeout: 40_000 }, async (t) => {
  const site = new Site();
  t.teardown(() => site.remove());
  const pipe = site.file('alpha.pipe');
  try {
    execFileSync('mkfifo', [pipe]);
  } catch {
    t.pass('a hung disk', { skip: 'there is no mkfifo' });
    return;
  }
  // A pipe that nobody empties takes 64 KiB and then holds its writer for ever.
  const reader = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK);
  const chunks: Buffer[] = [];
  const drain = (): void => {
    const chunk = Buffer.alloc(65_536);
    try {
      for (let n = readSync(reader, chunk); n > 0; n = readSync(reader, chunk))
        chunks.push(Buffer.from(chunk.subarray(0, n)));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
    }
  };
  const made = await scene(site, pipe);
  const session = await Session.open(site.as(made.alphaAdmin));
  const load = new Load(session, 8);
  t.ok(await within(10_000, () => load.refused > 50), 'the pipe fills and keys are refused');
  t.ok(
    load.slowestMs < 2000,
    `no caller waits much longer than the deadline (${Math.round(load.slowestMs)} ms)`,
  );
  await othersGoOn(t, made);
  const draining = setInterval(drain, 5);
  const before = load.keys;
  t.ok(await within(5000, () => load.keys > before + 50), 'once the disk answers keys come again');
  await load.stop();
  session.close();
  await recovers(t, made);
  await site.server.stop();
  clearInterval(draining);
  drain();
  closeSync(reader);
  t.same(load.other, [], 'every answer is a key or a 503');
  const written = releases(Buffer.concat(chunks).toString());
  t.ok(load.keys > 50 && written >= load.keys, `${load.keys} keys received, ${written} records of a release`);
});

t.test('a flood of strangers takes no tenant its audit space', { timeout: 40_000 }, async (t) => {
  for (const alone of [true, false]) {
    const site = new Site();
    t.teardown(() => site.remove());
    const [admin, other] = [issue('admin'), issue('other')];
    const alpha = {
      name: 'alpha',
      admins: [admin.identity],
      clients: unverified,
      audit: { path: 'alpha.jsonl' },
      keys: ['app'],
    };
    const beta = {
      name: 'beta',
      admins: [other.identity],
      clients: unverified,
      audit: { path: 'beta.jsonl' },
    };
    await site.start(
      `${listenerYaml}audit: {path: server.jsonl, maxRecordsPerSecond: 20}\n${alone ? tenantsYaml(alpha) : tenantsYaml(alpha, beta)}`,
    );
    const startMs = performance.now();
    const stranger = await Session.open(site.as(issue('stranger')));
    const asked = 2000;
    for (let i = 0; i < asked; i += 100) {
      const batch = await Promise.all(
        Array.from({ length: 100 }, (_, k) =>
          stranger.ask({ ...generate, path: `/v1/key/generate/flood-${i + k}` }),
        ),
      );
      t.ok(batch.every(({ status }) => status === 403));
    }
    stranger.close();
    const hollow = 100;
    for (let i = 0; i < hollow; i++)
      (await openSocket(site.as(undefined), 'h2').catch(() => undefined))?.destroy();
    t.equal((await askHttp2(site.as(admin), generate)).status, 200, 'alpha is served');
    const seconds = Math.ceil((performance.now() - startMs) / 1000) + 1;
    await site.server.stop();
    const who = alone ? 'a tenant alone' : 'two tenants';
    const alphaText = readFileSync(site.file('alpha.jsonl'), 'utf8');
    t.notMatch(alphaText, /flood/, `${who}: nothing of the flood in alpha's records`);
    t.equal(releases(alphaText), 1, `${who}: alpha's own record is there`);
    if (existsSync(site.file('beta.jsonl')))
      t.equal(readFileSync(site.file('beta.jsonl'), 'utf8'), '', `${who}: nothing in beta's`);
    const server = linesOf(readFileSync(site.file('server.jsonl'), 'utf8'));
    t.ok(
      server.length <= seconds * 40,
      `${who}: ${server.length} lines in ${seconds} s, bounded by the quota`,
    );
    const counted = server.reduce((sum, line) => sum + (line.sello.count ?? 1), 0);
    t.ok(
      counted >= asked + hollow && counted <= asked + hollow + 2,
      `${who}: and every refusal is counted (${counted})`,
    );
  }
});
