/** The operators' API: who may do what, what is on record, what bad requests are told. */
import { readFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { operations, type Operation } from '../../src/access/operations.ts';
import { adminPrefix, adminRoutes, type AdminRoute } from '../../src/api/admin/index.ts';
import { Session, type Answer } from '../attacks/client.ts';
import { issue, type Issued } from '../attacks/pki.ts';
import { listenerYaml, Site, tenantsYaml } from '../attacks/site.ts';

const admin = issue('admin');
const other = issue('other');
const stranger = issue('stranger');
/** An identity for each operation, with that one alone. */
const single = new Map<Operation, Issued>(operations.map((operation) => [operation, issue(operation)]));
const onlyThat = issue('only-that');
const kesAll = issue('kes-all');

const yaml = (site: Site): string =>
  listenerYaml +
  `audit: {path: ${site.file('audit/server.jsonl')}}\n` +
  tenantsYaml(
    {
      name: 'alpha',
      clients: { auth: 'off' },
      admins: [admin.identity],
      keys: ['key', 'that'],
      lifecycle: { deletionWait: '1h', quiet: '1h' },
      policies: {
        ...Object.fromEntries(
          [...single].map(([operation, { identity }]) => [
            operation,
            { allow: [{ operations: [operation] }], identities: [identity] },
          ]),
        ),
        'only-that': { allow: [{ operations: ['*'], keys: ['that'] }], identities: [onlyThat.identity] },
        'kes-all': { allow: [{ kes: '/v1/*' }], identities: [kesAll.identity] },
      },
      audit: { path: site.file('audit/alpha.jsonl') },
    },
    { name: 'beta', clients: { auth: 'off' }, admins: [other.identity], keys: ['key'] },
  );

async function begin(t: Test): Promise<Site> {
  const site = new Site();
  t.teardown(() => site.remove());
  await site.start(yaml(site));
  return site;
}

async function ask(
  site: Site,
  as: Issued | undefined,
  method: string,
  path: string,
  body?: unknown,
): Promise<Answer & { json: Record<string, unknown> }> {
  const session = await Session.open(site.as(as));
  try {
    const answer = await session.ask({
      method,
      path: adminPrefix + path,
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    let json: Record<string, unknown> = {};
    try {
      json = JSON.parse(answer.body.toString()) as Record<string, unknown>;
    } catch {
      // Some answers are none.
    }
    return { ...answer, json };
  } finally {
    session.close();
  }
}

/** A request that gets as far as its caller may. */
const bodies: Record<string, unknown> = {
  settings: { rewrapOnly: false },
  rewrap: { items: [{ ciphertext: 'AAAA' }] },
};
const pathOf = (route: AdminRoute, key: string): string =>
  route.path.replace('{key}', key).replace('{version}', '1');

t.test('no route does anything for anybody but those whose policy names its operation', async (t) => {
  const site = await begin(t);
  const isRefused = ({ status }: Answer): boolean => status === 403 || status === 401 || status === 400;
  for (const route of adminRoutes) {
    const send = (as: Issued | undefined, key = 'key') =>
      ask(
        site,
        as,
        route.method,
        pathOf(route, key),
        route.method === 'POST' ? (bodies[route.name] ?? {}) : undefined,
      );
    await t.rejects(send(undefined), /closed/, `${route.name}: without a certificate there is no connection`);
    for (const [who, as] of [
      ['a stranger', stranger],
      ["another tenant's admin", other],
    ] as const) {
      if (who === "another tenant's admin" && route.name === 'document') continue;
      const answer = await send(as, who === "another tenant's admin" ? 'that' : 'key');
      if (who === "another tenant's admin") {
        // Its own tenant has no such key; what alpha has it is not told.
        t.ok(
          answer.status === 404 || answer.status === 200 || answer.status === 400,
          `${route.name}: ${who}: ${String(answer.status)}`,
        );
        t.notMatch(answer.body.toString(), new RegExp(admin.identity));
      } else
        t.ok(
          isRefused(answer) && answer.json['key'] === undefined,
          `${route.name}: ${who}: ${String(answer.status)}`,
        );
    }
    for (const [operation, as] of single) {
      if (operation === route.operation) continue;
      const { status } = await send(as);
      t.equal(status, route.operation === undefined ? 200 : 403, `${route.name}: with ${operation} alone`);
    }
    if (route.operation !== undefined) {
      t.equal((await send(kesAll)).status, 403, `${route.name}: KES patterns grant no other face`);
      if (route.path.includes('{key}'))
        t.equal((await send(onlyThat)).status, 403, `${route.name}: another key`);
    }
  }
  t.match(
    (await ask(site, admin, 'GET', 'keys/key')).json,
    { generation: 0, versions: [{ version: 1 }] },
    'nothing was changed by any of it',
  );
  for (const route of adminRoutes) {
    if (route.operation === undefined) continue;
    const answer = await ask(
      site,
      single.get(route.operation),
      route.method,
      pathOf(route, 'key'),
      route.method === 'POST' ? (bodies[route.name] ?? {}) : undefined,
    );
    t.not(
      answer.status,
      403,
      `${route.name}: with ${route.operation} alone it is begun: ${String(answer.status)}`,
    );
  }
});

t.test('each change is on record before it is made, and its outcome after', async (t) => {
  const site = await begin(t);
  await ask(site, admin, 'POST', 'keys/key/rotate');
  await ask(site, admin, 'POST', 'keys/key/versions/1/disable');
  await ask(site, admin, 'POST', 'keys/key/versions/1/disable');
  await ask(site, single.get('list'), 'POST', 'keys/key/rotate');
  await ask(site, stranger, 'POST', 'keys/key/rotate');
  const lines = (file: string) =>
    readFileSync(site.file(file), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  const by = (identity: string) =>
    lines('audit/alpha.jsonl').filter(
      (line) => (line['user'] as { id?: string } | undefined)?.id === identity,
    );
  t.match(by(admin.identity), [
    {
      event: { action: 'rotate', outcome: 'unknown', reason: 'begun' },
      sello: { face: 'admin', key: 'key' },
    },
    { event: { action: 'rotate', outcome: 'success' } },
    { event: { action: 'state', outcome: 'unknown' }, sello: { key: 'key', key_version: 1 } },
    { event: { action: 'state', outcome: 'success' } },
    { event: { outcome: 'unknown' } },
    {
      event: { outcome: 'failure' },
      error: { code: 'SELLO_KEY_CHANGE_REFUSED' },
      http: { response: { status_code: 409 } },
    },
  ]);
  t.match(by(single.get('list')!.identity), [{ event: { outcome: 'failure' }, sello: { decision: 'deny' } }]);
  t.match(lines('audit/server.jsonl').at(-1), {
    user: { id: stranger.identity },
    event: { outcome: 'failure' },
  });
});

t.test('what cannot be understood is told so, and does nothing', async (t) => {
  const site = await begin(t);
  const cases: [string, string, string, unknown, number][] = [
    ['a path that is none', 'GET', 'nothing', undefined, 404],
    ['a key name with an escape', 'GET', 'keys/a%2Fb', undefined, 404],
    ['a version that is no number', 'POST', 'keys/key/versions/x/disable', {}, 404],
    ['a version that does not exist', 'POST', 'keys/key/versions/7/disable', {}, 404],
    ['a key that does not exist', 'POST', 'keys/none/rotate', {}, 404],
    ['a name that none can have', 'POST', 'keys/-x-/rotate', {}, 400],
    ['another method', 'GET', 'keys/key/rotate', undefined, 405],
    ['a body that is not JSON', 'POST', 'keys/key/settings', '{', 400],
    ['a body with a field too many', 'POST', 'keys/key/rotate', { now: true }, 400],
    ['settings without one', 'POST', 'keys/key/settings', {}, 400],
    ['a wait below the tenant’s', 'POST', 'keys/key/schedule-deletion', { waitSeconds: 60 }, 409],
    ['a rotation every minute', 'POST', 'keys/key/settings', { rotateEverySeconds: 60 }, 409],
    ['no items', 'POST', 'keys/key/rewrap', { items: [] }, 400],
    [
      '1,001 items',
      'POST',
      'keys/key/rewrap',
      { items: Array.from({ length: 1001 }, () => ({ ciphertext: 'AAAA' })) },
      400,
    ],
    ['a body of 5 KiB', 'POST', 'keys/key/rotate', ' '.repeat(5 * 1024), 413],
  ];
  for (const [claim, method, path, body, status] of cases) {
    const answer = await ask(site, admin, method, path, body);
    t.equal(answer.status, status, claim);
    t.type(answer.json['message'], 'string', claim);
    t.match(answer.json['requestId'], /./, claim);
  }
  t.match((await ask(site, admin, 'GET', 'keys/key')).json, { generation: 0 });
});

t.test('several settings are one change, all or none', async (t) => {
  const site = await begin(t);
  await ask(site, admin, 'POST', 'keys/key/rotate');
  t.match(
    (
      await ask(site, admin, 'POST', 'keys/key/settings', {
        minDecryptionVersion: 2,
        crossFace: true,
        rotateEverySeconds: 86_400,
      })
    ).json,
    {
      generation: 2,
      minDecryptionVersion: 2,
      crossFace: true,
      rotateEverySeconds: 86_400,
      nextRotation: /Z$/,
    },
  );
  const refused = await ask(site, admin, 'POST', 'keys/key/settings', {
    rewrapOnly: true,
    minDecryptionVersion: 9,
  });
  t.match(refused, { status: 404, json: { code: 'SELLO_KEY_VERSION_NOT_FOUND' } });
  t.match((await ask(site, admin, 'GET', 'keys/key')).json, { generation: 2, rewrapOnly: false });
});

t.test('the OpenAPI document names every route', async (t) => {
  const site = await begin(t);
  const { json, status } = await ask(site, admin, 'GET', 'openapi.json');
  t.equal(status, 200);
  t.equal(json['openapi'], '3.1.0');
  t.same(
    Object.keys(json['paths'] as object),
    adminRoutes.map(({ path }) => adminPrefix + path),
  );
});
