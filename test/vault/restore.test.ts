/** A snapshot of a real Vault is restored: what replicas that ran before it see, what they tell of, and what a fresh one cannot know. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { parseKeyName, TenantKeys, type KeyAlarm } from '../../src/keys/index.ts';
import { openKeystore } from '../../src/keystores/index.ts';
import { context, noLimits, refuses } from '../keys/keyring-contract.ts';
import { within } from '../attacks/client.ts';
import { needTools } from '../real/tools.ts';
import { VaultCluster } from '../real/vault-cluster.ts';
import { inline, vaultConfig } from './configs.ts';

t.setTimeout(120_000);

const found = await needTools(t, 'vault');
if (found !== undefined) {
  const folder = await mkdtemp(join(tmpdir(), 'sello-restore-'));
  const vault = await VaultCluster.start({ program: found.vault, folder, nodes: 1 });
  t.teardown(async () => {
    await vault.stop();
    await rm(folder, { recursive: true });
  });
  await vault.must('POST', 'sys/mounts/kv', { type: 'kv', options: { version: '2' } });
  await t.test('what had changed since the snapshot is refused and told of', async (t) => {
    const alarms: KeyAlarm[] = [];
    const replica = async (): Promise<TenantKeys> => {
      const store = await openKeystore(
        {
          kind: 'vault-kv',
          vault: vaultConfig(
            { address: vault.addresses[0]!, rootToken: vault.rootToken },
            { login: { method: 'token', namespace: '', token: inline(vault.rootToken) } },
          ),
          engine: 'kv',
          version: 2,
          prefix: 'keys',
          transit: undefined,
          recordsPrefix: 'keys.sello',
        },
        { env: {} },
      );
      const keys = new TenantKeys(store, noLimits, {
        tenant: 'acme',
        onAlarm: (alarm) => alarms.push(alarm),
      });
      t.teardown(() => keys.close());
      return keys;
    };
    const [stopped, rotated, quiet, made] = ['stopped', 'rotated', 'quiet', 'made'].map(parseKeyName) as [
      ReturnType<typeof parseKeyName>,
      ReturnType<typeof parseKeyName>,
      ReturnType<typeof parseKeyName>,
      ReturnType<typeof parseKeyName>,
    ];

    const before = await replica();
    for (const key of [stopped, rotated, quiet]) {
      await before.create(key, 'alice');
      await before.rotate(key, 'alice');
    }
    const kept = await before.issue(quiet, context);
    const early = await before.issue(rotated, context);
    const snapshot = await vault.snapshot();
    await before.change(stopped, { kind: 'disable' }, 'alice');
    await before.rotate(rotated, 'alice');
    const late = await before.issue(rotated, context);
    await before.create(made, 'alice');
    t.equal(late.version, 3);
    await vault.restore(snapshot);

    t.ok(
      await within(20_000, async () => {
        await before.revalidate();
        // What is not in memory is looked at when it is used.
        await (async () => before.issue(stopped, context))().catch(() => undefined);
        return new Set(alarms.map(({ key }) => key)).size === 2;
      }),
      'each key that had changed since is told of',
    );
    t.same(
      [...new Set(alarms.map(({ kind, key }) => `${kind} ${key}`))].sort(),
      ['rolled-back rotated', 'rolled-back stopped'],
      'and no other',
    );
    await refuses(
      t,
      () => before.issue(stopped, context),
      'SELLO_KEYRING_ROLLED_BACK',
      'the disabled key does not come back to life',
    );
    await refuses(
      t,
      () => before.unwrap(rotated, late.ciphertext, context),
      'SELLO_KEYRING_ROLLED_BACK',
      'late',
    );
    await refuses(
      t,
      () => before.rotate(rotated, 'bob'),
      'SELLO_KEYRING_ROLLED_BACK',
      'nothing is built on it',
    );
    t.ok(
      (await before.unwrap(quiet, kept.ciphertext, context)).equals(kept.plaintext),
      'what had not changed serves',
    );
    await refuses(t, () => before.issue(made, context), 'SELLO_KEY_NOT_FOUND', 'a key made since is gone');

    const fresh = await replica();
    t.ok(
      await fresh.issue(stopped, context),
      'a fresh replica cannot know: docs/rotation.md says what to compare',
    );
    await refuses(
      t,
      () => fresh.unwrap(rotated, late.ciphertext, context),
      'SELLO_CIPHERTEXT_NOT_AUTHENTIC',
      'and opens nothing with a version that is lost',
    );

    await before.acceptRestore('alice');
    t.ok(
      (await before.unwrap(rotated, early.ciphertext, context)).equals(early.plaintext),
      'accepted, it serves',
    );
    t.ok(await before.issue(stopped, context));
  });
}
