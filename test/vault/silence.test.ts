/** No token, secret_id or key value reaches a log, an error or a debug output, whatever the environment asks for. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import t from 'tap';
import { openKeystore } from '../../src/keystores/index.ts';
import { parseKeyName } from '../../src/keys/index.ts';
import { harmless } from '../../src/vault/errors.ts';
import { needTools } from '../real/tools.ts';
import { Vault } from '../real/vault.ts';
import { inline, kvConfig } from './configs.ts';

const found = await needTools(t, 'vault');
if (found !== undefined) {
  const folder = await mkdtemp(join(tmpdir(), 'sello-vault-silence-'));
  const vault = await Vault.start({ program: found.vault, folder });
  await vault.mountKv('kv', 2);
  await vault.must('POST', 'sys/mounts/transit', { type: 'transit' });
  await vault.must('POST', 'transit/keys/wrap', {});
  t.teardown(async () => {
    await vault.stop();
    await rm(folder, { recursive: true });
  });

  t.test('node-vault, undici and node print nothing secret with every debug switch on', async (t) => {
    const secret = 'c2VjcmV0LXZhbHVlLXRoYXQtbXVzdC1ub3QtYmUtc2Vlbg==';
    const child = spawn(
      process.execPath,
      [join(import.meta.dirname, 'talk.ts'), vault.address, vault.rootToken, secret],
      {
        env: {
          ...process.env,
          DEBUG: '*',
          NODE_DEBUG: 'undici,fetch,http,https,net,tls,stream',
          // What node-vault would take from its surroundings.
          VAULT_TOKEN: 'hvs.token-of-the-environment',
          VAULT_NAMESPACE: 'namespace-of-the-environment',
          VAULT_ADDR: 'http://127.0.0.1:1',
          VAULT_PREFIX: '/prefix-of-the-environment',
          VAULT_SKIP_VERIFY: 'true',
          HTTP_PROXY: 'http://127.0.0.1:1',
          HTTPS_PROXY: 'http://127.0.0.1:1',
          NODE_USE_ENV_PROXY: '1',
        },
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    let said = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (said += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
    const [code] = (await once(child, 'close')) as [number];
    t.equal(code, 0, said.slice(-500));
    t.match(said, /did it all/, 'the environment changed nothing');
    t.match(said, /UNDICI|HTTP|NET/, 'debug output was on');
    t.notMatch(said, vault.rootToken, 'no token');
    t.notMatch(said, secret, 'no value');
    t.notMatch(said, /node-vault (GET|POST|write)/, 'node-vault is silent');
  });

  t.test('errors hold neither token nor value', async (t) => {
    const token = await vault.tokenWith('blind', 'path "kv/*" { capabilities = ["deny"] }');
    const store = await openKeystore(
      kvConfig(vault, { login: { method: 'token', namespace: '', token: inline(token) } }),
      {
        env: {},
      },
    );
    t.teardown(() => store.close());
    const error: unknown = await store
      .create(parseKeyName('k'), Buffer.from('value-that-is-secret'))
      .catch((e: unknown) => e);
    const shown = inspect(error, { depth: 20, showHidden: true });
    t.match(shown, /permission denied/);
    t.notMatch(shown, token);
    t.notMatch(shown, 'value-that-is-secret');
  });

  t.test('what Vault says is cut, and rid of what looks like a secret', async (t) => {
    t.equal(harmless('bad token hvs.CAESIJ1234567890abcdefghij'), 'bad token […]');
    t.equal(harmless(`invalid ciphertext vault:v12:${'A'.repeat(40)}==`), 'invalid ciphertext […]');
    t.equal(harmless(`jwt ${'eyJhbGciOiJSUzI1NiIsImtpZCI6IiJ9'.repeat(4)}`), 'jwt […]');
    t.equal(harmless('two\nlines\tand \u001b[31mred\u202e'), 'two lines and ?[31mred?');
    t.ok(harmless('word '.repeat(1000)).length < 310);
    t.equal(
      harmless(`no handler for route "kv/data/${'k'.repeat(80)}"`),
      `no handler for route "kv/data/${'k'.repeat(80)}"`,
      'a key name stays',
    );
  });
}
