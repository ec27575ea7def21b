/** Attacks between a request's headers and its end: aborted readers, bodies held open, bodies in crumbs, methods nobody knows. */
import { readFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { askHttp1, Session, within, type Call } from './client.ts';
import { flags, frame, RawConnection, request } from './frames.ts';
import { issue } from './pki.ts';
import { listenerYaml, Site, tenantsYaml, type PolicyYaml, type TenantYaml } from './site.ts';

const generate: Call = { method: 'PUT', path: '/v1/key/generate/app', body: '{}' };
const open = { auth: 'off', requireClientAuthEku: false };

async function start(
  t: Test,
  tenant: Partial<TenantYaml> & { admins: readonly string[] },
): Promise<{ site: Site; yaml: (over?: Partial<TenantYaml>) => string }> {
  const site = new Site();
  t.teardown(() => site.remove());
  const yaml = (over: Partial<TenantYaml> = {}): string =>
    `${listenerYaml}audit: {path: server.jsonl}\n${tenantsYaml({ name: 'alpha', clients: open, keys: ['app'], ...tenant, ...over })}`;
  await site.start(yaml());
  return { site, yaml };
}

t.test('a log reader that goes away at once gives everything back', async (t) => {
  const admin = issue('admin');
  const { site } = await start(t, {
    admins: [admin.identity],
    quota: { maxRequestsInFlight: 8 },
    audit: { path: 'alpha.jsonl' },
  });
  const connection = await RawConnection.open(site.as(admin));
  t.teardown(() => connection.socket.destroy());
  for (let i = 0; i < 40; i++) {
    const id = 1 + 2 * i;
    const head = frame('headers', flags.endHeaders | flags.endStream, id, request('GET', '/v1/log/audit'));
    connection.send(Buffer.concat([head, frame('reset', 0, id, Buffer.from([0, 0, 0, 8]))]));
  }
  const served = await within(5000, async () => (await askHttp1(site.as(admin), generate)).status === 200);
  t.ok(served, 'forty aborted readers hold none of eight places');
});

t.test('a client revoked while its body is on the way gets no key', async (t) => {
  const admin = issue('admin');
  const node = issue('node');
  const policies = (identities: readonly string[]): Record<string, PolicyYaml> => ({
    node: { allow: [{ operations: ['issue'] }], identities },
  });
  const { site, yaml } = await start(t, { admins: [admin.identity], policies: policies([node.identity]) });
  const session = await Session.open(site.as(node));
  t.teardown(() => session.close());
  const finish = (): Promise<number> =>
    new Promise((resolve, reject) => {
      const stream = session.http2.request({ ':method': 'PUT', ':path': generate.path });
      stream.on('response', (headers) => resolve(Number(headers[':status'])));
      stream.on('error', reject);
      stream.write('{"context":');
      setTimeout(() => {
        site
          .reload(yaml({ policies: policies([issue('other').identity]) }))
          .then(() => stream.end('"aGk="}'), reject);
      }, 200);
    });
  t.equal((await session.ask(generate)).status, 200, 'before');
  t.equal(await finish(), 403, 'judged by what is in force when the body is whole');
});

t.test('a body in crumbs costs no more memory than its size', async (t) => {
  const admin = issue('admin');
  const { site } = await start(t, { admins: [admin.identity] });
  const connection = await RawConnection.open(site.as(admin));
  t.teardown(() => connection.socket.destroy());
  const crumb = frame('data', 0, 1, Buffer.from(' '));
  const crumbs = Buffer.concat(Array.from({ length: 1000 }, () => crumb));
  connection.send(frame('headers', flags.endHeaders, 1, request('PUT', generate.path)));
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < 60; i++) {
    connection.send(crumbs);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await within(1500, () => false);
  const grownMiB = (process.memoryUsage().heapUsed - before) / 2 ** 20;
  t.ok(grownMiB < 24, `60,000 one-byte frames: ${grownMiB.toFixed(1)} MiB more`);
});

t.test('methods that nobody knows are refused as any other and leave a record', async (t) => {
  const admin = issue('admin');
  const stranger = issue('stranger');
  const { site } = await start(t, { admins: [admin.identity] });
  const session = await Session.open(site.as(stranger));
  t.teardown(() => session.close());
  for (const method of ['PROPFIND', 'QUERY', 'FOO', 'PATCH']) {
    const answer = await session.ask({ method, path: '/v1/key/describe/app' });
    t.equal(answer.status, 405, method);
    t.match(answer.body.toString(), /received method/);
  }
  const recorded = await within(
    3000,
    () => readFileSync(site.file('server.jsonl'), 'utf8').split('"PROPFIND"').length === 2,
  );
  t.ok(recorded, 'one record');
});

t.test('no condition on the context believes a field that nothing is bound to', async (t) => {
  const admin = issue('admin');
  const node = issue('node');
  const rule = { operations: ['mac', 'issue'], conditions: { context: { bucket: 'photos' } } };
  const { site } = await start(t, {
    admins: [admin.identity],
    policies: { node: { allow: [rule], identities: [node.identity] } },
  });
  const context = Buffer.from('{"bucket":"photos"}').toString('base64');
  const ask = async (path: string, body: object): Promise<number> =>
    (await askHttp1(site.as(node), { method: 'PUT', path, body: JSON.stringify(body) })).status;
  t.equal(await ask('/v1/key/generate/app', { context }), 200, 'issue is bound to it');
  t.equal(await ask('/v1/key/generate/app', {}), 403);
  t.equal(await ask('/v1/key/hmac/app', { message: 'aGk=', context }), 403, 'mac is not');
});
