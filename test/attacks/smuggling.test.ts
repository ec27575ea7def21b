/** Every case of the corpus is refused or answered as one request, the hidden request never acts, and the server goes on. */
import t from 'tap';
import { askHttp2, openSocket, pause, type Target } from './client.ts';
import { issue } from './pki.ts';
import { listenerYaml, serverAuditOff, Site, tenantsYaml } from './site.ts';
import { corpus, hidden, type SmugglingCase } from './smuggling-corpus.ts';

/** Nothing more comes after this much silence. */
const quietMs = 120;

interface Exchange {
  /** Status of each final answer, in order. */
  readonly statuses: readonly number[];
  readonly closed: boolean;
}

async function exchange(target: Target, raw: SmugglingCase['raw']): Promise<Exchange> {
  const socket = await openSocket(target, 'http/1.1');
  const chunks: Buffer[] = [];
  let lastMs!: number;
  let closed = false;
  socket.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    lastMs = performance.now();
  });
  socket.on('close', () => (closed = true));
  for (const [i, piece] of (typeof raw === 'string' ? [raw] : raw).entries()) {
    if (i > 0) await pause(30);
    if (!closed) socket.write(Buffer.from(piece, 'latin1'));
  }
  lastMs = performance.now();
  while (!closed && performance.now() - lastMs < quietMs) await pause(10);
  socket.destroy();
  const text = Buffer.concat(chunks).toString('latin1');
  const statuses = [...text.matchAll(/HTTP\/1\.1 (\d{3})/g)]
    .map((match) => Number(match[1]))
    .filter((status) => status >= 200);
  return { statuses, closed };
}

t.test('no request hides in another', async (t) => {
  const admin = issue('admin');
  const site = new Site();
  t.teardown(() => site.remove());
  await site.start(
    listenerYaml +
      serverAuditOff +
      tenantsYaml({
        name: 'alpha',
        admins: [admin.identity],
        clients: { auth: 'off', requireClientAuthEku: false },
        keys: ['app-1'],
      }),
  );
  const target = site.as(admin);
  const crashes: unknown[] = [];
  const crashed = (error: unknown): void => void crashes.push(error);
  process.on('uncaughtException', crashed);
  t.teardown(() => process.off('uncaughtException', crashed));
  const keyStatus = async (): Promise<number> =>
    (await askHttp2(target, { method: 'GET', path: '/v1/key/describe/smuggled' })).status;

  const inParallel = 8;
  for (let i = 0; i < corpus.length; i += inParallel) {
    const batch = corpus.slice(i, i + inParallel);
    const seen = await Promise.all(batch.map(({ raw }) => exchange(target, raw)));
    for (const [k, { name, want }] of batch.entries()) {
      const { statuses, closed } = seen[k]!;
      if (want === 'one') t.equal(statuses.length, 1, `${name}: one answer`);
      else if (want === 'waits') t.same(statuses, [], `${name}: no answer before its end`);
      else {
        t.ok(statuses.length <= 1, `${name}: at most one answer (${statuses.join(' ')})`);
        t.ok(
          statuses.every((status) => status >= 300),
          `${name}: refused (${statuses.join(' ')})`,
        );
        t.ok(closed || statuses.length === 1, `${name}: answered or closed`);
      }
    }
    t.equal(await keyStatus(), 404, `nothing was smuggled by ${batch.map(({ name }) => name).join(', ')}`);
  }
  t.same(crashes, [], 'the process took it all');

  // The instrument itself: two requests that do not hide are two answers, and the second one acts.
  const two = await exchange(target, `GET /v1/key/describe/app-1 HTTP/1.1\r\nHost: x\r\n\r\n${hidden}`);
  t.same(two.statuses, [200, 200], 'two requests in the open are two');
  t.equal(await keyStatus(), 200, 'and the second one acts');
});
