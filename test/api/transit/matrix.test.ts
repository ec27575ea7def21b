/** Two tenants, every kind of certificate with every kind of token: who one is then, and what that one may. Both tables are data. */
import { hash } from 'node:crypto';
import t from 'tap';
import { Session, type Answer } from '../../attacks/client.ts';
import { issue } from '../../attacks/pki.ts';
import { serverAuditOff, Site, tenantsYaml } from '../../attacks/site.ts';

const certificates = ['none', 'unknown', 'node', 'reader', 'admin', 'beta'] as const;
type Certificate = (typeof certificates)[number];

const tokens = [
  'none', 'invented', 'of node', 'of reader', 'of admin', 'of beta', 'role', 'role reader', 'role beta', 'revoked', 'expired', 'ended role',
] as const; // prettier-ignore
type TokenKind = (typeof tokens)[number];

/** Who a request is taken for; `missing` and `invalid` are Vault's two refusals, `stranger` never gets as far as a token. */
type Principal =
  | 'node'
  | 'reader'
  | 'admin'
  | 'beta'
  | 'role'
  | 'role reader'
  | 'missing'
  | 'invalid'
  | 'stranger'
  | 'role beta';

/**
 * By certificate, then in the order of {@link tokens}. A token that was given to a certificate is that one's alone; one of a role, given
 * without, is good on any connection of its tenant. `none` comes over the listener that takes callers without a certificate for alpha's.
 */
const principals: Readonly<Record<Certificate, readonly Principal[]>> = {
  none: ['missing', 'invalid', 'invalid', 'invalid', 'invalid', 'invalid', 'role', 'role reader', 'invalid', 'invalid', 'invalid', 'invalid'],
  unknown: ['stranger', 'stranger', 'stranger', 'stranger', 'stranger', 'stranger', 'stranger', 'stranger', 'stranger', 'stranger', 'stranger', 'stranger'],
  node: ['missing', 'invalid', 'node', 'invalid', 'invalid', 'invalid', 'role', 'role reader', 'invalid', 'invalid', 'invalid', 'invalid'],
  reader: ['missing', 'invalid', 'invalid', 'reader', 'invalid', 'invalid', 'role', 'role reader', 'invalid', 'invalid', 'invalid', 'invalid'],
  admin: ['missing', 'invalid', 'invalid', 'invalid', 'admin', 'invalid', 'role', 'role reader', 'invalid', 'invalid', 'invalid', 'invalid'],
  beta: ['missing', 'invalid', 'invalid', 'invalid', 'invalid', 'beta', 'invalid', 'invalid', 'role beta', 'invalid', 'invalid', 'invalid'],
}; // prettier-ignore

const calls = {
  list: ['LIST', 'transit/keys'],
  read: ['GET', 'transit/keys/alpha-key'],
  create: ['POST', 'transit/keys/made'],
  encrypt: ['POST', 'transit/encrypt/alpha-key', { plaintext: 'aGk=' }],
  decrypt: ['POST', 'transit/decrypt/alpha-key', { ciphertext: '{ct}' }],
  rewrap: ['POST', 'transit/rewrap/alpha-key', { ciphertext: '{ct}' }],
  datakey: ['POST', 'transit/datakey/plaintext/alpha-key'],
  rotate: ['POST', 'transit/keys/turned/rotate'],
  configure: ['POST', 'transit/keys/alpha-key/config', {}],
  'write record': ['POST', 'secret/data/notes', { data: { x: 1 } }],
  'read record': ['GET', 'secret/data/alpha-note'],
  'look at itself': ['GET', 'auth/token/lookup-self'],
  'make a secret id': ['POST', 'auth/approle/role/node/secret-id'],
  health: ['GET', 'sys/health'],
} as const satisfies Record<string, readonly [string, string, object?]>;

/** In the order of {@link calls}. beta has keys of the same names, and no ciphertext of alpha's opens there. */
const statuses: Readonly<Record<Principal, readonly number[]>> = {
  node:          [200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 403, 200],
  reader:        [200, 200, 403, 403, 200, 403, 403, 403, 403, 403, 200, 200, 403, 200],
  admin:         [200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200],
  beta:          [200, 200, 200, 200, 400, 400, 200, 200, 200, 200, 404, 200, 403, 200],
  role:          [200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 403, 200],
  'role reader': [200, 200, 403, 403, 200, 403, 403, 403, 403, 403, 200, 200, 403, 200],
  'role beta':   [200, 200, 200, 200, 400, 400, 200, 200, 200, 200, 404, 200, 403, 200],
  missing:       [403, 403, 403, 403, 403, 403, 403, 403, 403, 403, 403, 403, 403, 200],
  invalid:       [403, 403, 403, 403, 403, 403, 403, 403, 403, 403, 403, 403, 403, 200],
  stranger:      [403, 403, 403, 403, 403, 403, 403, 403, 403, 403, 403, 403, 403, 403],
}; // prettier-ignore

const everything = [
  'create', 'describe', 'list', 'delete', 'issue', 'encrypt', 'unwrap', 'mac', 'rewrap', 'rotate', 'state', 'status',
]; // prettier-ignore
const reading = ['describe', 'list', 'unwrap'];

t.test('no cell of certificates and tokens differs', { timeout: 120_000 }, async (t) => {
  const site = new Site();
  t.teardown(() => site.remove());
  const [node, reader, admin, beta, betaAdmin, unknown] = [
    'node',
    'reader',
    'admin',
    'beta',
    'beta admin',
    'unknown',
  ].map((name) => issue(name));
  const leaves = { none: undefined, unknown, node, reader, admin, beta };
  const tls = '{cert: server.crt, key: server.key, minVersion: TLSv1.2}';
  const yaml = (roles: object): string =>
    `version: sello/v1
probes: off
propagation: 2s
listeners:
  - {address: '127.0.0.1:0', tls: ${tls}}
  - {address: '127.0.0.1:0', clientCertificate: optional, tenant: alpha, tls: ${tls}}
  - {address: '127.0.0.1:0', clientCertificate: optional, tenant: beta, tls: ${tls}}
${serverAuditOff}${tenantsYaml(
      {
        name: 'alpha',
        admins: [admin!.identity],
        clients: { auth: 'off' },
        policies: {
          node: { identities: [node!.identity], allow: [{ operations: everything }] },
          reader: { identities: [reader!.identity], allow: [{ operations: reading }] },
        },
        transit: {
          tokens: { ttl: '1h' },
          approle: {
            node: { policy: 'node' },
            reader: { policy: 'reader' },
            brief: { policy: 'node', ttl: '1s', maxTtl: '1s' },
            ...roles,
          },
        },
      } as never,
      {
        name: 'beta',
        admins: [betaAdmin!.identity],
        clients: { auth: 'off' },
        policies: { all: { identities: [beta!.identity], allow: [{ operations: everything }] } },
        transit: { approle: { node: { policy: 'all' } } },
      } as never,
    )}`;
  const server = await site.start(yaml({ ended: { policy: 'node' } }));
  const [required = 0, forAlpha = 0, forBeta = 0] = server.ports;

  const sessions = new Map<string, Session>();
  t.teardown(() => sessions.forEach((session) => session.close()));
  for (const name of certificates)
    sessions.set(
      name,
      await Session.open(name === 'none' ? { port: forAlpha } : { ...site.as(leaves[name]), port: required }),
    );
  sessions.set('beta admin', await Session.open({ ...site.as(betaAdmin), port: required }));
  sessions.set('none of beta', await Session.open({ port: forBeta }));
  const ask = (
    as: Certificate | 'beta admin' | 'none of beta',
    call: readonly [string, string, object?],
    token?: string,
  ): Promise<Answer> =>
    sessions.get(as)!.ask({
      method: call[0],
      path: `/v1/${call[1]}`,
      headers: token === undefined ? {} : { 'x-vault-token': token },
      ...(call[2] === undefined ? {} : { body: JSON.stringify(call[2]) }),
    });
  const field = (answer: Answer, ...path: string[]): string => {
    const value = path.reduce<unknown>(
      (at, name) => (at as Record<string, unknown>)[name],
      JSON.parse(answer.body.toString()),
    );
    if (typeof value !== 'string') throw new Error(`${path.join('.')}: ${answer.body.toString()}`);
    return value;
  };

  const loginOf = async (as: Certificate | 'beta admin'): Promise<string> =>
    field(await ask(as, ['POST', 'auth/cert/login']), 'auth', 'client_token');
  const own = {
    node: await loginOf('node'),
    reader: await loginOf('reader'),
    admin: await loginOf('admin'),
    beta: await loginOf('beta'),
  };
  const betaAdminToken = await loginOf('beta admin');
  const roleLogin = async (role: string, ofBeta = false): Promise<string> => {
    const [administrator, token] = ofBeta
      ? (['beta admin', betaAdminToken] as const)
      : (['admin', own.admin] as const);
    const id = field(
      await ask(administrator, ['GET', `auth/approle/role/${role}/role-id`], token),
      'data',
      'role_id',
    );
    const secret = field(
      await ask(administrator, ['POST', `auth/approle/role/${role}/secret-id`], token),
      'data',
      'secret_id',
    );
    return field(
      await ask(ofBeta ? 'none of beta' : 'none', [
        'POST',
        'auth/approle/login',
        { role_id: id, secret_id: secret },
      ]),
      'auth',
      'client_token',
    );
  };
  const revoked = await loginOf('node');
  t.equal((await ask('node', ['POST', 'auth/token/revoke-self'], revoked)).status, 204);
  const expired = await roleLogin('brief');
  const ended = await roleLogin('ended');
  t.equal(
    (await ask('none', calls.read, ended)).status,
    404,
    'a role’s token is good while the role is there',
  );
  await site.reload(yaml({}));
  const text: Record<TokenKind, string | undefined> = {
    none: undefined,
    invented: `hvs.${hash('sha256', 'no token', 'base64url').slice(0, 32)}`,
    'of node': own.node,
    'of reader': own.reader,
    'of admin': own.admin,
    'of beta': own.beta,
    role: await roleLogin('node'),
    'role reader': await roleLogin('reader'),
    'role beta': await roleLogin('node', true),
    revoked,
    expired,
    'ended role': ended,
  };

  for (const key of ['alpha-key', 'turned']) {
    t.equal((await ask('node', ['POST', `transit/keys/${key}`], own.node)).status, 200);
    t.equal((await ask('beta', ['POST', `transit/keys/${key}`], own.beta)).status, 200);
  }
  t.equal((await ask('node', ['POST', 'secret/data/alpha-note', { data: { a: 1 } }], own.node)).status, 200);
  const sealed = field(await ask('node', calls.encrypt, own.node), 'data', 'ciphertext');
  await untilExpired(() => ask('none', calls.list, expired));

  const names = Object.keys(calls) as (keyof typeof calls)[];
  for (const certificate of certificates) {
    for (const [i, token] of tokens.entries()) {
      const principal = principals[certificate][i]!;
      const found: number[] = [];
      for (const name of names) {
        const [method, path, body] = calls[name] as readonly [string, string, object?];
        const filled = JSON.parse(JSON.stringify(body ?? {}).replace('{ct}', sealed)) as object;
        const answer = await ask(
          certificate,
          method === 'POST' ? [method, path, filled] : [method, path],
          text[token],
        );
        found.push(answer.status);
      }
      t.same(found, statuses[principal], `certificate ${certificate}, token ${token}: ${principal}`);
    }
  }
});

async function untilExpired(look: () => Promise<Answer>): Promise<void> {
  const endMs = Date.now() + 10_000;
  while ((await look()).status !== 403) {
    if (Date.now() > endMs) throw new Error('a token of one second is still good');
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
