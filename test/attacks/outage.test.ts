/**
 * Vault in trouble, under a tenant's keys as the server uses them: sealed, stopped, partitioned without a reset, slow, changing its leader,
 * refusing every token, renewing its certificate. Each prints its figures as a comment; docs/resilience.md has the table.
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import tls from 'node:tls';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import type { CacheConfig, VaultConfig } from '../../src/config/model.ts';
import { SelloError } from '../../src/errors.ts';
import { parseKeyName, TenantKeys } from '../../src/keys/index.ts';
import { VaultKvKeystore } from '../../src/keystores/vault-kv.ts';
import { createAuthority } from '../real/certificates.ts';
import { needTools } from '../real/tools.ts';
import { Vault } from '../real/vault.ts';
import { VaultCluster } from '../real/vault-cluster.ts';
import { inline, kvConfig } from '../vault/configs.ts';
import { Wire } from '../vault/wire.ts';

t.setTimeout(240_000);

const cached: CacheConfig = {
  maxEntries: 10_000,
  expiryMs: 300_000,
  unusedMs: 0,
  offlineMs: 60_000,
  negativeMs: 0,
};
const warm = parseKeyName('warm');
const context = Buffer.from('{}');

/** Fingerprint of what a server shows now. */
async function certificateAt(port: number): Promise<string> {
  const socket = tls.connect({ host: '127.0.0.1', port, rejectUnauthorized: false });
  await once(socket, 'secureConnect');
  const { fingerprint256 } = socket.getPeerCertificate();
  socket.destroy();
  return fingerprint256;
}

interface Site {
  readonly keys: TenantKeys;
  readonly store: VaultKvKeystore;
}

const found = await needTools(t, 'vault');
if (found !== undefined) {
  const folder = await mkdtemp(join(tmpdir(), 'sello-outage-'));
  const vault = await Vault.start({ program: found.vault, folder });
  t.teardown(async () => {
    await vault.stop();
    await rm(folder, { recursive: true });
  });
  await vault.mountKv('kv', 2);
  await vault.must('POST', 'sys/auth/approle', { type: 'approle' });
  await vault.must('PUT', 'sys/policies/acl/keys', {
    policy: 'path "kv/*" { capabilities = ["create", "read", "update", "delete", "list"] }',
  });
  await vault.must('POST', 'auth/approle/role/sello', { token_policies: ['keys'], token_ttl: '1h' });
  const roleId = (await vault.must('GET', 'auth/approle/role/sello/role-id')).data!['role_id'] as string;
  const secretId = (await vault.must('POST', 'auth/approle/role/sello/secret-id', {})).data![
    'secret_id'
  ] as string;
  const login = {
    method: 'approle',
    mount: 'approle',
    namespace: '',
    roleId: inline(roleId),
    secretId: inline(secretId),
    wrappedFor: undefined,
  } as const;

  let sites = 0;
  const openSite = async (
    t: Test,
    change: Partial<VaultConfig> = {},
    cache: Partial<CacheConfig> = {},
  ): Promise<Site> => {
    const config = kvConfig(vault, { prefix: `o${String(sites++)}`, login: change.login ?? login });
    const store = await VaultKvKeystore.open({
      ...config,
      vault: { ...config.vault, timeoutMs: 2_000, pingMs: 500, ...change },
    });
    const keys = new TenantKeys(store, { ...cached, ...cache });
    t.teardown(() => keys.close());
    await keys.create(warm, '');
    await keys.issue(warm, context);
    return { keys, store };
  };

  /** Cold reads, one after another, until `isOver`; what they met. */
  const watch = async ({ keys, store }: Site, t: Test, during: () => Promise<void>, title: string) => {
    const errors = new Map<string, number>();
    let longestGapMs = 0;
    let lastOkMs = performance.now();
    let warmFailed = 0;
    let isOver = false;
    let endedMs = 0;
    let recoveryMs = Infinity;
    const callsBefore = store.vault.calls;
    const load = (async () => {
      for (let i = 0; i < 20_000; i++) {
        if (isOver && recoveryMs < Infinity) return;
        if (isOver && performance.now() - endedMs > 30_000) return;
        try {
          await keys.issue(warm, context);
        } catch {
          warmFailed++;
        }
        try {
          (await store.read(warm)).fill(0);
          const nowMs = performance.now();
          longestGapMs = Math.max(longestGapMs, nowMs - lastOkMs);
          lastOkMs = nowMs;
          if (isOver) recoveryMs = Math.min(recoveryMs, nowMs - endedMs);
        } catch (error) {
          const code = error instanceof SelloError ? error.code : String(error);
          errors.set(code, (errors.get(code) ?? 0) + 1);
        }
        await sleep(10);
      }
    })();
    await sleep(200);
    await during();
    endedMs = performance.now();
    isOver = true;
    await load;
    const figures = {
      errors: Object.fromEntries(errors),
      longestGapMs: Math.round(longestGapMs),
      recoveryMs: Math.round(recoveryMs),
      vaultCalls: store.vault.calls - callsBefore,
      warmFailed,
    };
    t.comment(`FIGURES ${title} ${JSON.stringify(figures)}`);
    t.equal(warmFailed, 0, 'what is cached served throughout');
    t.ok(recoveryMs < 10_000, `recovered ${String(figures.recoveryMs)} ms after, without a restart`);
    t.strictSame(
      [...errors.keys()].filter((code) => code !== 'SELLO_STORE_UNREACHABLE'),
      [],
      'everything else got the one answer',
    );
    return figures;
  };

  t.test('sealed for 2 s', async (t) => {
    const site = await openSite(t);
    const figures = await watch(
      site,
      t,
      async () => {
        await vault.seal();
        await sleep(2_000);
        await vault.unseal();
      },
      'sealed',
    );
    t.ok((figures.errors['SELLO_STORE_UNREACHABLE'] ?? 0) > 20);
    t.ok(figures.vaultCalls < 500, 'Vault was not asked for each of them');
  });

  t.test('partitioned without a reset for 4 s', async (t) => {
    const wire = await Wire.start(t, vault.port);
    const site = await openSite(t, { addresses: [`http://127.0.0.1:${String(wire.port)}`] });
    const figures = await watch(
      site,
      t,
      async () => {
        wire.cut();
        await sleep(4_000);
        wire.mend();
      },
      'partitioned',
    );
    t.ok((figures.errors['SELLO_STORE_UNREACHABLE'] ?? 0) > 20, 'after one deadline, failures are at once');
  });

  for (const [delayMs, timeoutMs] of [
    [50, 10_000],
    [500, 10_000],
    [5_000, 10_000],
  ] as const) {
    t.test(`slow by ${String(delayMs)} ms`, async (t) => {
      const wire = await Wire.start(t, vault.port);
      const site = await openSite(t, {
        addresses: [`http://127.0.0.1:${String(wire.port)}`],
        timeoutMs,
        pingMs: 10_000,
      });
      const figures = await watch(
        site,
        t,
        async () => {
          wire.delayMs = delayMs;
          await sleep(Math.max(1_000, delayMs + 500));
          wire.delayMs = 0;
        },
        `slow ${String(delayMs)} ms`,
      );
      t.strictSame(figures.errors, {}, 'slow is not down: no call failed');
    });
  }

  t.test('the leader changes: one address ends, another serves', async (t) => {
    const [first, second] = [await Wire.start(t, vault.port), await Wire.start(t, vault.port)];
    const site = await openSite(t, {
      addresses: [first, second].map(({ port }) => `http://127.0.0.1:${String(port)}`),
    });
    await watch(
      site,
      t,
      async () => {
        first.cut();
        await sleep(3_000);
        first.mend();
      },
      'leader silent, 2 addresses',
    );
  });

  t.test('three Vault servers on raft change their leader', async (t) => {
    const cluster = await VaultCluster.start({ program: found.vault, folder: join(folder, 'raft') });
    t.teardown(() => cluster.stop());
    await cluster.must('POST', 'sys/mounts/kv', { type: 'kv', options: { version: '2' } });
    const site = await openSite(t, {
      addresses: cluster.addresses,
      timeoutMs: 10_000,
      login: { method: 'token', namespace: '', token: inline(cluster.rootToken) },
    });
    const down = await watch(
      site,
      t,
      async () => {
        const before = await cluster.leader();
        await cluster.stepDown();
        t.not(await cluster.leader(before), before, 'another one leads');
      },
      'leader steps down, 3 servers',
    );
    t.ok(down.longestGapMs < 10_000);
    let killed = '';
    const dead = await watch(
      site,
      t,
      async () => {
        killed = await cluster.killLeader();
        t.not(await cluster.leader(), killed, 'another one leads');
      },
      'leader killed, 3 servers',
    );
    t.ok(dead.longestGapMs < 15_000);
    if (dead.longestGapMs < 2_500) t.strictSame(dead.errors, {}, 'an election is waited for');
    const back = await watch(site, t, () => cluster.restart(killed), 'the killed one is back');
    t.strictSame(back.errors, {}, 'nobody notices');
  });

  t.test('every token is revoked, five times', async (t) => {
    const site = await openSite(t);
    const figures = await watch(
      site,
      t,
      async () => {
        for (let i = 0; i < 5; i++) {
          await vault.must('POST', 'sys/leases/revoke-force/auth/approle/login');
          await sleep(300);
        }
      },
      'tokens revoked 5 times',
    );
    t.strictSame(figures.errors, {}, 'no call failed');
  });

  t.test('every token expires, and may not live longer than 3 s', async (t) => {
    await vault.must('POST', 'auth/approle/role/short', {
      token_policies: ['keys'],
      token_ttl: '2s',
      token_max_ttl: '3s',
    });
    const of = async (method: 'GET' | 'POST', what: string): Promise<string> =>
      (await vault.must(method, `auth/approle/role/short/${what}`, method === 'GET' ? undefined : {})).data![
        what.replaceAll('-', '_')
      ] as string;
    const site = await openSite(t, {
      login: {
        ...login,
        roleId: inline(await of('GET', 'role-id')),
        secretId: inline(await of('POST', 'secret-id')),
      },
    });
    const figures = await watch(site, t, () => sleep(9_000), 'tokens of 2 s, 3 s at most, for 9 s');
    t.strictSame(figures.errors, {}, 'no call failed');
  });

  t.test('Vault renews its certificate', async (t) => {
    const authority = await createAuthority(join(folder, 'renewing'));
    const own = await VaultCluster.start({
      program: found.vault,
      folder: join(folder, 'renewed'),
      nodes: 1,
      authority,
    });
    t.teardown(() => own.stop());
    await own.must('POST', 'sys/mounts/kv', { type: 'kv', options: { version: '2' } });
    const site = await openSite(t, {
      addresses: own.addresses,
      tls: { caFile: authority.ca, certFile: undefined, keyFile: undefined, serverName: undefined },
      login: { method: 'token', namespace: '', token: inline(own.rootToken) },
    });
    const port = Number(new URL(own.addresses[0]!).port);
    const before = await certificateAt(port);
    const figures = await watch(
      site,
      t,
      async () => {
        for (let i = 0; i < 3; i++) {
          await own.renewCertificates();
          await sleep(500);
        }
      },
      'certificate renewed 3 times',
    );
    t.not(await certificateAt(port), before, 'it is another one');
    t.strictSame(figures.errors, {}, 'no call failed');
  });

  t.test('stopped for 2 s, and started again with all it had', async (t) => {
    const own = await VaultCluster.start({ program: found.vault, folder: join(folder, 'stopped'), nodes: 1 });
    t.teardown(() => own.stop());
    await own.must('POST', 'sys/mounts/kv', { type: 'kv', options: { version: '2' } });
    const site = await openSite(t, {
      addresses: own.addresses,
      login: { method: 'token', namespace: '', token: inline(own.rootToken) },
    });
    const figures = await watch(
      site,
      t,
      async () => {
        const address = await own.killLeader();
        await sleep(2_000);
        await own.restart(address);
      },
      'stopped',
    );
    t.ok((figures.errors['SELLO_STORE_UNREACHABLE'] ?? 0) > 20, 'at once, and not "no such key"');
    t.ok(figures.vaultCalls < 500, 'Vault was not asked for each of them');
  });

  t.test('started again without what it had', async (t) => {
    // A Vault of development forgets everything: what is asserted is that the connection and its login come back.
    const own = await Vault.start({ program: found.vault, folder: join(folder, 'own') });
    t.teardown(() => own.stop());
    await own.mountKv('kv', 2);
    const store = await VaultKvKeystore.open(kvConfig(own, {}));
    t.teardown(() => store.close());
    await store.create(warm, Buffer.from('value'));
    await own.stop('SIGKILL');
    const failure: unknown = await store.read(warm).catch((error: unknown) => error);
    t.match(failure, { code: 'SELLO_STORE_UNREACHABLE' }, 'refused: not "no such key"');
    await own.run();
    const startMs = performance.now();
    let isBack = false;
    while (!isBack && performance.now() - startMs < 15_000) {
      isBack = await store.health().then(
        () => true,
        () => false,
      );
      await sleep(50);
    }
    t.comment(`FIGURES emptied ${JSON.stringify({ recoveryMs: Math.round(performance.now() - startMs) })}`);
    t.ok(isBack);
    const lost: unknown = await store.read(warm).catch((error: unknown) => error);
    t.match(
      lost,
      { code: 'SELLO_STORE_UNREACHABLE' },
      'and a Vault without its engine is no Vault without keys',
    );
  });

  t.test('Vault’s CA is another one', async (t) => {
    const authority = await createAuthority(join(folder, 'one'));
    const other = await createAuthority(join(folder, 'two'));
    const ca = join(folder, 'ca.pem');
    await copyFile(authority.ca, ca);
    const trusted = { caFile: ca, certFile: undefined, keyFile: undefined, serverName: undefined };
    const before = await Vault.start({ program: found.vault, folder: join(folder, 'tls'), authority });
    t.teardown(() => before.stop());
    const config = kvConfig(before, {});
    const store = await VaultKvKeystore.open({
      ...config,
      vault: { ...config.vault, tls: trusted, timeoutMs: 2_000 },
    });
    t.teardown(() => store.close());
    await store.health();
    await before.stop();
    const after = await Vault.start({
      program: found.vault,
      folder: join(folder, 'tls'),
      authority: other,
      port: before.port,
    });
    t.teardown(() => after.stop());
    await t.rejects(store.health(), { code: 'SELLO_STORE_UNREACHABLE' }, 'another CA is not believed');
    await copyFile(other.ca, ca);
    const startMs = performance.now();
    let isBack = false;
    while (!isBack && performance.now() - startMs < 15_000) {
      // The token was of the Vault before: that it is refused shows that TLS is well.
      isBack = await store.read(warm).then(
        () => true,
        (error: unknown) =>
          error instanceof SelloError && /forbidden|permission|no-login|no-mount/.test(error.detail ?? ''),
      );
      await sleep(50);
    }
    const recoveryMs = Math.round(performance.now() - startMs);
    t.comment(`FIGURES CA file replaced ${JSON.stringify({ recoveryMs })}`);
    t.ok(isBack, 'the new CA file is read without a restart');
    t.ok(readFileSync(ca).equals(readFileSync(other.ca)));
  });

  t.test('a stampede of 1,000 first reads is one call per key', async (t) => {
    const site = await openSite(t);
    const names = Array.from({ length: 10 }, (_, i) => parseKeyName(`s${String(i)}`));
    for (const name of names) await site.keys.create(name, '');
    const before = site.store.vault.calls;
    const issued = await Promise.all(
      Array.from({ length: 1_000 }, (_, i) => site.keys.issue(names[i % names.length]!, context)),
    );
    t.equal(issued.length, 1_000);
    t.equal(site.store.vault.calls - before, names.length);
  });

  t.test('past its bound, nothing is served from memory', async (t) => {
    const wire = await Wire.start(t, vault.port);
    const site = await openSite(
      t,
      { addresses: [`http://127.0.0.1:${String(wire.port)}`], timeoutMs: 500 },
      { expiryMs: 200, offlineMs: 1_500 },
    );
    wire.cut();
    await sleep(400);
    await site.keys.issue(warm, context);
    t.pass('served while it may be');
    await sleep(2_500);
    const late: unknown = await Promise.resolve(site.keys.issue(warm, context)).catch(
      (error: unknown) => error,
    );
    t.match(late, { code: 'SELLO_STORE_UNREACHABLE' });
    wire.mend();
  });
}
