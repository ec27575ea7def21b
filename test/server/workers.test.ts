import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import t from 'tap';
import { Session } from '../attacks/client.ts';
import { credentialsOf, issue } from '../attacks/pki.ts';
import { listenerYaml, serverAuditOff, Site, tenantsYaml } from '../attacks/site.ts';

const admin = issue('admin');

async function freePort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function within(ms: number, holds: () => boolean | Promise<boolean>): Promise<boolean> {
  const endMs = performance.now() + ms;
  while (!(await holds())) {
    if (performance.now() > endMs) return false;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return true;
}

function workersOf(program: ChildProcess): number[] {
  return readFileSync(`/proc/${program.pid}/task/${program.pid}/children`, 'utf8')
    .trim()
    .split(' ')
    .filter(Boolean)
    .map(Number);
}

t.test(
  'of two processes one port shows the numbers and the health of both',
  { timeout: 60_000 },
  async (t) => {
    const site = new Site();
    t.teardown(() => site.remove());
    const [port, probePort] = [await freePort(), await freePort()];
    site.write(
      'sello.yaml',
      listenerYaml
        .replace('probes: off', `processes: 2\nprobes: 127.0.0.1:${probePort}`)
        .replace('127.0.0.1:0', `127.0.0.1:${port}`) +
        serverAuditOff +
        tenantsYaml({
          name: 'alpha',
          admins: [admin.identity],
          clients: { auth: 'off' },
          keystore: { fs: { path: 'keys' } },
          keys: ['app'],
        }),
    );
    const main = path.join(import.meta.dirname, '../../src/main.ts');
    const program = spawn(process.execPath, [main, 'serve', '--config', site.file('sello.yaml')], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const ended = new Promise<number | null>((resolve) => program.once('exit', resolve));
    t.teardown(async () => {
      program.kill('SIGTERM');
      await ended;
    });
    const probe = async (at: string): Promise<{ status: number; text: string }> => {
      const response = await fetch(`http://127.0.0.1:${probePort}${at}`).catch(() => undefined);
      return { status: response?.status ?? 0, text: (await response?.text()) ?? '' };
    };
    t.ok(await within(30_000, async () => (await probe('/readyz?strict')).status === 200), 'both are ready');
    t.equal((await probe('/livez')).status, 200);

    // Each connection reaches one of the processes, by chance of its port: of 40 both have some.
    const asked = 40;
    for (let i = 0; i < asked; i++) {
      const session = await Session.open({ port, credentials: credentialsOf(admin) });
      t.equal((await session.ask({ method: 'GET', path: '/v1/key/describe/app' })).status, 200);
      session.close();
    }
    const page = (await probe('/metrics')).text;
    const counted = [0, 1].map((worker) =>
      Number(
        new RegExp(
          `^sello_http_requests_total\\{[^}]*describe[^}]*worker="${worker}"[^}]*\\} (\\d+)$`,
          'm',
        ).exec(page)?.[1] ?? 0,
      ),
    );
    t.equal(counted[0]! + counted[1]!, asked, `every request is on the page (${counted.join(' and ')})`);
    t.ok(counted[0]! > 0 && counted[1]! > 0, 'of both processes');
    t.match(page, /^sello_worker_up\{worker="0"\} 1$/m);
    t.match(page, /^sello_worker_up\{worker="1"\} 1$/m);
    for (const worker of [0, 1]) {
      for (const check of ['keystore', 'audit']) {
        const series = new RegExp(
          `^sello_check_up\\{[^}]*check="${check}"[^}]*worker="${worker}"[^}]*\\} 1$`,
          'm',
        );
        t.match(page, series, `${check} of worker ${worker}`);
      }
    }
    t.equal(page.match(/^# TYPE sello_http_requests_total /gm)?.length, 1, 'each family once');

    const [stuck] = workersOf(program);
    process.kill(stuck!, 'SIGSTOP');
    t.ok(
      await within(5000, async () => (await probe('/livez')).status === 503),
      'a stuck process is not alive',
    );
    const { status, text } = await probe('/readyz');
    t.equal(status, 200, 'while the other serves');
    t.match(text, /does not answer/);
    t.match((await probe('/metrics')).text, /^sello_worker_up\{worker="\d"\} 0$/m);
    process.kill(stuck!, 'SIGCONT');
    t.ok(await within(5000, async () => (await probe('/livez')).status === 200), 'and alive again');
  },
);
