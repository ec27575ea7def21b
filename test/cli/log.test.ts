/** `log` follows a running server. */
import t from 'tap';
import { runCommand } from './pipes.ts';
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
