/** Master keys that stay in a real Vault's Transit engine: `strict`, and `cached` with stored intermediate keys. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { CustodyConfig, VaultKvConfig } from '../../src/config/model.ts';
import { SelloError } from '../../src/errors.ts';
import { CustodyKeys } from '../../src/keys/custody-keys.ts';
import type { VersionRecord } from '../../src/keys/keyring-record.ts';
import { TenantKeys } from '../../src/keys/index.ts';
import { migrateKeys, openKeystore, type Keystore } from '../../src/keystores/index.ts';
import { VaultCustody } from '../../src/keystores/vault-custody.ts';
import { maxVaultValueBytes, type VaultKvKeystore } from '../../src/keystores/vault-kv.ts';
import { rejectsWith, testKeystoreContract } from '../keystores/contract.ts';
import { testRecordStoreContract } from '../keystores/record-contract.ts';
import { context, name, noLimits, refuses, testKeyrings, type OpenTwo } from '../keys/keyring-contract.ts';
import { testTransitKeys } from '../keys/transit-contract.ts';
import { needTools } from '../real/tools.ts';
import { Vault } from '../real/vault.ts';
import { kvConfig } from './configs.ts';

t.setTimeout(180_000);

const found = await needTools(t, 'vault');
if (found !== undefined) {
  const folder = await mkdtemp(join(tmpdir(), 'sello-custody-'));
  const vault = await Vault.start({ program: found.vault, folder });
  t.teardown(async () => {
    await vault.stop();
    await rm(folder, { recursive: true });
  });
  await vault.mountKv('kv2', 2);
  await vault.must('POST', 'sys/mounts/transit', { type: 'transit' });
  await vault.must('POST', 'transit/keys/wrap', {});

  let places = 0;
  const nextConfig = (change: Partial<CustodyConfig>): VaultKvConfig => {
    const prefix = `t${String(places++)}`;
    return kvConfig(vault, {
      engine: 'kv2',
      version: 2,
      prefix,
      recordsPrefix: `${prefix}.sello`,
      transit: { engine: 'transit', key: 'wrap' },
      custody: {
        kind: 'strict',
        engine: 'transit',
        keyPrefix: `sello-${prefix}-`,
        maxAgeMs: 3_600_000,
        maxUses: 1_000_000,
        maxBytes: 2 ** 36,
        ...change,
      },
    });
  };
  const open = async (t: Test, config: VaultKvConfig): Promise<Keystore> => {
    const store = await openKeystore(config, { env: {} });
    t.teardown(() => store.close());
    return store;
  };
  /** Calls that reach Vault's Transit engine while `work` runs. */
  const transitCalls = async (store: Keystore, work: () => Promise<unknown>): Promise<number> => {
    const { vault: connection } = store as VaultKvKeystore;
    const before = connection.calls;
    await work();
    return connection.calls - before;
  };

  for (const kind of ['strict', 'cached'] as const) {
    testKeystoreContract('vault-transit', {
      title: kind,
      largestValueBytes: maxVaultValueBytes,
      open: (t) => open(t, nextConfig({ kind })),
      openTwo: async (t) => {
        const config = nextConfig({ kind });
        return [await open(t, config), await open(t, config)];
      },
    });
    testRecordStoreContract(kind, { open: async (t) => (await open(t, nextConfig({ kind }))).records! });
    const openTwo: OpenTwo = async (t) => {
      const config = nextConfig({ kind });
      return [await open(t, config), await open(t, config)];
    };
    testKeyrings(kind, openTwo, true);
    testTransitKeys(kind, openTwo, true);

    void t.test(`${kind}: no byte of a key is stored, and Vault will not give any out`, async (t) => {
      const config = nextConfig({ kind });
      const store = await open(t, config);
      const keys = new TenantKeys(store, noLimits, { tenant: 'acme' });
      await keys.create(name, 'alice');
      await keys.issue(name, context);
      t.match(
        (await store.read(name)).toString(),
        /^\{"sello":"custody","format":1,"id":"[0-9a-f]{32}",.*"mac":"vault:v1:/,
      );
      const { id } = await keys.keyring(name);
      const transit = await vault.must('GET', `transit/keys/${config.custody!.keyPrefix}${id}`);
      t.match(transit.data, {
        type: 'aes256-gcm96',
        derived: true,
        exportable: false,
        allow_plaintext_backup: false,
      });
      t.ok(
        (await vault.call('GET', `transit/export/encryption-key/${config.custody!.keyPrefix}${id}`)).status >=
          400,
      );
    });

    void t.test(`${kind}: a batch is one call to Vault`, async (t) => {
      const store = await open(t, nextConfig({ kind }));
      const keys = new TenantKeys(store, noLimits, { tenant: 'acme' });
      await keys.create(name, 'alice');
      const sealed = await Promise.all(Array.from({ length: 300 }, () => keys.issue(name, context)));
      const calls = await transitCalls(store, async () => {
        const opened = await keys.unwrapAll(
          name,
          sealed.map(({ ciphertext }) => [ciphertext, context] as const),
        );
        t.ok(opened.every((plaintext, i) => plaintext.equals(sealed[i]!.plaintext)));
      });
      t.ok(calls <= 1, `${String(calls)} calls for 300`);
      const spoilt = sealed.map(({ ciphertext }) => [ciphertext, context] as const);
      spoilt[7] = [sealed[7]!.ciphertext, Buffer.from('other')];
      await refuses(
        t,
        () => keys.unwrapAll(name, spoilt),
        'SELLO_CIPHERTEXT_NOT_AUTHENTIC',
        'one of them is not authentic',
      );
    });

    void t.test(
      `${kind}: one client's bad ciphertext costs no other client of the same moment its answer`,
      async (t) => {
        const store = await open(t, nextConfig({ kind }));
        const keys = new TenantKeys(store, noLimits, { tenant: 'acme' });
        await keys.create(name, 'alice');
        const sealed = await Promise.all(Array.from({ length: 4 }, () => keys.issue(name, context)));
        const forged = (text: string): Buffer => {
          const copy = Buffer.from(sealed[0]!.ciphertext);
          const at = copy.indexOf('vault:v1:');
          if (at !== -1) copy.write(text, at);
          return copy;
        };
        const bad = [
          forged('vault:v9:'),
          forged('vault:v0:'),
          forged('vault:x1:'),
          forged('vault:v1:'),
          sealed[1]!.ciphertext,
        ];
        const outcomes = await Promise.allSettled([
          ...bad.map(async (ciphertext) => keys.unwrap(name, ciphertext, Buffer.from('other'))),
          ...sealed.map(async ({ ciphertext }) => keys.unwrap(name, ciphertext, context)),
        ]);
        for (const outcome of outcomes.slice(0, bad.length))
          t.match(outcome, { status: 'rejected', reason: { code: 'SELLO_CIPHERTEXT_NOT_AUTHENTIC' } });
        for (const [i, outcome] of outcomes.slice(bad.length).entries())
          t.ok(
            outcome.status === 'fulfilled' && outcome.value.equals(sealed[i]!.plaintext),
            `good one ${String(i)}`,
          );
        // All of a call bad: Vault refuses it as a whole.
        const allBad = await Promise.allSettled(
          sealed.map(async ({ ciphertext }) => keys.unwrap(name, ciphertext, Buffer.from('other'))),
        );
        for (const outcome of allBad)
          t.match(outcome, { status: 'rejected', reason: { code: 'SELLO_CIPHERTEXT_NOT_AUTHENTIC' } });
      },
    );

    void t.test(
      `${kind}: a key that came with its bytes is whole when Vault was away as it was taken over`,
      async (t) => {
        const store = await open(t, nextConfig({ kind }));
        const before = new TenantKeys(store, noLimits, { tenant: 'acme' });
        const bytes = Buffer.alloc(32, 7);
        await before.importKey(name, bytes, 'AES256', 'alice');
        const { keys: custody } = store.custody!;
        let failures = 1;
        const flaky = new Proxy(custody, {
          get: (target, property) =>
            property === 'create' && failures-- > 0
              ? () => Promise.reject(new SelloError('SELLO_STORE_UNREACHABLE'))
              : (Reflect.get(target, property) as unknown as { bind?: (to: unknown) => unknown }).bind?.(
                  target,
                ),
        });
        const away = new TenantKeys(
          new Proxy(store, {
            get: (target, property) => {
              if (property === 'custody') return { ...store.custody!, keys: flaky };
              const value = Reflect.get(target, property) as unknown;
              return typeof value === 'function' ? (value.bind(target) as unknown) : value;
            },
          }),
          noLimits,
          { tenant: 'acme' },
        );
        await refuses(t, () => away.issue(name, context), 'SELLO_STORE_UNREACHABLE', 'the custodian is away');
        const sealed = await away.issue(name, context);
        const fresh = new TenantKeys(store, noLimits, { tenant: 'acme' });
        t.ok(
          (await fresh.unwrap(name, sealed.ciphertext, context)).equals(sealed.plaintext),
          'and is whole when it is back',
        );
      },
    );

    void t.test(
      `${kind}: a key that came with its bytes opens what they sealed; the custodian seals`,
      async (t) => {
        const from = await open(
          t,
          kvConfig(vault, {
            engine: 'kv2',
            version: 2,
            prefix: `old${String(places++)}`,
            recordsPrefix: undefined,
          }),
        );
        const old = new TenantKeys(from, noLimits);
        await old.create(name, 'alice');
        const legacy = await old.issue(name, context);
        const mac = Buffer.from(await old.mac(name, context));
        const to = await open(t, nextConfig({ kind }));
        t.match(await migrateKeys({ from, to }), { total: 1, copied: 1 });
        const keys = new TenantKeys(to, noLimits, { tenant: 'acme' });
        t.ok(
          (await keys.unwrap(name, legacy.ciphertext, context)).equals(legacy.plaintext),
          'its old ciphertexts open',
        );
        t.ok((await keys.mac(name, context)).equals(mac), 'its HMAC key is the same');
        const sealed = await keys.issue(name, context);
        t.equal(sealed.version, 2);
        t.match((await keys.keyring(name)).versions, [
          { custody: 'kes' },
          { custody: 'transit', place: '1' },
        ]);
        const [rewrapped] = await keys.rewrap(name, [{ ciphertext: legacy.ciphertext, context }]);
        t.match(rewrapped, { from: 1, version: 2 });
      },
    );

    void t.test(`${kind}: follows rotations that Vault makes on its own`, async (t) => {
      const config = nextConfig({ kind });
      const store = await open(t, config);
      const keys = new TenantKeys(store, noLimits, { tenant: 'acme' });
      await keys.create(name, 'alice');
      const before = await keys.issue(name, context);
      const { id } = await keys.keyring(name);
      const key = `transit/keys/${config.custody!.keyPrefix}${id}`;
      // Vault's shortest period is an hour: what it does then is done here.
      await vault.must('POST', `${key}/config`, { auto_rotate_period: '1h' });
      await vault.must('POST', `${key}/rotate`, {});
      await keys.revalidate();
      const after = await keys.issue(name, context);
      t.equal(after.version, 2);
      t.ok((await keys.unwrap(name, before.ciphertext, context)).equals(before.plaintext));
      t.equal((await keys.rotate(name, 'alice')).versions.length, 3, 'and goes on counting from there');
    });
  }

  void t.test(
    'cached: 100 ciphertexts of one replica open on a fresh one, after the first was killed and a rotation in Transit',
    async (t) => {
      const config = nextConfig({ kind: 'cached' });
      const { vault: _, ...rest } = config;
      const first = spawn(
        process.execPath,
        [
          join(import.meta.dirname, 'sealing-replica.ts'),
          vault.address,
          vault.rootToken,
          JSON.stringify(rest),
        ],
        { stdio: ['ignore', 'pipe', 'inherit'] },
      );
      t.teardown(() => first.kill('SIGKILL'));
      let said = '';
      for await (const chunk of first.stdout.setEncoding('utf8')) {
        said += chunk as string;
        if (said.endsWith('\n')) break;
      }
      const sealed = (JSON.parse(said) as [string, string][]).map(([ciphertext, plaintext]) => ({
        ciphertext: Buffer.from(ciphertext, 'base64'),
        plaintext: Buffer.from(plaintext, 'base64'),
      }));
      t.equal(sealed.length, 100);
      const ended = once(first, 'exit');
      first.kill('SIGKILL');
      t.match(await ended, [null, 'SIGKILL']);
      const second = new TenantKeys(await open(t, config), noLimits, { tenant: 'acme' });
      await second.rotate(name, 'bob');
      await second.close();
      const fresh = new TenantKeys(await open(t, config), noLimits, { tenant: 'acme' });
      for (const [i, { ciphertext, plaintext }] of sealed.entries())
        if (!(await fresh.unwrap(name, ciphertext, Buffer.from(String(i)))).equals(plaintext))
          t.fail(String(i));
      t.equal((await fresh.issue(name, context)).version, 2);
      await fresh.close();
    },
  );

  void t.test('cached: a warm request needs no call, and keys are renewed before their bounds', async (t) => {
    const config = nextConfig({ kind: 'cached', maxUses: 50 });
    const store = await open(t, config);
    const keys = new TenantKeys(store, noLimits, { tenant: 'acme' });
    await keys.create(name, 'alice');
    await keys.issue(name, context);
    t.equal(
      await transitCalls(store, async () => {
        for (let i = 0; i < 30; i++) {
          const sealed = keys.issue(name, context);
          if (sealed instanceof Promise) t.fail('waited for something');
        }
      }),
      0,
    );
    const ids = new Set<string>();
    for (let i = 0; i < 500; i++) {
      const { ciphertext } = await keys.issue(name, context);
      ids.add(ciphertext.toString('hex', 96, 112));
      if (i % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 20));
    }
    t.ok(ids.size >= 500 / 50, `${String(ids.size)} intermediate keys for 500 messages of at most 50 each`);
    t.equal(
      (await store.records!.list(`intermediate/${(await keys.keyring(name)).id}`, { limit: 1000 })).names
        .length,
      ids.size,
      'each is stored',
    );
  });

  void t.test(
    'cached: intermediate keys leave the memory at the end of their time, and open again when they are asked for',
    async (t) => {
      let nowMs = 1_000;
      const config = nextConfig({ kind: 'cached', maxAgeMs: 60_000 });
      const store = await open(t, config);
      const { records } = store;
      const custody = store.custody!;
      await custody.keys.create('00'.repeat(16));
      const keys = new CustodyKeys({ ...custody, records: records!, tenant: 'acme', now: () => nowMs });
      const version = { version: 1, place: '1' } as VersionRecord;
      const bound = Buffer.alloc(32);
      const made = await keys.forSealing('00'.repeat(16), version, bound, 32);
      t.notOk(keys.forSealing('00'.repeat(16), version, bound, 32) instanceof Promise, 'warm');
      t.notOk(keys.forOpening('00'.repeat(16), version, made.source, bound) instanceof Promise);
      const { commitment } = made.derive(Buffer.alloc(64));
      nowMs += 60_000;
      keys.sweep();
      const opened = keys.forOpening('00'.repeat(16), version, made.source, bound);
      t.ok(opened instanceof Promise, 'it has to be asked for');
      t.ok((await opened)!.derive(Buffer.alloc(64)).commitment.equals(commitment), 'and is the same');
      const next = await keys.forSealing('00'.repeat(16), version, bound, 32);
      t.notSame(next.source, made.source, 'another one seals');
      keys.wipe();
    },
  );

  void t.test(
    'while Vault does not answer, `cached` serves from memory what it can, `strict` nothing; both go on afterwards',
    async (t) => {
      const served: Record<string, { keys: TenantKeys; sealed: { ciphertext: Buffer; plaintext: Buffer } }> =
        {};
      for (const kind of ['strict', 'cached'] as const) {
        const config = nextConfig({ kind });
        const store = await open(t, { ...config, vault: { ...config.vault, timeoutMs: 1_000, pingMs: 300 } });
        const keys = new TenantKeys(store, { ...noLimits, offlineMs: 60_000 }, { tenant: 'acme' });
        await keys.create(name, 'alice');
        served[kind] = { keys, sealed: await keys.issue(name, context) };
        await keys.mac(name, context);
      }
      const { cached, strict } = served as {
        cached: (typeof served)[string];
        strict: (typeof served)[string];
      };
      vault.freeze();
      try {
        t.notOk(cached.keys.issue(name, context) instanceof Promise, 'cached issues without waiting');
        t.ok(
          (await cached.keys.unwrap(name, cached.sealed.ciphertext, context)).equals(cached.sealed.plaintext),
          'and unwraps',
        );
        t.ok(await cached.keys.mac(name, context), 'and makes HMACs');
        await refuses(
          t,
          () => strict.keys.issue(name, context),
          'SELLO_STORE_UNREACHABLE',
          'strict issues nothing',
        );
        await refuses(
          t,
          () => strict.keys.unwrap(name, strict.sealed.ciphertext, context),
          'SELLO_STORE_UNREACHABLE',
          'and unwraps nothing, which is never "not authentic"',
        );
        await refuses(
          t,
          () => strict.keys.mac(name, context),
          'SELLO_STORE_UNREACHABLE',
          'and makes no HMAC',
        );
      } finally {
        vault.thaw();
      }
      const startMs = performance.now();
      for (;;) {
        const opened = await Promise.resolve()
          .then(() => strict.keys.unwrap(name, strict.sealed.ciphertext, context))
          .catch(() => undefined);
        if (opened?.equals(strict.sealed.plaintext) === true) break;
        if (performance.now() - startMs > 30_000) throw new Error('strict does not recover');
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      t.comment(`strict serves again ${(performance.now() - startMs).toFixed(0)} ms after Vault does`);
    },
  );

  void t.test('a Transit key that is not as Sello makes them is not adopted', async (t) => {
    const connection = ((await open(t, nextConfig({}))) as VaultKvKeystore).vault;
    const custody = new VaultCustody(connection, { engine: 'transit', keyPrefix: 'odd-' });
    const bad: Record<string, object> = {
      'not-derived': {},
      exportable: { derived: true, exportable: true },
      'other-type': { type: 'chacha20-poly1305', derived: true },
    };
    for (const [id, parameters] of Object.entries(bad)) {
      await vault.must('POST', `transit/keys/odd-${id}`, parameters);
      await rejectsWith(t, custody.create(id), 'SELLO_STORED_KEY_UNREADABLE', id);
    }
    await rejectsWith(t, custody.latestVersion('none'), 'SELLO_STORED_KEY_UNREADABLE', 'gone');
    await custody.delete('none');
  });
}
