/** Every way to a token on a real Vault over TLS, and what is said when one is refused. */
import { createSign, generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, unlink, writeFile } from 'node:fs/promises';
import http from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import type { VaultConfig, VaultLoginConfig } from '../../src/config/model.ts';
import { SelloError } from '../../src/errors.ts';
import { pathOf, VaultConnection } from '../../src/vault/index.ts';
import { createAuthority } from '../real/certificates.ts';
import { needTools } from '../real/tools.ts';
import { Vault } from '../real/vault.ts';
import { inline, vaultConfig } from './configs.ts';

const clusterKey = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;

const found = await needTools(t, 'vault', 'vaultKubernetes');
if (found !== undefined) {
  const folder = await mkdtemp(join(tmpdir(), 'sello-vault-logins-'));
  const authority = await createAuthority(join(folder, 'certs'));
  const client = await authority.issue('sello-at-vault', 'client');
  const vault = await Vault.start({
    program: found.vault,
    folder,
    authority,
    pluginFolder: dirname(found.vaultKubernetes),
  });
  t.teardown(async () => {
    await vault.stop();
    await rm(folder, { recursive: true });
  });
  await vault.mountKv('kv', 2);
  await vault.must('POST', 'kv/data/probe', { data: { here: 'yes' } });
  await vault.must('PUT', 'sys/policies/acl/reader', {
    policy: 'path "kv/data/*" { capabilities = ["read"] }',
  });

  const file = async (name: string, content: string): Promise<string> => {
    const path = join(folder, name);
    await writeFile(path, content, { mode: 0o600 });
    return path;
  };
  const tls: VaultConfig['tls'] = {
    caFile: authority.ca,
    certFile: client.cert,
    keyFile: client.key,
    serverName: undefined,
  };
  const messages: string[] = [];
  const note = (_: object, message: string): void => void messages.push(message);
  const open = async (
    test: Test,
    login: VaultLoginConfig,
    change: Partial<VaultConfig> = {},
  ): Promise<VaultConnection> => {
    const connection = await VaultConnection.open(vaultConfig(vault, { tls, login, ...change }), {
      env: { SELLO_TEST_ROLE_ID: 'unused' },
      log: { info: note, warn: note, error: note },
    });
    test.teardown(() => connection.close());
    return connection;
  };
  const canRead = async (connection: VaultConnection): Promise<boolean> =>
    (await connection.read({ path: pathOf('kv/data/probe') })).bytes.includes('yes');
  const refusal = async (
    test: Test,
    login: VaultLoginConfig,
    change: Partial<VaultConfig> = {},
  ): Promise<string> => {
    try {
      await open(test, login, change);
    } catch (error) {
      if (error instanceof SelloError && error.code === 'SELLO_CONFIG_INVALID') return error.detail ?? '';
      throw error;
    }
    return 'no refusal';
  };

  t.test('a token', async (t) => {
    const token = await vault.tokenWith('reader', 'path "kv/data/*" { capabilities = ["read"] }');
    t.ok(await canRead(await open(t, { method: 'token', namespace: '', token: inline(token) })));
    t.match(
      await refusal(t, { method: 'token', namespace: '', token: inline('hvs.nobody') }),
      /permission denied|forbidden/,
    );
    t.match(await refusal(t, { method: 'token', namespace: '', token: inline('two words') }), /no token/);
  });

  t.test('a token file, read again once the token in it is refused', async (t) => {
    const make = () =>
      vault.tokenWith('reader', 'path "kv/data/*" { capabilities = ["read"] }', { ttl: '1h' });
    const first = await make();
    const path = await file('token', `${first}\n`);
    const connection = await open(t, { method: 'token', namespace: '', token: { from: 'file', path } });
    t.ok(await canRead(connection));
    await writeFile(path, await make());
    await vault.must('POST', 'auth/token/revoke', { token: first });
    t.ok(await canRead(connection), 'without a failed call');
    t.match(
      await refusal(t, {
        method: 'token',
        namespace: '',
        token: { from: 'file', path: join(folder, 'none') },
      }),
      /none' cannot be read \(ENOENT\)/,
    );
  });

  t.test('AppRole: secret_id written down, in a file, response-wrapped', async (t) => {
    await vault.must('POST', 'sys/auth/team/approle', { type: 'approle' });
    await vault.must('POST', 'auth/team/approle/role/sello', {
      token_policies: ['reader'],
      token_ttl: '20m',
    });
    await vault.must('POST', 'auth/team/approle/role/other', { token_policies: ['reader'] });
    const roleId = (await vault.must('GET', 'auth/team/approle/role/sello/role-id')).data![
      'role_id'
    ] as string;
    const secretId = async (): Promise<string> =>
      (await vault.must('POST', 'auth/team/approle/role/sello/secret-id', {})).data!['secret_id'] as string;
    const wrapped = async (role: string): Promise<string> => {
      const answer = await vault.call(
        'POST',
        `auth/team/approle/role/${role}/secret-id`,
        {},
        { headers: { 'x-vault-wrap-ttl': '60s' } },
      );
      return (answer.body['wrap_info'] as { token: string }).token;
    };
    const login = {
      method: 'approle',
      mount: 'team/approle',
      namespace: '',
      roleId: inline(roleId),
    } as const;
    t.ok(
      await canRead(await open(t, { ...login, secretId: inline(await secretId()), wrappedFor: undefined })),
    );
    const path = await file('secret-id', `${await secretId()}\n`);
    t.ok(await canRead(await open(t, { ...login, secretId: { from: 'file', path }, wrappedFor: undefined })));
    t.match(
      await refusal(t, { ...login, secretId: inline('wrong'), wrappedFor: undefined }),
      /invalid role or secret/,
    );

    const wrapping = await file('wrapped', await wrapped('sello'));
    const connection = await open(t, {
      ...login,
      secretId: { from: 'file', path: wrapping },
      wrappedFor: 'sello',
    });
    t.ok(await canRead(connection));
    await unlink(wrapping);
    await vault.must('POST', 'sys/leases/revoke-force/auth/team/approle/login');
    t.ok(await canRead(connection), 'the secret_id is kept for the next login');
    t.equal(
      (await vault.must('LIST', 'auth/team/approle/role/sello/secret-id')).data!['keys'] instanceof Array,
      true,
    );

    t.test('a wrapping token that somebody used before us is an alarm', async (t) => {
      const used = await wrapped('sello');
      await vault.call('POST', 'sys/wrapping/unwrap', undefined, { token: used });
      const said = await refusal(t, { ...login, secretId: inline(used), wrappedFor: 'sello' });
      t.match(said, /SECURITY: the wrapping token was used already/);
      t.notMatch(said, used);
    });
    t.test('one that was made elsewhere is not unwrapped', async (t) => {
      const foreign = await wrapped('other');
      t.match(
        await refusal(t, { ...login, secretId: inline(foreign), wrappedFor: 'sello' }),
        /SECURITY: .*not made at 'auth\/team\/approle\/role\/sello\/secret-id'/,
      );
      const looked = await vault.call('POST', 'sys/wrapping/lookup', { token: foreign });
      t.equal(looked.status, 200, 'it is still there');
    });
  });

  t.test('a JWT', async (t) => {
    const keys = generateKeyPairSync('rsa', { modulusLength: 2048 });
    await vault.must('POST', 'sys/auth/jwt', { type: 'jwt' });
    await vault.must('POST', 'auth/jwt/config', {
      jwt_validation_pubkeys: [keys.publicKey.export({ format: 'pem', type: 'spki' })],
      bound_issuer: 'sello-test',
    });
    await vault.must('POST', 'auth/jwt/role/sello', {
      role_type: 'jwt',
      user_claim: 'sub',
      bound_audiences: ['vault'],
      token_policies: ['reader'],
    });
    const jwt = (audience: string): string => {
      const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
      const now = Math.floor(Date.now() / 1000);
      const signed = `${part({ alg: 'RS256', typ: 'JWT' })}.${part({ iss: 'sello-test', sub: 'me', aud: audience, iat: now, exp: now + 600 })}`;
      return `${signed}.${createSign('sha256').update(signed).sign(keys.privateKey, 'base64url')}`;
    };
    const login = { method: 'jwt', mount: 'jwt', namespace: '', role: 'sello' } as const;
    const path = await file('jwt', jwt('vault'));
    t.ok(await canRead(await open(t, { ...login, jwt: { from: 'file', path } })));
    const bad = jwt('somebody-else');
    const said = await refusal(t, { ...login, jwt: inline(bad) });
    t.match(said, /audience/);
    t.notMatch(said, bad);
    t.match(
      await refusal(t, { ...login, role: 'none', jwt: { from: 'file', path } }),
      /role "none" could not be found/,
    );
  });

  t.test('a Kubernetes service account, by Vault’s own plugin', async (t) => {
    // The plugin is real; the cluster's TokenReview is answered here.
    const valid = serviceAccountToken('sello');
    const cluster = http.createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const review = JSON.parse(Buffer.concat(chunks).toString()) as { spec: { token: string } };
        const authenticated = review.spec.token === valid;
        response.setHeader('content-type', 'application/json');
        response.end(
          JSON.stringify({
            apiVersion: 'authentication.k8s.io/v1',
            kind: 'TokenReview',
            status: authenticated
              ? {
                  authenticated,
                  user: { username: 'system:serviceaccount:kms:sello', uid: 'uid-1', groups: [] },
                  audiences: ['vault'],
                }
              : { authenticated, error: 'token is not known' },
          }),
        );
      });
    });
    cluster.listen(0, '127.0.0.1');
    await once(cluster, 'listening');
    t.teardown(() => cluster.close());
    await vault.must('POST', 'sys/auth/k8s', { type: 'vault-plugin-auth-kubernetes' });
    await vault.must('POST', 'auth/k8s/config', {
      kubernetes_host: `http://127.0.0.1:${String((cluster.address() as AddressInfo).port)}`,
      token_reviewer_jwt: serviceAccountToken('reviewer'),
      disable_local_ca_jwt: true,
    });
    await vault.must('POST', 'auth/k8s/role/sello', {
      bound_service_account_names: ['sello'],
      bound_service_account_namespaces: ['kms'],
      audience: 'vault',
      token_policies: ['reader'],
    });
    const login = { method: 'kubernetes', mount: 'k8s', namespace: '', role: 'sello' } as const;
    const path = await file('service-account', valid);
    const connection = await open(t, { ...login, jwt: { from: 'file', path } });
    t.ok(await canRead(connection));
    const other = serviceAccountToken('intruder');
    t.notMatch(await refusal(t, { ...login, jwt: inline(other) }), /no refusal/);
    t.notMatch(await refusal(t, { ...login, jwt: inline(other) }), other);
  });

  t.test('the TLS client certificate', async (t) => {
    await vault.must('POST', 'sys/auth/cert', { type: 'cert' });
    await vault.must('POST', 'auth/cert/certs/sello', {
      certificate: readFileSync(authority.ca, 'utf8'),
      allowed_common_names: ['sello-at-vault', 'sello-renewed'],
      token_policies: ['reader'],
      token_ttl: '20m',
    });
    const certFile = await file('client.crt', readFileSync(client.cert, 'utf8'));
    const keyFile = await file('client.key', readFileSync(client.key, 'utf8'));
    const login = { method: 'cert', mount: 'cert', namespace: '', role: 'sello' } as const;
    const connection = await open(t, login, { tls: { ...tls, certFile, keyFile } });
    t.ok(await canRead(connection));
    t.ok(await canRead(await open(t, { ...login, role: undefined })), 'without naming the role');
    const stranger = await authority.issue('somebody-else', 'client');
    t.match(
      await refusal(t, login, { tls: { ...tls, certFile: stranger.cert, keyFile: stranger.key } }),
      /forbidden|refused/,
    );

    const renewed = await authority.issue('sello-renewed', 'client');
    await writeFile(certFile, readFileSync(renewed.cert));
    await writeFile(keyFile, readFileSync(renewed.key));
    await vault.must('POST', 'sys/leases/revoke-force/auth/cert/login');
    t.ok(await canRead(connection), 'a renewed certificate needs no restart');
  });

  t.test('none: an agent in front adds the token', async (t) => {
    const token = await vault.tokenWith('reader', 'path "kv/data/*" { capabilities = ["read"] }');
    const agent = http.createServer((request, response) => {
      t.equal(request.headers['x-vault-token'], undefined, 'no token is sent');
      t.equal(request.headers['x-vault-request'], 'true', 'what an agent asks for');
      void vault
        .call(request.method!, request.url!.replace('/v1/', ''), undefined, { token })
        .then(({ status, body }) => response.writeHead(status).end(JSON.stringify(body)));
    });
    const socket = join(folder, 'agent.sock');
    agent.listen(socket);
    await once(agent, 'listening');
    t.teardown(() => agent.close());
    const connection = await open(t, { method: 'none' }, { addresses: [`unix:${socket}`] });
    t.ok(await canRead(connection), 'over a Unix socket');
    await connection.health();
  });

  t.test('a CA that did not issue Vault’s certificate is not believed', async (t) => {
    const other = await createAuthority(join(folder, 'other'));
    const connection = await open(
      t,
      { method: 'token', namespace: '', token: inline(vault.rootToken) },
      { tls: { ...tls, caFile: other.ca } },
    );
    await t.rejects(canRead(connection), { code: 'SELLO_STORE_UNREACHABLE' });
    t.ok(
      messages.some((message) => /UNABLE_TO_VERIFY|SELF_SIGNED|CERT|signature/.test(message)),
      'and the log says why',
    );
    const token = process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
    t.equal(token, undefined);
  });

  t.test('namespaces: of the data on data, of the login on the login, none on health', async (t) => {
    const seen = new Map<string, string | undefined>();
    const fake = http.createServer((request, response) => {
      const path = request.url!.split('?')[0]!;
      seen.set(path, request.headers['x-vault-namespace'] as string | undefined);
      const body = path.endsWith('/login')
        ? { auth: { client_token: 'hvs.x', lease_duration: 60, renewable: true } }
        : { data: {} };
      response.end(JSON.stringify(body));
    });
    fake.listen(0, '127.0.0.1');
    await once(fake, 'listening');
    t.teardown(() => fake.close());
    const addresses = [`http://127.0.0.1:${String((fake.address() as AddressInfo).port)}`];
    const login = {
      method: 'approle',
      mount: 'approle',
      roleId: inline('r'),
      secretId: inline('s'),
      wrappedFor: undefined,
    } as const;
    for (const [own, expected] of [
      ['', undefined],
      ['team/logins', 'team/logins'],
      ['/', undefined],
    ] as const) {
      seen.clear();
      const connection = await open(t, { ...login, namespace: own }, { addresses, namespace: 'team/data' });
      await connection.read({ path: pathOf('kv/data/x') });
      await connection.health();
      t.equal(seen.get('/v1/kv/data/x'), 'team/data');
      t.equal(seen.get('/v1/auth/approle/login'), expected);
      t.ok(seen.has('/v1/sys/health'));
      t.equal(seen.get('/v1/sys/health'), undefined);
    }
  });
}

/** Shaped like Kubernetes's; who signed it is for the cluster to know. */
function serviceAccountToken(name: string): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const now = Math.floor(Date.now() / 1000);
  const body = `${part({ alg: 'RS256', kid: 'k', typ: 'JWT' })}.${part({
    iss: 'https://kubernetes.default.svc',
    sub: `system:serviceaccount:kms:${name}`,
    aud: ['vault'],
    exp: now + 600,
    iat: now,
    'kubernetes.io': { namespace: 'kms', serviceaccount: { name, uid: 'uid-1' } },
  })}`;
  return `${body}.${createSign('sha256').update(body).sign(clusterKey, 'base64url')}`;
}
