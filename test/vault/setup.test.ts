/**
 * config/sello-vault.yaml as an administrator and an operator bring it to life: `sello vault setup --apply` with an administrator's token,
 * then the server with what that made and nothing more. And what one finds of a request in the audit logs of both sides.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { connect } from 'node:tls';
import t from 'tap';
import { createClient } from '../../src/client/index.ts';
import { runCommand } from '../cli/pipes.ts';
import { createAuthority } from '../real/certificates.ts';
import { freePort, RunningProcess } from '../real/process.ts';
import { needTools } from '../real/tools.ts';
import { Vault } from '../real/vault.ts';

const root = resolve(import.meta.dirname, '../..');
const example = join(root, 'config/sello-vault.yaml');
const inTransit = join(root, 'config/sello-transit.yaml');

const found = await needTools(t, 'vault');
if (found !== undefined) {
  const folder = await mkdtemp(join(tmpdir(), 'sello-vault-setup-'));
  const authority = await createAuthority(join(folder, 'certs'));
  const server = await authority.issue('sello', 'server');
  const admin = await authority.issue('admin', 'client');
  const vault = await Vault.start({ program: found.vault, folder, authority });
  t.teardown(async () => {
    await vault.stop();
    await rm(folder, { recursive: true });
  });
  const port = await freePort();
  const env = {
    SELLO_ADDRESS: `127.0.0.1:${String(port)}`,
    SELLO_TLS_CERT: server.cert,
    SELLO_TLS_KEY: server.key,
    SELLO_PROBES: 'off',
    SELLO_AUDIT: join(folder, 'audit'),
    SELLO_ADMIN: admin.identity,
    SELLO_CLIENT_CA: authority.ca,
    SELLO_ROLE_ID: join(folder, 'role-id'),
    SELLO_SECRET_ID: join(folder, 'secret-id'),
    VAULT_ADDR: vault.address,
    VAULT_CACERT: authority.ca,
  };

  t.test('setup prints a script, and asks Vault for nothing', async (t) => {
    const { stdout, stderr } = await runCommand(['vault', 'setup', '--config', example], { env });
    t.match(stdout, /vault secrets enable -path=kv -version=2 kv/);
    t.match(stdout, /vault policy write sello-acme-runtime - <<'HCL'/);
    t.match(stderr, /role-id/);
    t.equal((await vault.call('GET', 'sys/policies/acl/sello-acme-runtime')).status, 404);
    const one = await runCommand(['vault', 'setup', '--config', example, '--policy', 'runtime'], { env });
    t.equal(
      one.stdout,
      readFileSync(join(root, 'deploy/vault/kv-v2-transit-runtime.hcl'), 'utf8').replace(/^#.*\n\n/, ''),
    );
  });

  t.test('setup without a token, or with a wrong one, says so and no secret', async (t) => {
    const none = await runCommand(['vault', 'setup', '--config', example, '--apply'], { env });
    t.match(none.stderr, /environment variable 'VAULT_TOKEN' is not set/);
    const wrong = await runCommand(['vault', 'setup', '--config', example, '--apply'], {
      env: { ...env, VAULT_TOKEN: 'hvs.wrong-and-secret' },
    });
    t.match(wrong.stderr, /permission denied|forbidden/);
    t.notMatch(wrong.stderr, 'wrong-and-secret');
  });

  t.test('setup does it, and can be repeated', async (t) => {
    const tokenFile = join(folder, 'admin.token');
    await writeFile(tokenFile, vault.rootToken);
    const argv = ['vault', 'setup', '--config', example, '--apply', '--token-file', tokenFile];
    t.match(await runCommand(argv, { env }), { stdout: /KV engine, version 2: done/ });
    t.match(await runCommand(argv, { env }), {
      stdout: /KV engine, version 2: there already[^]*role of the server: done/,
    });
  });

  t.test('the server runs with what setup made', async (t) => {
    const roleId = (await vault.must('GET', 'auth/approle/role/sello-acme/role-id')).data![
      'role_id'
    ] as string;
    const secretId = (await vault.must('POST', 'auth/approle/role/sello-acme/secret-id', {})).data![
      'secret_id'
    ] as string;
    await writeFile(env.SELLO_ROLE_ID, `${roleId}\n`, { mode: 0o600 });
    await writeFile(env.SELLO_SECRET_ID, `${secretId}\n`, { mode: 0o600 });
    const vaultAudit = join(folder, 'vault-audit.log');
    await vault.must('PUT', 'sys/audit/file', { type: 'file', options: { file_path: vaultAudit } });
    await vault.must('PUT', 'sys/config/auditing/request-headers/x-correlation-id', { hmac: false });
    await mkdir(env.SELLO_AUDIT, { recursive: true });

    const checked = await runCommand(['config', 'check', example], { env });
    t.match(checked.stdout + checked.stderr, /ok/i, 'config check finds nothing');
    const running = await RunningProcess.start({
      command: process.execPath,
      args: [join(root, 'src/main.ts'), 'serve', '--config', example],
      env,
      log: join(folder, 'sello.log'),
      isReady: () => answers(port, readFileSync(authority.ca)),
    });
    t.teardown(() => running.stop());
    const client = createClient({
      endpoints: [`127.0.0.1:${String(port)}`],
      certPem: readFileSync(admin.cert, 'utf8'),
      keyPem: readFileSync(admin.key),
      ca: readFileSync(authority.ca),
    });
    t.teardown(() => client.close());
    await client.createKey('app');
    const { plaintext, ciphertext } = await client.generateKey('app', Buffer.from('{}'));
    t.ok((await client.decrypt('app', ciphertext, Buffer.from('{}'))).equals(plaintext));
    await client.createKey('gone');
    await client.deleteKey('gone');
    const names: string[] = [];
    for await (const name of client.listKeys()) names.push(name);
    t.strictSame(names, ['app']);
    await client.ready();

    const checkedStore = await runCommand(['keystore', 'check', '--config', example], { env });
    t.match(checkedStore.stdout, /ok, 1 key, all readable/);

    interface Ours {
      http: { request: { id: string } };
      event: { action?: string };
      sello: { key?: string; vault_request_id?: string };
    }
    const files = readdirSync(join(env.SELLO_AUDIT, 'acme'), { recursive: true, encoding: 'utf8' });
    const ours = files
      .filter((name) => name.endsWith('.jsonl'))
      .flatMap((name) =>
        readFileSync(join(env.SELLO_AUDIT, 'acme', name), 'utf8')
          .trim()
          .split('\n'),
      )
      .map((line) => JSON.parse(line) as Ours)
      .filter(({ event }) => event !== undefined);
    const created = ours
      .filter(({ event, sello }) => event?.action === 'create' && sello.key === 'app')
      .at(-1)!;
    t.match(created.sello.vault_request_id, /^[0-9a-f-]{36}$/);
    interface Theirs {
      type: string;
      request: { id: string; path: string; headers?: Record<string, string[]> };
    }
    const theirs = (await readFile(vaultAudit, 'utf8'))
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Theirs)
      .filter(({ type, request }) => type === 'request' && request.id === created.sello.vault_request_id);
    t.match(
      theirs,
      [{ request: { path: 'kv/data/acme/app', headers: { 'x-correlation-id': [created.http.request.id] } } }],
      'either id leads from one audit log to the other',
    );
    const said = await running.output();
    t.notMatch(said, secretId);
    t.notMatch(said, plaintext.toString('base64'));
  });

  t.test('keys move from Vault to files and back with sello migrate', async (t) => {
    const target = join(folder, 'fs.yaml');
    await mkdir(join(folder, 'keys'));
    await writeFile(target, `keystore: { fs: { path: ${join(folder, 'keys')} } }\n`);
    const there = await runCommand(['migrate', '--from', example, '--to', target, '--json'], { env });
    t.match(JSON.parse(there.stdout), { total: 1, copied: 1 });
    const back = await runCommand(['migrate', '--from', target, '--to', example, '--json'], { env });
    t.match(back.stdout, /"total":1/);
    t.equal(back.exit, 0, 'the same bytes are recognised');
  });

  t.test('the example with master keys in Transit, brought to life in the same way', async (t) => {
    const tokenFile = join(folder, 'admin.token');
    const argv = ['vault', 'setup', '--config', inTransit, '--apply', '--token-file', tokenFile];
    t.match(await runCommand(argv, { env }), { exit: 0 });
    const secondPort = await freePort();
    const second = {
      ...env,
      SELLO_ADDRESS: `127.0.0.1:${String(secondPort)}`,
      SELLO_AUDIT: join(folder, 'audit-transit'),
    };
    t.match(await runCommand(['config', 'check', inTransit], { env: second }), { exit: 0 });
    const running = await RunningProcess.start({
      command: process.execPath,
      args: [join(root, 'src/main.ts'), 'serve', '--config', inTransit],
      env: second,
      log: join(folder, 'sello-transit.log'),
      isReady: () => answers(secondPort, readFileSync(authority.ca)),
    });
    t.teardown(() => running.stop());
    const client = createClient({
      endpoints: [`127.0.0.1:${String(secondPort)}`],
      certPem: readFileSync(admin.cert, 'utf8'),
      keyPem: readFileSync(admin.key),
      ca: readFileSync(authority.ca),
    });
    t.teardown(() => client.close());
    const old = await client.generateKey('app', Buffer.from('{}'));
    t.match(
      await client.admin.keyring('app'),
      { sealingVersion: 2, versions: [{ custody: 'kes' }, { custody: 'transit' }] },
      'the key of the KV engine is taken over',
    );
    await client.createKey('native');
    const { plaintext, ciphertext } = await client.generateKey('native', Buffer.from('{}'));
    await client.admin.act('native', 'rotate');
    t.ok((await client.decrypt('native', ciphertext, Buffer.from('{}'))).equals(plaintext));
    t.ok((await client.decrypt('app', old.ciphertext, Buffer.from('{}'))).equals(old.plaintext));
    t.match(await runCommand(['keystore', 'check', '--config', inTransit], { env: second }), {
      exit: 0,
      stdout: /ok, 2 keys, all readable/,
    });
    await client.deleteKey('native');
    const left = await vault.call('LIST', 'transit/keys');
    t.equal(
      (left.body.data!['keys'] as string[]).filter((key) => key.startsWith('sello-acme-')).length,
      1,
      'its Transit key ended with it',
    );
    const target = join(folder, 'none.yaml');
    await writeFile(target, `keystore: { fs: { path: ${join(folder, 'none')} } }\n`);
    await mkdir(join(folder, 'none'));
    t.match(await runCommand(['migrate', '--from', inTransit, '--to', target], { env: second }), {
      exit: 1,
      stderr: /Transit engine, which does not give them out/,
    });
    await client.deleteKey('app');
  });
}

function answers(port: number, ca: Buffer): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect({ host: '127.0.0.1', port, ca, timeout: 1000 }, () => {
      socket.destroy();
      done(true);
    });
    socket.on('error', (error: NodeJS.ErrnoException) =>
      done(/alert/i.test(`${error.code ?? ''}${error.message}`)),
    );
  });
}
