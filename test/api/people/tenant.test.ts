/** What people may do to keys over the operators' listener, and that two of them are needed to destroy one. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import tls from 'node:tls';
import t from 'tap';
import { askHttp2 } from '../../attacks/client.ts';
import { issue } from '../../attacks/pki.ts';
import { listenerYaml, serverAuditOff, Site, tenantsYaml } from '../../attacks/site.ts';
import { grants, office } from './office.ts';

t.test('each role does what it may, in its own tenant', { timeout: 60_000 }, async (t) => {
  const { as, site } = await office(t);
  const ed = as('ed', 'acme-watch');
  const olga = as('olga', 'acme-run');
  const ann = as('ann', 'acme-root');
  t.match(await ed('GET', 'acme/keys/app'), { status: 200, key: 'app', state: 'enabled' });
  for (const path of [
    'acme/keys/app/rotate',
    'acme/keys/app/disable',
    'acme/keys/app/schedule-deletion',
    'acme/restore/accept',
    'acme/approvals',
  ])
    t.match(
      await ed('POST', path, path.endsWith('approvals') ? { key: 'app' } : undefined),
      { status: 403, code: 'SELLO_NOT_AUTHORIZED' },
      path,
    );
  t.match(await olga('POST', 'acme/keys/app/rotate'), { status: 200, sealingVersion: 2 });
  t.match(await olga('POST', 'acme/keys/app/disable'), { status: 200, state: 'disabled' });
  t.match(await olga('POST', 'acme/keys/app/enable', {}), { status: 200, state: 'enabled' });
  t.match(await ann('POST', 'acme/keys/app/schedule-deletion'), {
    status: 403,
    code: 'SELLO_APPROVAL_REQUIRED',
  });
  t.match(await olga('POST', 'acme/keys/app/schedule-deletion'), {
    status: 403,
    code: 'SELLO_NOT_AUTHORIZED',
  });
  t.match(await olga('GET', 'acme/approvals'), { status: 403 });
  t.match(await ann('GET', 'acme/approvals'), { status: 200, approvals: [] });
  for (const somebody of [ed, olga, ann]) {
    const other = await somebody('GET', 'globex/keys/app');
    t.match(other, { status: 403, code: 'SELLO_NOT_AUTHORIZED' });
    t.same(await somebody('GET', 'no-such/keys/app'), other, 'another tenant is as one that is not there');
  }
  t.match(await ann('GET', 'acme/keys/none'), { status: 404, code: 'SELLO_KEY_NOT_FOUND' });
  t.match(await ann('GET', 'acme/keys/..%2F..%2Fx'), { status: 400, code: 'SELLO_KEY_NAME_INVALID' });
  t.match(await ann('POST', 'acme/keys/app/versions/0/disable'), { status: 404 });
  t.match(await ann('POST', 'acme/keys/app/rotate', { surprise: true }), { status: 400 });
  t.match(await ann('POST', 'acme/keys/app/settings', { pad: 'x'.repeat(10_000) }), { status: 413 });
  await site.server.stop();
  const records = readFileSync(site.file('audit/acme.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, Record<string, unknown>>);
  const rotations = records.filter(({ event }) => event!['action'] === 'rotate');
  t.same(
    rotations.map(({ event }) => event!['outcome']),
    ['failure', 'unknown', 'success', 'unknown', 'failure'],
    'denied; begun and done; begun and not understood',
  );
  t.match(rotations[2], {
    user: { id: /^[0-9a-f]{64}$/ },
    rule: { name: 'role operator' },
    organization: { id: 'acme' },
  });
  t.notMatch(
    readFileSync(site.file('audit/globex.jsonl'), 'utf8'),
    /denied/,
    'strangers do not fill another tenant’s trail',
  );
});

t.test('a stranger is refused before their body comes', { timeout: 60_000 }, async (t) => {
  const { site } = await office(t);
  const socket = tls.connect({
    host: '127.0.0.1',
    port: site.server.operatorsPort!,
    rejectUnauthorized: false,
  });
  await once(socket, 'secureConnect');
  socket.write(
    'POST /v1/operators/tenants/acme/keys/app/rewrap HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 8000000\r\n\r\n',
  );
  const [answer] = (await once(socket, 'data')) as [Buffer];
  t.match(answer.toString(), /^HTTP\/1\.1 401 /);
  socket.destroy();
});

t.test('to destroy takes two people, in time, once', { timeout: 60_000 }, async (t) => {
  const { as, reload, site } = await office(t);
  const ann = as('ann/e1', 'acme-root');
  const bob = as('bob/e2', 'acme-root');
  const ann2 = as('ann-second-account/E1', 'acme-root');
  const olga = as('olga/e3', 'acme-run');
  const stranger = as('zoe/e4', 'globex-root');
  const ask = async (body: object = { key: 'app', reason: 'leaked' }): Promise<string> => {
    const asked = await ann('POST', 'acme/approvals', body);
    t.match(asked, { status: 201, state: 'pending', key: /app|other/ });
    return String(asked['id']);
  };
  const destroy = (by: typeof ann, approval?: string, key = 'app') =>
    by(
      'POST',
      `acme/keys/${key}/destroy`,
      undefined,
      approval === undefined ? {} : { 'x-sello-approval': approval },
    );
  const early = await ask();
  t.match(await bob('POST', `acme/approvals/${early}/approve`), { status: 200, state: 'approved' });
  t.match(
    await destroy(ann, early),
    { status: 409, code: 'SELLO_KEY_CHANGE_REFUSED' },
    'its end was not asked for',
  );
  for (const key of ['app', 'other']) {
    const path = `acme/keys/${key}/schedule-deletion`;
    const approval = await ask({ key });
    t.match(
      await ann('POST', path),
      { status: 403, code: 'SELLO_APPROVAL_REQUIRED' },
      'the schedule would do it',
    );
    await bob('POST', `acme/approvals/${approval}/approve`);
    t.match(await ann('POST', path, undefined, { 'x-sello-approval': approval }), {
      status: 200,
      deletion: { by: /^[0-9a-f]{64}$/ },
    });
  }
  t.match(await destroy(ann), { status: 403, code: 'SELLO_APPROVAL_REQUIRED' }, 'nobody alone');
  t.match(await destroy(ann, 'x'), { status: 404, code: 'SELLO_APPROVAL_NOT_FOUND' });
  const id = await ask();
  t.match(await destroy(ann, id), { status: 403, code: 'SELLO_APPROVAL_REQUIRED' }, 'asked, not approved');
  t.match(
    await ann('POST', `acme/approvals/${id}/approve`),
    { status: 403, code: 'SELLO_APPROVAL_SAME_PERSON' },
    'the same person',
  );
  t.match(
    await ann2('POST', `acme/approvals/${id}/approve`),
    { status: 403, code: 'SELLO_APPROVAL_SAME_PERSON' },
    'by another account',
  );
  t.match(
    await olga('POST', `acme/approvals/${id}/approve`),
    { status: 403, code: 'SELLO_NOT_AUTHORIZED' },
    'who may not',
  );
  t.match(await stranger('POST', `acme/approvals/${id}/approve`), {
    status: 403,
    code: 'SELLO_NOT_AUTHORIZED',
  });
  t.match(
    await stranger('POST', `globex/approvals/${id}/approve`),
    { status: 404, code: 'SELLO_APPROVAL_NOT_FOUND' },
    'in another tenant',
  );
  t.match(await bob('POST', `acme/approvals/${id}/approve`), {
    status: 200,
    state: 'approved',
    approvedBy: { name: 'bob' },
  });
  t.match(await destroy(ann, id, 'other'), { status: 403, code: 'SELLO_APPROVAL_REQUIRED' }, 'another key');
  t.match(
    await ann('POST', 'acme/keys/app/versions/1/destroy', undefined, { 'x-sello-approval': id }),
    { status: 409 },
    'a version, and not due',
  );
  await reload({ revoked: ['bob'] });
  t.match(
    await destroy(ann, id),
    { status: 403, code: 'SELLO_NOT_AUTHORIZED' },
    'the second person was revoked',
  );
  await reload({
    roles: grants.map((grant) => (grant.value === 'acme-root' ? { ...grant, role: 'operator' } : grant)),
  });
  t.match(
    await destroy(ann, id),
    { status: 403, code: 'SELLO_NOT_AUTHORIZED' },
    'nobody is administrator any more',
  );
  await reload({});
  t.match(await ann('GET', 'acme/keys/app'), { status: 200 }, 'the key is there');
  const results = await Promise.all(Array.from({ length: 6 }, () => destroy(ann, id)));
  t.equal(results.filter(({ status }) => status === 200).length, 1, 'of six at once one does it');
  t.match(
    results.find(({ status }) => status === 200),
    { receipt: { key: 'app', tenant: 'acme', destroyedBy: /^[0-9a-f]{64}$/ } },
  );
  t.match(await ann('GET', 'acme/keys/app'), { status: 404 });
  t.match(await destroy(bob, id, 'other'), { status: 409, code: 'SELLO_APPROVAL_USED' });
  const { approvals } = (await bob('GET', 'acme/approvals')) as unknown as {
    approvals: { id: string; state: string }[];
  };
  t.match(
    approvals.find((one) => one.id === id),
    { state: 'used', usedAt: /^20/ },
  );
  await site.server.stop();
  t.match(
    readFileSync(site.file('audit/acme.jsonl'), 'utf8'),
    new RegExp(`role administrator, approval ${id} by [0-9a-f]{64}`),
  );
});

t.test(
  'an approval that is not used in time is none, and one that is withdrawn',
  { timeout: 60_000 },
  async (t) => {
    const { as } = await office(t, { approvals: { expire: '1h', use: '1ms' } });
    const ann = as('ann', 'acme-root');
    const bob = as('bob', 'acme-root');
    const { id } = (await ann('POST', 'acme/approvals', { key: 'app' })) as unknown as { id: string };
    await bob('POST', `acme/approvals/${id}/approve`);
    await new Promise((resolve) => setTimeout(resolve, 20));
    const headers = { 'x-sello-approval': id };
    t.match(await ann('POST', 'acme/keys/app/schedule-deletion', undefined, headers), {
      status: 409,
      code: 'SELLO_APPROVAL_EXPIRED',
    });
    const { id: second } = (await ann('POST', 'acme/approvals', { key: 'app' })) as unknown as { id: string };
    t.match(await bob('POST', `acme/approvals/${second}/withdraw`), { status: 200, state: 'withdrawn' });
    t.match(await bob('POST', `acme/approvals/${second}/approve`), {
      status: 409,
      code: 'SELLO_APPROVAL_USED',
    });
    for (const body of [
      {},
      { key: 1 },
      { key: 'app', version: 0 },
      { key: 'app', version: '1' },
      { key: 'app', more: 1 },
      [],
      'x',
    ])
      t.match(await ann('POST', 'acme/approvals', body), { status: 400 }, JSON.stringify(body));
    t.match(await ann('POST', 'acme/approvals', { key: 'none' }), { status: 404 });
    t.match(await ann('POST', 'acme/approvals', { key: 'app', version: 9 }), { status: 404 });
  },
);

t.test(
  'with dual control no certificate destroys a key, and none without it is hindered',
  { timeout: 60_000 },
  async (t) => {
    const admin = issue('admin');
    for (const dualControl of [true, false]) {
      const site = new Site();
      t.teardown(() => site.remove());
      const tenant = {
        name: 'acme',
        admins: [admin.identity],
        clients: { auth: 'off' },
        keys: ['app', 'other'],
        lifecycle: { deletionWait: '0s', quiet: '0s', dualControl },
      };
      await site.start(`${listenerYaml}${serverAuditOff}${tenantsYaml(tenant)}`);
      const ask = async (method: string, path: string) => {
        const { status, body } = await askHttp2(site.as(admin), { method, path });
        return { status, body: body.toString() };
      };
      const scheduled = await ask('POST', '/admin/v1/keys/app/schedule-deletion');
      const deleted = await ask('DELETE', '/v1/key/delete/other');
      if (dualControl) {
        t.match(scheduled, { status: 403, body: /SELLO_APPROVAL_REQUIRED/ });
        t.match(await ask('POST', '/admin/v1/keys/app/destroy'), {
          status: 403,
          body: /SELLO_APPROVAL_REQUIRED/,
        });
        t.match(await ask('POST', '/admin/v1/keys/app/versions/1/destroy'), {
          status: 403,
          body: /SELLO_APPROVAL_REQUIRED/,
        });
        t.match(deleted, { status: 403, body: /not authorized: insufficient permissions/ }, 'as KES says no');
        t.match(await ask('POST', '/admin/v1/keys/app/rotate'), { status: 200 }, 'all else goes on');
        t.match(await ask('GET', '/v1/key/describe/other'), { status: 200 }, 'the key is there');
      } else {
        t.equal(scheduled.status, 200);
        t.equal(deleted.status, 200);
      }
    }
  },
);
