/**
 * The policies that `sello vault setup` makes are enough and not more: with each everything works that it is for, and with any one
 * capability taken away something of it does not.
 */
import { readFileSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import t, { type Test } from 'tap';
import { anchorFolder } from '../../src/audit/anchor.ts';
import type { VaultKvConfig } from '../../src/config/model.ts';
import { parseKeyName } from '../../src/keys/index.ts';
import { openKeystore } from '../../src/keystores/index.ts';
import { policyFiles } from '../../tools/vault-policies.ts';
import { policyRules, policyText, type PolicyRule } from '../../src/keystores/vault-setup.ts';
import { kvConfig } from '../vault/configs.ts';
import { FakeVault } from '../vault/fake-vault.ts';
import { needTools } from '../real/tools.ts';
import { Vault, type VaultAnswer } from '../real/vault.ts';

const root = resolve(import.meta.dirname, '../..');

t.test('the committed policies are current (node tools/vault-policies.ts)', async (t) => {
  const files = policyFiles();
  for (const [path, content] of files) t.equal(readFileSync(join(root, path), 'utf8'), content, path);
  const committed = (await readdir(join(root, 'deploy/vault'))).filter((name) => name.endsWith('.hcl'));
  t.equal(committed.length, files.size, 'and no others');
});

/** What the server does, by the names under which a missing right shows. */
async function runtimeFailures(vault: Vault, config: VaultKvConfig, token: string): Promise<string[]> {
  const failed: string[] = [];
  const attempt = async (name: string, work: () => Promise<unknown>): Promise<void> => {
    try {
      await work();
    } catch {
      failed.push(name);
    }
  };
  const status = async (method: string, path: string): Promise<void> => {
    const answer = await vault.call(method, path, method === 'POST' ? {} : undefined, { token });
    if (answer.status >= 300) throw new Error(String(answer.status));
  };
  await attempt('look the token up', () => status('GET', 'auth/token/lookup-self'));
  await attempt('renew the token', () => status('POST', 'auth/token/renew-self'));
  // Through an agent: a login of its own would fail for want of the look-up alone.
  const store = await openKeystore(withAgent(config, token), { env: {} });
  const name = parseKeyName(`k${String(Date.now())}`);
  const there = parseKeyName('there');
  await attempt('create a key', () => store.create(name, Buffer.from('value')));
  await attempt('read a key', async () => void (await store.read(there)));
  await attempt('list keys', () => store.list({ prefix: '', limit: 10 }));
  await attempt('delete a key', () => store.delete(there));
  const { records } = store;
  if (records !== undefined) {
    await attempt('create a record', () => records.write('a/new', Buffer.from('v'), 0));
    await attempt('read a record', () => records.read('a/there'));
    await attempt('change a record', () => records.write('a/there', Buffer.from('w'), 1));
    await attempt('list records', () => records.list('a', { limit: 10 }));
    await attempt('end a record', () => records.delete('a/goes', 1));
    await attempt('write an anchor', () => records.write(`${anchorFolder}/there`, Buffer.from('w'), 1));
    await attempt('list anchors', () => records.list(anchorFolder, { limit: 10 }));
    await attempt('keep an anchor', async () => {
      const isGone = await records.delete(`${anchorFolder}/there`, 2).then(
        () => true,
        () => false,
      );
      if (isGone) throw new Error('it can be removed');
    });
  }
  const { custody, signer } = store;
  if (signer !== undefined) {
    await attempt('see the key that signs checkpoints', () => signer.publicKey());
    await attempt('sign a checkpoint', () => signer.sign(1, Buffer.from('checkpoint')));
  }
  if (custody !== undefined) {
    const id = `id${String(Date.now())}`;
    const context = Buffer.alloc(32, 1);
    const wrap = async () =>
      (await custody.keys.wrap('there', [{ key: Buffer.alloc(32, 2), context }], 1))[0]!;
    await attempt('make a master key', () => custody.keys.create(id));
    await attempt('look at a master key', () => custody.keys.latestVersion('there'));
    await attempt('rotate a master key', () => custody.keys.rotate('there'));
    await attempt('wrap a key', wrap);
    await attempt('unwrap a key', () => custody.keys.unwrap('there', [{ wrapped: wrappedThere, context }]));
    if (custody.mode.kind === 'cached')
      await attempt('rewrap a key', () => custody.keys.rewrap('there', [{ wrapped: wrappedThere, context }]));
    await attempt('end a master key', () => custody.keys.delete('goes'));
    await attempt('end versions', () => custody.keys.destroyBelow('there', 1));
  }
  await store.close();
  return failed;
}

/** A key that the master key `there` wrapped, made with all rights. */
let wrappedThere: Buffer;

let agents: { address: string; token: string }[] = [];

/** The configuration with an agent in front that adds the token. */
function withAgent(config: VaultKvConfig, token: string): VaultKvConfig {
  const agent = agents.find((one) => one.token === token);
  return { ...config, vault: { ...config.vault, addresses: [agent!.address], login: { method: 'none' } } };
}

async function startAgent(t: Test, vault: Vault, token: string): Promise<void> {
  const agent = await FakeVault.start(t, async ({ method, path, body }) => {
    const answer: VaultAnswer = await vault.call(
      method,
      path.replace(/^\/v1\//, ''),
      body === '' ? undefined : (JSON.parse(body) as unknown),
      { token },
    );
    return { status: answer.status, body: answer.body };
  });
  agents = [...agents, { address: agent.address, token }];
}

function without(rule: PolicyRule, capability: string): PolicyRule[] {
  const rest = rule.capabilities.filter((one) => one !== capability);
  return rest.length === 0 ? [] : [{ ...rule, capabilities: rest }];
}

function custodyOf(kind: 'strict' | 'cached'): NonNullable<VaultKvConfig['custody']> {
  return { kind, engine: 'transit', keyPrefix: 'sello-', maxAgeMs: 3_600_000, maxUses: 1000, maxBytes: 1e9 };
}

const found = await needTools(t, 'vault');
if (found !== undefined) {
  const folder = await mkdtemp(join(tmpdir(), 'sello-policies-'));
  const vault = await Vault.start({ program: found.vault, folder });
  t.teardown(async () => {
    await vault.stop();
    await rm(folder, { recursive: true });
  });
  await vault.mountKv('kv1', 1);
  await vault.mountKv('kv2', 2);
  await vault.must('POST', 'sys/mounts/transit', { type: 'transit' });
  await vault.must('POST', 'transit/keys/wrap', {});
  await vault.must('POST', 'transit/keys/audit', { type: 'ed25519' });

  let made = 0;
  /** Failures of the server with these rules, each time on a prefix of its own that holds something already. */
  const failuresWith = async (
    t: Test,
    change: Partial<VaultKvConfig>,
    role: 'runtime',
    pick: (rules: PolicyRule[]) => PolicyRule[],
  ): Promise<string[]> => {
    const prefix = `p${String(made++)}`;
    const custody =
      change.custody === undefined ? undefined : { ...change.custody, keyPrefix: `sello-${prefix}-` };
    const config = kvConfig(vault, { prefix, recordsPrefix: `${prefix}.sello`, ...change, custody });
    const full = await openKeystore(config, { env: {} });
    await full.create(parseKeyName('there'), Buffer.from('value'));
    for (const path of ['a/there', 'a/goes', `${anchorFolder}/there`])
      await full.records?.write(path, Buffer.from('v'), 0);
    if (full.custody !== undefined) {
      for (const id of ['there', 'goes']) await full.custody.keys.create(id);
      const item = { key: Buffer.alloc(32, 2), context: Buffer.alloc(32, 1) };
      wrappedThere = (await full.custody.keys.wrap('there', [item], 1))[0]!;
    }
    await full.close();
    const token = await vault.tokenWith(`${prefix}-${role}`, policyText(pick(policyRules(config, role))), {
      no_default_policy: true,
      ttl: '1h',
    });
    await startAgent(t, vault, token);
    return runtimeFailures(vault, config, token);
  };

  const shapes: Record<string, Partial<VaultKvConfig>> = {
    'KV version 1': { engine: 'kv1', version: 1, recordsPrefix: undefined },
    'KV version 2': { engine: 'kv2' },
    'KV version 2 with signed checkpoints': {
      engine: 'kv2',
      auditSigning: { engine: 'transit', key: 'audit' },
    },
    'KV version 2 with Transit': { engine: 'kv2', transit: { engine: 'transit', key: 'wrap' } },
    'Transit, strict': {
      engine: 'kv2',
      transit: { engine: 'transit', key: 'wrap' },
      custody: custodyOf('strict'),
    },
    'Transit, cached': {
      engine: 'kv2',
      transit: { engine: 'transit', key: 'wrap' },
      custody: custodyOf('cached'),
    },
  };
  for (const [shape, change] of Object.entries(shapes)) {
    t.test(`${shape}: the runtime policy is enough for all that the server does`, async (t) => {
      t.strictSame(await failuresWith(t, change, 'runtime', (rules) => rules), []);
    });

    const rules = policyRules(kvConfig(vault, change), 'runtime');
    for (const [at, { path, capabilities }] of rules.entries()) {
      for (const capability of capabilities) {
        t.test(`${shape}: without ${capability} on ${path} something fails`, async (t) => {
          const failures = await failuresWith(t, change, 'runtime', (all) =>
            all.flatMap((rule, i) => (i === at ? without(rule, capability) : [rule])),
          );
          t.ok(failures.length > 0, failures.join(', '));
        });
      }
    }

    t.test(`${shape}: the runtime reaches nothing of another tenant, and replaces no key`, async (t) => {
      const config = kvConfig(vault, { prefix: 'mine', recordsPrefix: 'mine.sello', ...change });
      const token = await vault.tokenWith(
        `${config.engine}-mine`,
        policyText(policyRules(config, 'runtime')),
        {
          no_default_policy: true,
        },
      );
      const kv = config.engine;
      const data = change.version === 1 ? kv : `${kv}/data`;
      const list = change.version === 1 ? kv : `${kv}/metadata`;
      const body = change.version === 1 ? { k: 'v' } : { data: { k: 'v' } };
      await vault.must('POST', `${data}/mine/k`, body);
      const call = async (method: string, path: string, sent?: unknown): Promise<number> =>
        (await vault.call(method, path, sent, { token })).status;
      t.equal(await call('GET', `${data}/mine/k`), 200, 'the token works');
      t.equal(await call('POST', `${data}/mine/k`, body), 403, 'a key is not replaced, not even without cas');
      t.equal(await call('GET', `${data}/other/k`), 403);
      t.equal(await call('GET', `${data}/mine-too/k`), 403);
      t.equal(await call('LIST', `${list}/`), 403);
      t.equal(await call('LIST', `${list}/other`), 403);
      t.equal(await call('GET', 'sys/policies/acl/default'), 403);
      t.equal(await call('GET', 'transit/keys/wrap'), 403);
      t.equal(
        await call('POST', 'transit/keys/audit/rotate', {}),
        403,
        'the signing key is not its to change',
      );
      t.equal(await call('POST', 'transit/keys/audit/config', { deletion_allowed: true }), 403);
      t.equal(await call('DELETE', 'transit/keys/audit'), 403);
      t.equal(await call('GET', 'transit/export/signing-key/audit'), 403);
      t.equal(
        await call('POST', 'transit/sign/wrap', { input: 'QQ==' }),
        403,
        'nor another one to sign with',
      );
      t.equal(
        await call('POST', 'transit/encrypt/other', { plaintext: 'QQ==' }),
        403,
        'no Transit key is made',
      );
    });

    t.test(`${shape}: the administrator can do each of its things, and reads no key`, async (t) => {
      const config = kvConfig(vault, { prefix: 'adm', recordsPrefix: 'adm.sello', ...change });
      const store = await openKeystore(config, { env: {} });
      t.teardown(() => store.close());
      await store.create(parseKeyName('k'), Buffer.from('value')).catch(() => undefined);
      const kv = config.engine;
      const actions: Record<string, () => [string, string, unknown?]> = {
        [`list ${change.version === 1 ? '' : 'metadata/'}`]: () => [
          'LIST',
          `${kv}/${change.version === 1 ? '' : 'metadata/'}adm`,
        ],
        ...(change.version === 1
          ? {}
          : {
              metadata: () => ['GET', `${kv}/metadata/adm/k`],
              undelete: () => ['POST', `${kv}/undelete/adm/k`, { versions: [1] }],
            }),
        ...(config.transit === undefined
          ? {}
          : {
              'transit key': () => ['GET', 'transit/keys/wrap'],
              rotate: () => ['POST', 'transit/keys/wrap/rotate', {}],
            }),
        ...(config.auditSigning === undefined
          ? {}
          : {
              'signing key': () => ['GET', 'transit/keys/audit'],
              'rotate the signing key': () => ['POST', 'transit/keys/audit/rotate', {}],
            }),
      };
      const refusals = async (token: string): Promise<string[]> => {
        const refused: string[] = [];
        for (const [name, action] of Object.entries(actions)) {
          const [method, path, body] = action();
          if ((await vault.call(method, path, body, { token })).status === 403) refused.push(name);
        }
        return refused;
      };
      const all = policyRules(config, 'administrator');
      const whole = await vault.tokenWith('adm-all', policyText(all), { no_default_policy: true });
      t.strictSame(await refusals(whole), []);
      const read = await vault.call('GET', `${kv}/${change.version === 1 ? '' : 'data/'}adm/k`, undefined, {
        token: whole,
      });
      t.equal(read.status, 403, 'no key is read');
      for (const left of all)
        for (const capability of left.capabilities) {
          const less = all.flatMap((rule) => (rule === left ? without(rule, capability) : [rule]));
          const token = await vault.tokenWith('adm-less', `# one less\n${policyText(less)}`, {
            no_default_policy: true,
          });
          t.ok((await refusals(token)).length > 0, `without ${capability} on ${left.path}`);
        }
    });
  }
}
