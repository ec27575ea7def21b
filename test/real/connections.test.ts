/** Connections that end while MinIO's client library is busy on them: it must not notice. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { KmsGo, kmsGoLoad, type KmsGoOptions } from './kmsgo.ts';
import { kesConfig, Sello } from './sello.ts';
import { needTools } from './tools.ts';

const tool = await needTools(t, 'kmsgo');
if (tool !== undefined) {
  const folder = await mkdtemp(join(tmpdir(), 'sello-connections-'));
  const started: Sello[] = [];
  t.teardown(async () => {
    for (const sello of started) await sello.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const start = async (
    name: string,
    settings: object,
  ): Promise<{ sello: Sello; connection: KmsGoOptions }> => {
    const sello = await Sello.start({
      folder: join(folder, name),
      config: (facts) => ({ ...kesConfig(facts), sello: settings }),
    });
    started.push(sello);
    const credential = { apiKey: sello.admin.text };
    const connection = { program: tool.kmsgo, endpoint: sello.endpoint, ca: sello.authority.ca, credential };
    const client = new KmsGo(connection);
    await client.ok('create', { name: 'busy' });
    await client.close();
    return { sello, connection };
  };

  t.test('a connection that reached its age is replaced without losing a request', async (t) => {
    const { connection } = await start('age', { limits: { maxConnectionAge: '300ms' } });
    const result = await kmsGoLoad(connection, load(3));
    t.same(result.errors, {});
    t.ok(result.requests > 500, `${String(result.requests)} answered`);
  });

  t.test('a reload under load loses no request', async (t) => {
    const { sello, connection } = await start('reload', {});
    const loading = kmsGoLoad(connection, load(3));
    for (let i = 0; i < 5; i++) {
      await sleep(500);
      process.kill(sello.pid, 'SIGHUP');
    }
    t.same((await loading).errors, {});
  });

  t.test('two processes share one port', async (t) => {
    const { connection } = await start('two', { processes: 2 });
    const result = await kmsGoLoad(connection, { ...load(2), clients: 8 });
    t.same(result.errors, {});
    t.ok(result.requests > 500, `${String(result.requests)} answered`);
  });

  t.test('each of them stops cleanly when asked', async (t) => {
    for (const sello of started) t.equal(await sello.stop(), 0);
  });
}

function load(seconds: number): Parameters<typeof kmsGoLoad>[1] {
  return { name: 'busy', operation: 'decrypt', callers: 32, clients: 1, seconds };
}
