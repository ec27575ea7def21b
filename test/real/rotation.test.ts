/** Two Sello processes on one real Vault: rotation under load, and how fast states reach the other one. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { createClient, type ClientError, type SelloClient } from '../../src/client/index.ts';
import { versionOfCiphertext } from '../../src/keys/index.ts';
import { createApiKey, createAuthority } from './certificates.ts';
import { Sello } from './sello.ts';
import { needTools } from './tools.ts';
import { Vault } from './vault.ts';

t.setTimeout(180_000);

const rotations = 20;
const requestsPerSecond = 200;
const context = Buffer.from('{"bucket":"photos"}');
/** What the configuration says, and how long a busy machine may take on top. */
const propagationMs = 2_000;
const graceMs = 3_000;

const found = await needTools(t, 'vault');
if (found !== undefined) {
  const folder = await mkdtemp(join(tmpdir(), 'sello-rotation-'));
  const vault = await Vault.start({ program: found.vault, folder });
  t.teardown(async () => {
    await vault.stop();
    await rm(folder, { recursive: true });
  });
  await vault.mountKv('kv', 2);
  const authority = await createAuthority(join(folder, 'certs'));
  const admin = createApiKey();

  const replicas = await Promise.all(
    ['a', 'b'].map((replica) =>
      Sello.start({
        folder: join(folder, replica),
        authority,
        config: ({ address, server }) => ({
          version: 'sello/v1',
          probes: 'off',
          listeners: [{ address, tls: { cert: server.cert, key: server.key } }],
          propagation: `${String(propagationMs)}ms`,
          audit: { folder: join(folder, replica, 'audit') },
          tenants: [
            {
              name: 'acme',
              admins: [admin.identity],
              clients: { auth: 'off' },
              lifecycle: { deletionWait: '1s', quiet: '0s' },
              keystore: {
                vaultKv: {
                  addresses: [vault.address],
                  engine: 'kv',
                  prefix: 'acme',
                  login: { token: { env: 'TEST_VAULT_TOKEN' } },
                },
              },
            },
          ],
        }),
        env: { TEST_VAULT_TOKEN: vault.rootToken },
      }),
    ),
  );
  const clients = replicas.map(({ endpoint }) =>
    createClient({ endpoints: [endpoint], apiKey: admin.text, insecure: true, retryDelayMs: [1, 2] }),
  );
  const [a, b] = clients as [SelloClient, SelloClient];
  t.teardown(async () => {
    for (const client of clients) client.close();
    await Promise.all(replicas.map((replica) => replica.stop()));
  });

  await t.test(
    `${String(rotations)} rotations under ${String(requestsPerSecond)} requests a second: nothing fails, everything opens`,
    async (t) => {
      await a.createKey('busy');
      const sealed: { plaintext: Buffer; ciphertext: Buffer }[] = [];
      const failures: unknown[] = [];
      let requests = 0;
      let isOver = false;
      const lane = async (position: number): Promise<void> => {
        // Each asks one replica and opens on the other, at once: the second has often not heard of the newest version.
        const [maker, opener] = position % 2 === 0 ? [a, b] : [b, a];
        while (!isOver) {
          const startMs = performance.now();
          try {
            const dataKey = await maker.generateKey('busy', context);
            sealed.push(dataKey);
            const opened = await opener.decrypt('busy', dataKey.ciphertext, context);
            if (!opened.equals(dataKey.plaintext)) throw new Error('another data key');
          } catch (error) {
            failures.push(error);
          }
          requests += 2;
          await sleep(Math.max(0, (2_000 * lanes) / requestsPerSecond - (performance.now() - startMs)));
        }
      };
      const lanes = 20;
      const startMs = performance.now();
      const load = Array.from({ length: lanes }, (_, position) => lane(position));
      for (let version = 2; version <= rotations + 1; version++) {
        await sleep(700);
        const info = await (version % 2 === 0 ? a : b).admin.act('busy', 'rotate');
        t.equal(info.sealingVersion, version);
      }
      await sleep(propagationMs + graceMs);
      isOver = true;
      await Promise.all(load);
      const perSecond = requests / ((performance.now() - startMs) / 1000);
      t.same(failures, [], 'failed requests');
      let unopenable = 0;
      for (const { plaintext, ciphertext } of sealed) {
        const opened = await b.decrypt('busy', ciphertext, context).catch(() => undefined);
        if (opened?.equals(plaintext) !== true) unopenable++;
      }
      t.equal(unopenable, 0, 'unopenable ciphertexts');
      const versions = new Set(sealed.map(({ ciphertext }) => versionOfCiphertext(ciphertext)));
      t.equal(Math.max(...versions), rotations + 1);
      t.ok(versions.size > rotations / 2, `${String(versions.size)} versions sealed`);
      t.equal(versionOfCiphertext((await a.generateKey('busy')).ciphertext), rotations + 1, 'one replica');
      t.equal(versionOfCiphertext((await b.generateKey('busy')).ciphertext), rotations + 1, 'and the other');
      t.comment(
        `${String(requests)} requests, ${perSecond.toFixed(0)}/s, ${String(sealed.length)} ciphertexts of ${String(versions.size)} versions`,
      );
      t.ok(perSecond > requestsPerSecond / 4, 'there was load');
    },
  );

  await t.test('disable, delete and compromise reach the other replica within `propagation`', async (t) => {
    const statusOf = async (work: Promise<unknown>): Promise<number> =>
      work.then(
        () => 200,
        (error: ClientError) => error.status,
      );
    const reaches = async (claim: string, status: number, work: () => Promise<unknown>): Promise<void> => {
      const startMs = performance.now();
      let last = await statusOf(work());
      while (last !== status && performance.now() - startMs < propagationMs + graceMs) {
        await sleep(50);
        last = await statusOf(work());
      }
      const tookMs = performance.now() - startMs;
      t.equal(last, status, `${claim}: ${tookMs.toFixed(0)} ms`);
    };
    await a.createKey('states');
    const { ciphertext } = await a.generateKey('states', context);
    await b.decrypt('states', ciphertext, context);
    await a.admin.act('states', 'disable');
    await reaches('disable', 403, () => b.decrypt('states', ciphertext, context));
    t.equal((await b.describeKey('states')).name, 'states', 'never 404 for a key that exists');
    t.equal(await statusOf(b.createKey('states')), 400);
    await b.admin.act('states', 'enable');
    await reaches('enable', 200, () => a.decrypt('states', ciphertext, context));
    await a.admin.actOnVersion('states', 1, 'compromise');
    await b.decrypt('states', ciphertext, context);
    await reaches('a version that is compromised seals no more', 200, async () => {
      const sealed = await b.generateKey('states');
      if (versionOfCiphertext(sealed.ciphertext) !== 2)
        throw Object.assign(new Error('version 1'), { status: 0 });
    });
    await b.decrypt('states', ciphertext, context);
    const log = await replicas[1]!.output();
    t.match(log, /"alarm":"compromised-version-used"/, 'and its use is told');
    await a.admin.scheduleEnd('states', undefined, 1);
    await reaches('schedule deletion', 403, () => b.decrypt('states', ciphertext, context));
    await sleep(1_100);
    t.match(
      await b.admin.destroy('states'),
      { key: 'states', tenant: 'acme', versions: [{ version: 1 }, { version: 2 }] },
      'a receipt',
    );
    await reaches('delete', 404, () => a.decrypt('states', ciphertext, context));
  });
}
