/** What people look at over the operators' listener: tenants, keys, certificates, records and the proof of their trail. */
import { readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import https from 'node:https';
import path from 'node:path';
import { createInterface } from 'node:readline';
import t, { type Test } from 'tap';
import { maxSearchesPerTenant } from '../../../src/api/people/index.ts';
import { askHttp2 } from '../../attacks/client.ts';
import { issue } from '../../attacks/pki.ts';
import { problemsOfAnswer } from './answers.ts';
import { grants, office, type Office, type OfficeSettings, type Reply } from './office.ts';

const trails: OfficeSettings = {
  audit: (tenant) => ({ path: `audit/${tenant}/`, checkpoint: { records: 50, interval: '50ms' } }),
};

interface Line {
  readonly '@timestamp': string;
  readonly event: { readonly action: string; readonly outcome: string };
  readonly sello: { readonly key?: string; readonly context?: { readonly object?: string } };
  readonly organization: { readonly id: string };
  readonly search?: { readonly records: number; readonly complete: boolean; readonly reason: string };
}

const linesOf = (reply: Reply): Line[] => reply['lines'] as unknown as Line[];
const foundOf = (reply: Reply): Line[] => linesOf(reply).slice(0, -1);

async function verified(as: ReturnType<Office['as']>, tenant: string): Promise<Reply> {
  await as('POST', `${tenant}/audit/verification`);
  for (;;) {
    const seen = await as('GET', `${tenant}/audit/verification`);
    if (seen['state'] !== 'running') return seen;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

t.test('everybody with a role sees their tenant, and nobody another', { timeout: 60_000 }, async (t) => {
  const { as } = await office(t, trails);
  const ed = as('ed', 'acme-watch');
  const zoe = as('zoe', 'globex-root');
  t.match(await ed('GET', 'acme'), {
    status: 200,
    tenant: 'acme',
    keystore: { kind: 'memory', isWorking: true, hasVersions: true },
    audit: { kind: 'trail', mode: 'written', trouble: null, stream: /^[0-9a-f]{32}$/ },
  });
  t.match(await ed('GET', 'acme/keys?limit=1'), { status: 200, keys: [{ key: 'app' }], next: 'app' });
  t.match(await ed('GET', 'acme/keys?limit=1&after=app'), { keys: [{ key: 'other' }], next: null });
  t.match(await ed('GET', 'acme/keys?prefix=ot'), {
    keys: [{ key: 'other', keyring: { state: 'enabled', sealingVersion: 1, versions: [{ version: 1 }] } }],
  });
  for (const query of ['limit=0', 'limit=101', 'limit=x', 'prefix=%2F', 'after=..', 'x=1', 'limit=1&limit=2'])
    t.match(await ed('GET', `acme/keys?${query}`), { status: 400 }, query);
  t.match(await ed('GET', 'acme/certificates'), {
    status: 200,
    certificates: [{ use: /^(listener|operators)$/, notAfter: /^20/ }, {}],
  });
  const stranger = await zoe('GET', 'no-such');
  for (const below of ['', '/keys', '/certificates', '/audit/records', '/audit/verification']) {
    t.match(await zoe('GET', `acme${below}`), { status: 403, code: 'SELLO_NOT_AUTHORIZED' }, `acme${below}`);
    t.same(await zoe('GET', `acme${below}`), stranger, 'as a tenant that is not there');
    for (const somebody of [ed, as('olga', 'acme-run'), as('ann', 'acme-root')]) {
      const { status } = await somebody('GET', `acme${below}`);
      t.equal(status, 200, `acme${below}`);
    }
  }
  t.match(await zoe('POST', 'acme/audit/verification'), { status: 403 });
  const records = foundOf(await ed('GET', 'acme/audit/records?limit=1000'));
  t.ok(records.length > 10, 'looking is on record, too');
  t.same([...new Set(records.map(({ organization }) => organization.id))], ['acme']);
  t.same(
    records.filter(({ event }) => event.action === 'read-audit' && event.outcome === 'failure'),
    [],
    'strangers leave nothing in it',
  );
});

t.test('the tenants are those that a person has a role in', { timeout: 60_000 }, async (t) => {
  const { tokenOf, site } = await office(t);
  const ask = async (...roles: string[]) => {
    const { json } = await get(
      site.server.operatorsPort!,
      '/v1/operators/tenants',
      await tokenOf('ed', roles),
    );
    return json;
  };
  t.match(await ask('acme-watch'), { tenants: [{ tenant: 'acme', role: 'auditor' }] });
  t.match(await ask('acme-watch', 'acme-root', 'globex-root'), {
    tenants: [
      { tenant: 'acme', role: 'administrator' },
      { tenant: 'globex', role: 'administrator' },
    ],
  });
  t.match(await get(site.server.operatorsPort!, '/v1/operators/tenants'), { status: 401 });
  t.match(await get(site.server.operatorsPort!, '/v1/operators/openapi.json'), { status: 401 });
});

/** Data keys for objects, over the KES API. */
async function seal(
  t: Test,
  office: Office,
  storage: ReturnType<typeof issue>,
  ...objects: string[]
): Promise<void> {
  for (const object of objects) {
    const context = Buffer.from(JSON.stringify({ photos: `photos/${object}` })).toString('base64');
    const { status } = await askHttp2(office.site.as(storage), {
      method: 'POST',
      path: '/v1/key/generate/app',
      body: JSON.stringify({ context }),
    });
    t.equal(status, 200);
  }
}

const storage = issue('storage');
const withStorage: OfficeSettings = {
  ...trails,
  tenant: { policies: { storage: { allow: [{ kes: '/v1/*' }], identities: [storage.identity] } } },
  only: 'acme',
};

t.test('records are found by what they hold, newest first or in order', { timeout: 60_000 }, async (t) => {
  const site = await office(t, withStorage);
  const ed = site.as('ed', 'acme-watch');
  const markup = '<img src=x onerror="alert(1)">';
  await seal(t, site, storage, 'a.jpg', 'b.jpg', markup, 'c.jpg');
  const search = async (query: string) => ed('GET', `acme/audit/records?${query}`);
  const objects = (reply: Reply) => foundOf(reply).map(({ sello }) => sello.context?.object);
  t.same(objects(await search('object=photos/*')), ['c.jpg', markup, 'b.jpg', 'a.jpg'], 'newest first');
  t.same(objects(await search('object=photos&order=oldest')), ['a.jpg', 'b.jpg', markup, 'c.jpg']);
  t.same(objects(await search('object=photos/*&limit=2')), ['c.jpg', markup]);
  t.match(linesOf(await search('object=photos/*&limit=2')).at(-1), {
    search: { records: 2, complete: false, reason: 'limit' },
  });
  t.match(linesOf(await search('object=photos/*')).at(-1), {
    search: { records: 4, complete: true, reason: 'all' },
  });
  t.same(objects(await search(`object=${encodeURIComponent(`photos/${markup}`)}`)), [markup]);
  t.equal(objects(await search(`identity=${storage.identity}`)).length, 4);
  t.equal(objects(await search(`identity=${storage.identity.slice(0, 12)}&outcome=failure`)).length, 0);
  t.equal(objects(await search('key=other')).length, 0);
  t.equal(objects(await search('until=2001-01-01T00:00:00Z')).length, 0);
  for (const query of [
    'since=yesterday',
    'outcome=good',
    'identity=%22%7D',
    'limit=0',
    'limit=1001',
    'order=up',
    'follow=1',
    'follow=true&order=oldest',
    'follow=true&until=2030-01-01T00:00:00Z',
    'tenant=globex',
    'key=a&key=b',
    'key=%3Cimg%3E',
  ])
    t.match(await search(query), { status: 400, message: /./ }, query);
  const { certificates } = (await ed('GET', 'acme/certificates')) as unknown as {
    certificates: { use: string }[];
  };
  t.match(
    certificates.filter(({ use }) => use === 'client'),
    [{ where: storage.identity, subject: 'CN=storage', seenAt: /^20/ }],
  );
});

t.test('clients of a tenant are nobody else’s', { timeout: 60_000 }, async (t) => {
  const site = await office(t, withStorage);
  await seal(t, site, storage, 'a.jpg');
  const usesOf = async (tenant: string, role: string) =>
    (
      (await site.as('x', role)('GET', `${tenant}/certificates`)) as unknown as {
        certificates: { use: string }[];
      }
    ).certificates
      .map(({ use }) => use)
      .sort();
  t.same(await usesOf('acme', 'acme-watch'), ['client', 'listener', 'operators']);
  t.same(await usesOf('globex', 'globex-root'), ['listener', 'operators']);
});

t.test('a keystore as KES wrote it has keys to see and nothing to rotate', { timeout: 60_000 }, async (t) => {
  const folder = t.testdir();
  const { as } = await office(t, { ...trails, tenant: { keystore: { fs: { path: folder } } }, only: 'acme' });
  const ann = as('ann', 'acme-root');
  t.match(await ann('GET', 'acme'), { keystore: { kind: 'fs', hasVersions: false } });
  t.match(await ann('GET', 'acme/keys'), {
    keys: [{ key: 'app', keyring: { id: null, versions: [{ version: 1 }] } }, {}],
  });
  t.match(await ann('GET', 'acme/keys/app/use'), { status: 200, versions: [] });
  t.match(await ann('POST', 'acme/keys/app/rotate'), { status: 409, code: 'SELLO_KEYRING_UNSUPPORTED' });
  t.match(await verified(ann, 'acme'), { result: { verdict: 'unattested', isAnchored: false } });
});

t.test('a line of another tenant in the folder is not shown', { timeout: 60_000 }, async (t) => {
  const { as, site } = await office(t, { audit: (tenant) => ({ path: `audit/${tenant}.jsonl` }) });
  await as('zoe', 'globex-root')('GET', 'globex');
  const foreign = readFileSync(site.file('audit/globex.jsonl'));
  t.match(foreign.toString(), /"organization":\{"id":"globex"\}/);
  writeFileSync(site.file('audit/acme.jsonl'), foreign, { flag: 'a' });
  const ed = as('ed', 'acme-watch');
  await ed('GET', 'acme');
  for (const order of ['newest', 'oldest']) {
    const found = foundOf(await ed('GET', `acme/audit/records?order=${order}`));
    t.ok(found.length > 0);
    t.same([...new Set(found.map(({ organization }) => organization.id))], ['acme']);
  }
  t.match(await ed('POST', 'acme/audit/verification'), { status: 409, message: /plain file/ });
});

interface Live {
  readonly response: Awaited<ReturnType<typeof open>>;
  next(): Promise<Line | undefined>;
}

function open(port: number, address: string, token?: string) {
  return new Promise<IncomingMessage>((resolve, reject) => {
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
    https
      .get(
        { host: '127.0.0.1', port, path: address, rejectUnauthorized: false, agent: false, headers },
        resolve,
      )
      .on('error', reject);
  });
}

async function get(port: number, address: string, token?: string) {
  const response = await open(port, address, token);
  let body = '';
  for await (const chunk of response) body += String(chunk);
  return { status: response.statusCode, json: JSON.parse(body) as object };
}

async function live(office: Office, who: string, role: string, query: string): Promise<Live> {
  const address = `/v1/operators/tenants/acme/audit/records?follow=true&${query}`;
  const response = await open(office.site.server.operatorsPort!, address, await office.tokenOf(who, [role]));
  response.on('error', () => undefined);
  const lines = createInterface({ input: response })[Symbol.asyncIterator]();
  return {
    response,
    next: async () => {
      for (;;) {
        const line = await lines.next();
        if (line.done === true) return undefined;
        if (line.value !== '') return JSON.parse(line.value) as Line;
      }
    },
  };
}

t.test(
  'what is written while somebody watches reaches them, until their right to it ends',
  { timeout: 60_000 },
  async (t) => {
    const site = await office(t, withStorage);
    await seal(t, site, storage, 'before.jpg');
    const watcher = await live(site, 'ed', 'acme-watch', 'object=photos/*');
    t.match(await watcher.next(), { sello: { context: { object: 'before.jpg' } } });
    await seal(t, site, storage, 'one.jpg', 'two.jpg');
    t.match(await watcher.next(), { sello: { context: { object: 'one.jpg' } } });
    t.match(await watcher.next(), { sello: { context: { object: 'two.jpg' } } });
    await site.reload({ revoked: ['ed'] });
    t.match(await watcher.next(), { search: { records: 3, complete: false, reason: 'ended' } }, 'revoked');
    t.equal(await watcher.next(), undefined, 'nothing more comes');
    await site.reload({ roles: grants });
    const open = [];
    for (let i = 0; i < maxSearchesPerTenant; i++)
      open.push(await live(site, `w${String(i)}`, 'acme-watch', 'key=none'));
    t.same(new Set(open.map(({ response }) => response.statusCode)), new Set([200]));
    t.match(await site.as('late', 'acme-watch')('GET', 'acme/audit/records'), {
      status: 429,
      code: 'SELLO_RATE_LIMITED',
    });
    await t.resolves(site.site.server.stop(), 'a stop does not wait for them');
    for (const one of open) t.match(await one.next(), { search: { reason: 'ended' } });
  },
);

t.test(
  'a trail is verified against its anchors, and what was changed is named',
  { timeout: 60_000 },
  async (t) => {
    const { as, site } = await office(t, trails);
    const ed = as('ed', 'acme-watch');
    t.match(await ed('GET', 'acme/audit/verification'), { status: 200, state: 'none', result: null });
    const good = await verified(ed, 'acme');
    t.match(good, {
      state: 'done',
      startedBy: /^[0-9a-f]{64}$/,
      result: { verdict: 'verified', isAnchored: true, streams: [{ findings: [] }], findings: [] },
    });
    t.match(await as('zoe', 'globex-root')('GET', 'globex/audit/verification'), { state: 'none' });
    const [stream] = readdirSync(site.file('audit/acme')).filter((name) => /^[0-9a-f]{32}$/.test(name));
    const folder = site.file(path.join('audit/acme', stream!));
    const segment = path.join(
      folder,
      readdirSync(folder).find((name) => name.endsWith('.jsonl'))!,
    );
    const text = readFileSync(segment, 'latin1');
    writeFileSync(segment, text.replace('"version":"8.11"', '"version":"8.12"'), 'latin1');
    t.match(await verified(ed, 'acme'), {
      state: 'done',
      result: { verdict: 'wrong', streams: [{ findings: [{ kind: 'changed', index: 0 }] }] },
    });
  },
);

t.test('a stream of this node that is gone is missed', { timeout: 60_000 }, async (t) => {
  const { as, site } = await office(t, trails);
  const ed = as('ed', 'acme-watch');
  t.match(await verified(ed, 'acme'), { result: { verdict: 'verified' } });
  const trail = site.file('audit/acme');
  const [stream] = readdirSync(trail).filter((name) => /^[0-9a-f]{32}$/.test(name));
  renameSync(path.join(trail, stream!), site.file('elsewhere'));
  const seen = await verified(ed, 'acme');
  renameSync(site.file('elsewhere'), path.join(trail, stream!));
  t.match(seen, {
    result: {
      verdict: 'wrong',
      streams: [],
      findings: [{ kind: 'stream', text: new RegExp(`stream ${stream!} of node .* is missing`) }],
    },
  });
});

t.test('answers have the form that the document says', { timeout: 60_000 }, async (t) => {
  const { as, tokenOf, site } = await office(t, trails);
  const ann = as('ann/e1', 'acme-root');
  await ann('POST', 'acme/keys/app/rotate');
  await verified(ann, 'acme');
  const approval = await ann('POST', 'acme/approvals', { key: 'app', reason: 'old' });
  const port = site.server.operatorsPort!;
  const token = await tokenOf('ann', ['acme-root']);
  const answers: [string, string, unknown][] = [
    ['get', '/v1/operators/whoami', (await get(port, '/v1/operators/whoami', token)).json],
    ['get', '/v1/operators/ways', (await get(port, '/v1/operators/ways')).json],
    ['get', '/v1/operators/tenants', (await get(port, '/v1/operators/tenants', token)).json],
    ['post', '/v1/operators/tenants/{tenant}/approvals', approval],
  ];
  for (const below of [
    '',
    '/keys',
    '/keys/{key}',
    '/keys/{key}/use',
    '/certificates',
    '/audit/verification',
    '/approvals',
  ])
    answers.push([
      'get',
      `/v1/operators/tenants/{tenant}${below}`,
      await ann('GET', `acme${below.replace('{key}', 'app')}`),
    ]);
  const document = (await get(port, '/v1/operators/openapi.json', token)).json;
  for (const [method, address, answer] of answers) {
    const { status: _status, ...body } = answer as Record<string, unknown>;
    t.same(problemsOfAnswer(document, method, address, body), [], `${method} ${address}`);
  }
});
