/** `log` follows a running server. */
import t from 'tap';
import { runCommand } from './pipes.ts';
import path from 'node:path';
import { startWireServer } from '../client/wire-server.ts';
import { clientEnv, startSeededServer } from './seeded-server.ts';

/** Bound of the wait for an event that a request caused a moment before. */
const patienceMs = 10_000;

void t.test('follows the audit log until it is interrupted (docs/kes-cli.md, log-events)', async (t) => {
  const server = await startSeededServer();
  t.teardown(() => server.close());
  const interrupt = new AbortController();
  const patience = setTimeout(() => interrupt.abort(), patienceMs);
  const options = { env: clientEnv(server), cwd: server.folder };
  // The stream is open only some time after the command began; requests are made until one is seen.
  const following = runCommand(['log', '-k'], {
    ...options,
    signal: interrupt.signal,
    onStdout: () => interrupt.abort(),
  });
  let requests = 0;
  while (!interrupt.signal.aborted) {
    requests++;
    await runCommand(['key', 'info', '-k', 'app-key'], options);
  }
  clearTimeout(patience);
  const { exit, stdout, stderr } = await following;
  t.equal(exit, 0, 'Ctrl-C is how it ends');
  t.equal(stderr, '');
  t.ok(requests > 0);
  const lines = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  t.match(lines[0], { time: /^\d{4}-/, request: { path: /^\/v1\// }, response: { code: 200 } });
});

void t.test('a caller who may not is told so', async (t) => {
  const server = await startSeededServer();
  t.teardown(() => server.close());
  const options = { env: clientEnv(server, 'app'), cwd: server.folder };
  for (const kind of ['--audit', '--error']) {
    t.same(await runCommand(['log', '-k', kind], options), {
      exit: 1,
      stdout: '',
      stderr: 'Error: not authorized: insufficient permissions\n',
    });
  }
});

void t.test('prints events as JSON lines in a pipe and as columns on a terminal', async (t) => {
  const events = [
    '{"time":"2026-01-02T03:04:05.678Z","request":{"ip":"10.0.0.1","path":"/v1/key/generate/a","identity":"abcdef0123456789"},"response":{"code":200,"time":3}}',
    // Without source and identity, in nanoseconds: servers before 2023-10.
    '{"time":"2026-01-02T03:04:06Z","request":{"path":"/v1/status"},"response":{"code":403,"time":12000000}}',
  ];
  const bodies: Record<string, string> = {
    '/v1/log/audit': events.map((event) => `${event}\n`).join(''),
    '/v1/log/error': '{"message":"disk full"}\n\n{"message":"disk back"}\n',
  };
  const wire = await startWireServer(({ path }) => ({
    status: 200,
    contentType: 'application/x-ndjson',
    body: bodies[path] ?? '',
  }));
  t.teardown(() => wire.close());
  const env = clientEnvOf(wire.endpoint);
  const cwd = path.join(import.meta.dirname, '../fixtures/pki');
  const piped = await runCommand(['log', '-k'], { env, cwd });
  t.same(piped.stdout.trimEnd().split('\n'), [events[0], events[1]!.replace('12000000', '12')]);
  const shown = await runCommand(['log', '-k', '--color', 'never'], { env, cwd, terminal: true });
  t.match(shown.stdout, / {2}200 {2}abcdef012345 {2}10\.0\.0\.1 {7} {2}\/v1\/key\/generate\/a\n/);
  t.match(shown.stdout, / {2}403 {2} {12} {2} {15} {2}\/v1\/status\n$/);
  const errors = await runCommand(['log', '-k', '--error'], { env, cwd, terminal: true });
  t.equal(errors.stdout, 'disk full\ndisk back\n');
});

function clientEnvOf(server: string): Record<string, string> {
  return { SELLO_SERVER: server, SELLO_KEY_FILE: 'admin.key', SELLO_CERT_FILE: 'admin.crt' };
}
