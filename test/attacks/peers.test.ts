/** Who would like to be a peer, and peers that lie: strangers are refused at the door, and no peer can do more than restrict. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { ConfigError } from '../../src/config/index.ts';
import { isName, parseKeyName, type Hold } from '../../src/keys/index.ts';
import { holdIdOf, lockOf } from '../../src/keys/restraint.ts';
import type { Keyring } from '../../src/keys/keyring.ts';
import { PeerClient } from '../../src/server/peer-client.ts';
import { SharedRate } from '../../src/server/shared-rate.ts';
import { PeerTrust } from '../../src/server/peer-trust.ts';
import { askHttp1, askHttp2, within, type Answer } from './client.ts';
import { authority, credentialsOf, dayMs, hourMs, issue, type Issued } from './pki.ts';
import { Site, tenantsYaml } from './site.ts';

t.setTimeout(120_000);

const peersName = 'sello-peers.test';
const peersCa = authority('peers');
const otherCa = authority('others');
const admin = issue('admin');
const client = issue('client', { issuer: peersCa });

const peerCertificate = (over: Parameters<typeof issue>[1] = {}): Issued =>
  issue('replica', {
    issuer: peersCa,
    keyKind: 'p256',
    extendedKeyUsage: ['serverAuth', 'clientAuth'],
    dnsNames: [peersName],
    ...over,
  });
const peer = peerCertificate();

const yaml = (peers: object = {}, propagation = '2s'): string =>
  `version: sello/v1
probes: off
propagation: ${propagation}
listeners:
  - address: 127.0.0.1:0
    tls: {cert: server.crt, key: server.key}
audit: {mode: off}
peers: ${JSON.stringify({
    address: '127.0.0.1:0',
    tls: { cert: 'peer.crt', key: 'peer.key' },
    ca: 'ca.crt',
    name: peersName,
    urls: ['https://127.0.0.1:1'],
    ...peers,
  })}
` +
  tenantsYaml(
    { name: 'alpha', clients: { auth: 'off' }, admins: [admin.identity], keys: ['key', 'more'] },
    { name: 'beta', clients: { auth: 'off' }, admins: [client.identity], keys: ['key'] },
  );

async function begin(t: Test, peers: object = {}, propagation?: string): Promise<Site> {
  const site = new Site();
  t.teardown(() => site.remove());
  site.write('peer.crt', peer.certificatePem);
  site.write('peer.key', peer.privateKeyPem);
  site.write('ca.crt', peersCa.certificatePem);
  await site.start(yaml(peers, propagation));
  return site;
}

function say(site: Site, as: Issued | undefined, path: string, body: unknown): Promise<Answer> {
  return askHttp1(
    {
      port: site.server.peers.port!,
      ...(as === undefined ? {} : { credentials: credentialsOf(as) }),
    },
    {
      method: 'POST',
      path: `/peers/v1/${path}`,
      headers: { 'content-type': 'application/json' },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    },
  );
}

const tell = (site: Site, item: unknown, tenant = 'alpha') =>
  say(site, peer, 'tell', { items: [{ tenant, item }] });

async function issueStatus(site: Site, key = 'key', as = admin): Promise<number> {
  return (await askHttp2(site.as(as), { method: 'POST', path: `/v1/key/generate/${key}`, body: '{}' }))
    .status;
}

const adminCall = (site: Site, path: string) =>
  askHttp2(site.as(admin), { method: 'POST', path: `/admin/v1/keys/${path}`, body: '{}' });

function inMemory(site: Site, key = 'key', tenant = 'alpha'): Keyring {
  return site.server.runtime.tenants.get(tenant)!.keys.cache.held(parseKeyName(key))!;
}

/** What a replica that knows the key as this one does would tell of it. */
function stateOf(site: Site, over: object = {}, key = 'key'): Record<string, unknown> {
  const { first, stored } = inMemory(site, key);
  return {
    kind: 'state',
    key,
    state: {
      ...(stored === undefined ? {} : { id: stored.id }),
      createdAt: first.createdAt.seconds,
      generation: (stored?.generation ?? 0) + 1,
      state: 'enabled',
      versions: (stored?.versions ?? [{ state: 'enabled' }]).map(({ state }) => state),
      minDecryptionVersion: 1,
      rewrapOnly: false,
      crossFace: false,
      ...over,
    },
  };
}

function hold(over: object = {}): {
  readonly item: Record<string, unknown>;
  /** As who asked for it takes it back. */
  readonly withdrawn: Record<string, unknown>;
  readonly token: string;
} {
  const token = randomBytes(32).toString('hex');
  const said = {
    lock: lockOf(token),
    key: 'key',
    change: { kind: 'disable' },
    by: 'somebody',
    at: 1,
    ...over,
  };
  const one = { id: holdIdOf(said as Omit<Hold, 'id'>), ...said };
  return { item: { kind: 'hold', hold: one }, withdrawn: { kind: 'withdrawn', hold: one, token }, token };
}

t.test('who is no peer is not heard', async (t) => {
  const site = await begin(t);
  t.equal((await tell(site, stateOfNobody())).status, 204, 'a peer is');
  const { metrics } = site.server.info;
  const strangers: Readonly<Record<string, Issued | undefined>> = {
    'no certificate': undefined,
    'of another CA': peerCertificate({ issuer: otherCa }),
    'made by himself': issue('replica', {
      keyKind: 'p256',
      extendedKeyUsage: ['serverAuth', 'clientAuth'],
      dnsNames: [peersName],
    }),
    'a client’s certificate of the same CA': client,
    'for another name': peerCertificate({ dnsNames: ['other.test'] }),
    'for every name of the domain': peerCertificate({ dnsNames: ['*.test'] }),
    'the name as its subject alone': issue(peersName, {
      issuer: peersCa,
      keyKind: 'p256',
      extendedKeyUsage: ['serverAuth', 'clientAuth'],
    }),
    'for servers alone': peerCertificate({ extendedKeyUsage: ['serverAuth'] }),
    'past its end': peerCertificate({
      notBefore: new Date(Date.now() - 2 * dayMs),
      notAfter: new Date(Date.now() - hourMs),
    }),
  };
  for (const [who, certificate] of Object.entries(strangers)) {
    for (const path of ['tell', 'pull'])
      await t.rejects(say(site, certificate, path, { items: [hold().item] }), `${who}: ${path}`);
  }
  t.equal(await issueStatus(site), 200, 'nothing of it is in force');
  t.match((await metrics.text()).body, /^sello_peer_items_total\{outcome="stranger"\} [1-9]/m);
});

t.test('with identities, they alone, from the moment of a reload', async (t) => {
  const other = peerCertificate();
  const site = await begin(t, { identities: [other.identity], name: undefined });
  await t.rejects(say(site, peer, 'tell', { items: [] }));
  t.equal((await say(site, other, 'tell', { items: [] })).status, 204);
  await site.reload(yaml({ identities: [peer.identity] }));
  await t.rejects(say(site, other, 'tell', { items: [] }));
  t.equal((await say(site, peer, 'tell', { items: [] })).status, 204);
});

t.test('a client of a tenant cannot be listed as a peer', async (t) => {
  const site = new Site();
  t.teardown(() => site.remove());
  const refused: readonly (readonly [object, RegExp])[] = [
    [{ identities: [admin.identity] }, /client of tenant 'alpha'/],
    [{ name: undefined }, /'name' or 'identities' is missing/],
    [{ urls: [] }, /no replica would ever be asked/],
    [{ urls: ['http://127.0.0.1:1'] }, /no address of a replica/],
    [{ urls: ['https://127.0.0.1:1/path'] }, /no address of a replica/],
  ];
  for (const [peers, words] of refused) {
    try {
      site.parse(yaml(peers));
      t.fail(`${String(words)}: taken`);
    } catch (error) {
      t.ok(error instanceof ConfigError);
      t.match((error as ConfigError).problems.map(({ message }) => message).join('\n'), words);
    }
  }
});

t.test('a peer restricts at once, and loosens nothing', async (t) => {
  const site = await begin(t);
  t.equal(await issueStatus(site), 200);
  t.equal((await adminCall(site, 'key/disable')).status, 200);
  t.equal(await issueStatus(site), 403);
  const enabled = stateOf(site, { state: 'enabled', generation: 1_000_000 });
  t.equal((await tell(site, enabled)).status, 204);
  t.equal(await issueStatus(site), 403, 'a newer keyring that enables it is not believed');
  t.equal((await adminCall(site, 'key/enable')).status, 200);
  t.equal(await issueStatus(site), 200);

  t.equal((await adminCall(site, 'key/rotate')).status, 200);
  t.equal(await issueStatus(site), 200);
  const older = stateOf(site, { state: 'disabled', generation: 1 });
  await tell(site, older);
  t.equal(await issueStatus(site), 200, 'an older keyring put forward again changes nothing');
  await tell(site, stateOf(site, { state: 'disabled', id: '0'.repeat(32) }));
  t.equal(await issueStatus(site), 200, 'and one of another key neither');

  await tell(site, stateOf(site, { state: 'disabled' }));
  t.equal(await issueStatus(site), 403, 'a newer one that disables it is');
  await tell(site, stateOf(site, { state: 'enabled', generation: 2_000_000 }));
  t.equal(await issueStatus(site), 403, 'also when a newer one still says otherwise');
  t.equal(await issueStatus(site, 'more'), 200);
});

t.test('what the store never confirms ends, once the store can be read', async (t) => {
  const site = await begin(t, {}, '400ms');
  t.equal(await issueStatus(site), 200);
  await tell(site, stateOf(site, { state: 'disabled', generation: 1_000_000 }));
  t.equal(await issueStatus(site), 403);
  t.ok(await within(15_000, async () => (await issueStatus(site)) === 200), 'ten times propagation');
});

t.test('a hold ends by its token alone', async (t) => {
  const site = await begin(t);
  t.equal(await issueStatus(site), 200);
  const { item, token, withdrawn } = hold();
  await tell(site, item);
  t.equal(await issueStatus(site), 403);
  const { lock } = item['hold'] as { lock: string };
  for (const wrong of ['0'.repeat(64), lock, token.replace(/.$/, (c) => (c === '0' ? '1' : '0'))])
    await tell(site, { ...withdrawn, token: wrong });
  t.equal(await issueStatus(site), 403, 'not by a peer’s word');
  t.match((await site.server.info.metrics.text()).body, /^sello_peer_items_total\{outcome="refused"\} 3$/m);
  const own = hold();
  await tell(site, {
    ...own.withdrawn,
    hold: { ...(own.withdrawn['hold'] as object), id: (item['hold'] as Hold).id },
  });
  t.equal(await issueStatus(site), 403, 'nor by another lock under its id');
  await tell(site, withdrawn);
  t.equal(await issueStatus(site), 200);
  await tell(site, item);
  t.equal(await issueStatus(site), 200, 'told once more after its end it does not come back');
});

t.test('replicas find one another by a DNS name, and know themselves', async (t) => {
  const first = await begin(t);
  const port = first.server.peers.port!;
  const counts = async (site: Site): Promise<string> => {
    const page = (await site.server.info.metrics.text()).body;
    return [...page.matchAll(/^sello_peers_\w+ (\d+)$/gm)].map(([, count]) => count).join();
  };
  const byName = { urls: [], discover: `localhost:${String(port)}` };
  // Servers of one process are one replica, until it is told otherwise.
  const itself = await begin(t, byName, '400ms');
  t.equal(await counts(itself), '0,0', 'what answers as this replica is no peer');
  const variable = 'SELLO_REPLICA';
  const before = process.env[variable];
  t.teardown(() => (process.env[variable] = before));
  process.env[variable] = 'b'.repeat(32);
  const other = await begin(t, byName, '400ms');
  t.equal(await counts(other), '1,1');
  t.equal(await issueStatus(other), 200);
  await tell(first, hold().item);
  t.ok(
    await within(5_000, async () => (await issueStatus(other)) === 403),
    'and it is asked for what it was told',
  );
  t.equal(await counts(first), '1,0', 'a replica that nobody answers for is not reached');
});

t.test('a peer’s word ends no key, and signs for nobody', async (t) => {
  const site = await begin(t);
  t.equal(await issueStatus(site), 200);
  const { item } = hold({ change: { kind: 'schedule-deletion', wait: 0 } });
  await tell(site, item);
  t.equal(await issueStatus(site), 403);
  const { keys } = site.server.runtime.tenants.get('alpha')!;
  const name = parseKeyName('key');
  const isWritten = async (): Promise<boolean> => (await keys.keyring(name)).state !== 'enabled';
  t.ok(await within(10_000, isWritten));
  t.match(await keys.keyring(name), {
    state: 'disabled',
    deletion: undefined,
    changedBy: 'a peer, for somebody',
  });
  const { generation } = await keys.keyring(name);
  await keys.settle(name, '');
  t.match(await keys.keyring(name), { state: 'disabled', generation }, 'and it stays at that');
  t.equal(keys.restraints.holds.length, 1, 'until an administrator says more');
  await keys.change(name, { kind: 'schedule-deletion', wait: 3600 }, 'somebody else');
  t.ok(await within(10_000, () => keys.restraints.holds.length === 0));
  t.match(await keys.keyring(name), { state: 'pending-deletion', deletion: { by: 'somebody else' } });
});

t.test('what is told of one tenant stays with it', async (t) => {
  const site = await begin(t);
  t.equal(await issueStatus(site), 200);
  t.equal(await issueStatus(site, 'key', client), 200);
  await tell(site, hold().item, 'beta');
  t.equal(await issueStatus(site, 'key', client), 403);
  t.equal(await issueStatus(site), 200, 'the key of the same name of another tenant serves');
  t.equal((await tell(site, hold().item, 'gamma')).status, 204, 'a tenant that is not here is passed over');
  t.equal(await issueStatus(site), 200);
});

t.test('what is no message is refused whole', async (t) => {
  const site = await begin(t);
  t.equal(await issueStatus(site), 200);
  const good = { tenant: 'alpha', item: hold().item };
  const bad: readonly unknown[] = [
    '',
    '{',
    '[]',
    { items: 1 },
    { items: [good, 1] },
    { items: [good, { tenant: 'alpha' }] },
    { items: [good, { tenant: '../beta', item: hold().item }] },
    { items: [good, { tenant: 'alpha', item: { ...hold().item, kind: 'other' } }] },
    { items: [good, { tenant: 'alpha', item: hold({ key: '../key' }).item }] },
    { items: [good, { tenant: 'alpha', item: hold({ at: -1 }).item }] },
    { items: [good, { tenant: 'alpha', item: hold({ id: 'x' }).item }] },
    { items: [good, { tenant: 'alpha', item: hold({ by: 'x'.repeat(513) }).item }] },
    { items: [good, { tenant: 'alpha', item: hold({ change: { kind: 'enable' } }).item }] },
    {
      items: [
        good,
        {
          tenant: 'alpha',
          item: hold({ change: { kind: 'set-version', version: 1, state: 'enabled' } }).item,
        },
      ],
    },
    {
      items: [
        good,
        {
          tenant: 'alpha',
          item: hold({ change: { kind: 'set-version', version: 1e9, state: 'disabled' } }).item,
        },
      ],
    },
    { items: Array.from({ length: 1001 }, () => good) },
    `{"items":[{"tenant":"alpha","item":{"__proto__":{"kind":"hold"}}}]}`,
  ];
  for (const body of bad) {
    const { status } = await say(site, peer, 'tell', body);
    t.ok(status === 400 || status === 415, `${String(status)}: ${JSON.stringify(body).slice(0, 60)}`);
  }
  t.equal((await say(site, peer, 'tell', `{"items":[],"x":"${'x'.repeat(1_100_000)}"}`)).status, 413);
  t.equal((await say(site, peer, 'pull', { epoch: 'x', after: 0 })).status, 400);
  t.equal((await say(site, peer, 'nothing', {})).status, 404);
  t.equal(await issueStatus(site), 200, 'and nothing of it is in force');
});

t.test('a peer fills no memory: holds, states and rates have bounds', async (t) => {
  const site = await begin(t);
  t.equal(await issueStatus(site), 200);
  const many = Array.from({ length: 1000 }, (_, i) => ({
    tenant: 'alpha',
    item: hold({ key: `k${String(i)}` }).item,
  }));
  t.ok(many.every(({ item }) => isName((item['hold'] as { key: string }).key)));
  t.equal((await say(site, peer, 'tell', { items: many })).status, 204);
  t.equal((await tell(site, hold().item)).status, 409, 'who tells knows that it was not taken');
  t.equal(site.server.runtime.tenants.get('alpha')!.keys.restraints.holds.length, 1000, 'no more than this');
  t.equal(await issueStatus(site), 200, 'of one peer');
  t.equal(await issueStatus(site, 'key', client), 200, 'another tenant is served');
  await tell(site, stateOf(site, { state: 'disabled' }));
  t.equal(await issueStatus(site), 403, 'and what is told of keys in memory still counts');
  const state = { tenant: 'alpha', item: stateOfNobody() };
  const answers = await Promise.all(
    Array.from({ length: 12 }, () =>
      say(site, peer, 'tell', { items: Array.from({ length: 1000 }, () => state) }),
    ),
  );
  t.ok(
    answers.some(({ status }) => status === 429),
    'more than a peer has to say is put off',
  );
});

t.test('a peer that floods keeps no other one from being heard', async (t) => {
  const site = await begin(t);
  t.equal(await issueStatus(site), 200);
  const full = Array.from({ length: 1000 }, (_, i) => ({
    tenant: 'alpha',
    item: hold({ key: `k${String(i)}` }).item,
  }));
  t.equal((await say(site, peer, 'tell', { items: full })).status, 204);
  const agent = new https.Agent({
    keepAlive: true,
    maxSockets: 20,
    ...credentialsOf(peer),
    rejectUnauthorized: false,
  });
  t.teardown(() => agent.destroy());
  const flood = (): Promise<number> =>
    new Promise((resolve, reject) => {
      const request = https.request(
        {
          agent,
          host: '127.0.0.1',
          port: site.server.peers.port!,
          path: '/peers/v1/tell',
          method: 'POST',
          headers: { 'content-type': 'application/json' },
        },
        (answer) => {
          answer.resume();
          answer.once('end', () => resolve(answer.statusCode!));
        },
      );
      request.once('error', reject);
      request.end('{"items":[]}');
    });
  let isOver = false;
  const refused: number[] = [];
  const flooding = Promise.all(
    Array.from({ length: 20 }, async () => {
      while (!isOver) refused.push(await flood());
    }),
  );
  t.ok(await within(20_000, () => refused.includes(429)), 'it is put off');
  const { item } = hold();
  const answer = await say(site, peerCertificate(), 'tell', { items: [{ tenant: 'alpha', item }] });
  isOver = true;
  await flooding;
  t.equal(answer.status, 204, 'another is not');
  t.equal(await issueStatus(site), 403, 'and what it tells is in force');
});

t.test(
  'a peer that always has more, and a name server that never answers, keep nobody from the others',
  async (t) => {
    let pages = 0;
    const liar = https.createServer(
      { cert: peer.certificatePem, key: peer.privateKeyPem, ca: peersCa.certificatePem, requestCert: true },
      (request, response) => {
        request.resume();
        pages++;
        response.setHeader('content-type', 'application/json');
        response.end(JSON.stringify({ epoch: 'a'.repeat(32), next: pages, more: true, items: [] }));
      },
    );
    liar.listen(0, '127.0.0.1');
    await once(liar, 'listening');
    t.teardown(() => {
      liar.closeAllConnections();
      liar.close();
    });
    const site = await begin(t, {
      urls: [`https://127.0.0.1:${String((liar.address() as AddressInfo).port)}`],
    });
    const { peers } = site.parse(
      yaml({
        urls: [`https://127.0.0.1:${String((liar.address() as AddressInfo).port)}`],
        discover: 'replicas.test:1',
      }),
    );
    const silent = new PeerClient(
      peers!,
      new PeerTrust(peers!),
      'c'.repeat(32),
      500,
      () => new Promise(() => undefined),
    );
    t.teardown(() => silent.close());
    pages = 0;
    const startMs = performance.now();
    await silent.discover();
    await silent.pull(async () => undefined);
    t.ok(performance.now() - startMs < 5000, 'a round ends');
    t.ok(pages > 0 && pages <= 20 + 20, `${String(pages)} pages of one that never ends`);
    t.match(silent.reached, { known: 1, reachable: 1 }, 'those whose addresses are known are asked');
  },
);

t.test('what a peer passes on of others is not its own share, and a page says which it is', async (t) => {
  const site = await begin(t);
  t.equal(await issueStatus(site), 200);
  const items = Array.from({ length: 1000 }, (_, i) => ({
    tenant: 'alpha',
    item: hold({ key: `k${String(i)}` }).item,
    isRelayed: true,
  }));
  t.equal((await say(site, peer, 'tell', { items })).status, 204);
  const one = { tenant: 'alpha', item: hold({ key: 'more' }).item };
  t.equal((await say(site, peer, 'tell', { items: [{ ...one, isRelayed: true }] })).status, 409);
  t.equal((await say(site, peer, 'tell', { items: [one] })).status, 204, 'what it was asked for itself');
  const page = JSON.parse((await say(site, peer, 'pull', { epoch: '', after: 0 })).body.toString()) as {
    items: { isRelayed?: boolean }[];
  };
  t.ok(page.items.length > 0 && page.items.every(({ isRelayed }) => isRelayed === true));
  // As one who asks for all of it over and over.
  const statuses = await Promise.all(
    Array.from({ length: 60 }, async () => (await say(site, peer, 'pull', { epoch: '', after: 0 })).status),
  );
  t.ok(statuses.includes(200) && statuses.every((status) => status === 200 || status === 429));
  const given = new SharedRate(20);
  t.ok(given.take('one', 1, 0));
  given.spend('one', 30, 0);
  t.notOk(given.take('one', 1, 999), 'what was much is counted');
  t.notOk(given.take('another', 1, 999), 'for all');
  t.ok(given.take('one', 1, 1000), 'until the second is over');
  for (let i = 0; i < 9; i++) given.take('one', 1, 1000);
  t.notOk(given.take('one', 1, 1000), 'half is for one');
  t.ok(given.take('another', 10, 1000), 'and half for the others');
});

t.test('a page of what there is to tell goes on where the last one ended, and holds no secret', async (t) => {
  const site = await begin(t);
  t.equal(await issueStatus(site), 200);
  t.equal((await adminCall(site, 'key/disable')).status, 200);
  const { item } = hold({ key: 'more' });
  await tell(site, item);
  const page = JSON.parse((await say(site, peer, 'pull', { epoch: '', after: 0 })).body.toString()) as {
    epoch: string;
    next: number;
    more: boolean;
    items: { tenant: string; item: { kind: string } }[];
  };
  t.match(page, {
    more: false,
    items: [
      { tenant: 'alpha', item: { kind: 'state' } },
      { tenant: 'alpha', item },
    ],
  });
  const again = JSON.parse(
    (await say(site, peer, 'pull', { epoch: page.epoch, after: page.next })).body.toString(),
  ) as typeof page;
  t.strictSame(again.items, []);
  t.notMatch(JSON.stringify(page), /fingerprint|place|token/);
});

function stateOfNobody(): Record<string, unknown> {
  return {
    kind: 'state',
    key: 'nobody',
    state: {
      createdAt: 1,
      generation: 1,
      state: 'disabled',
      versions: ['enabled'],
      minDecryptionVersion: 1,
      rewrapOnly: false,
      crossFace: false,
    },
  };
}
