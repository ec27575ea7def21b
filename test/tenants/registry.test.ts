import t from 'tap';
import type { Identity } from '../../src/access/identity.ts';
import { readCertificate } from '../../src/access/certificate-facts.ts';
import { peerFactsOfCertificates } from '../../src/access/peer.ts';
import { buildTrust } from '../../src/access/trust.ts';
import type { ClientAuthConfig } from '../../src/config/model.ts';
import { hasCode } from '../../src/errors.ts';
import { parseTenantName } from '../../src/tenants/name.ts';
import { buildTenantRegistry, loadTenantRegistry } from '../../src/tenants/registry.ts';
import { dayMs, issue, startMs } from '../access/pki.ts';
import type { Issued } from '../access/pki.ts';

const factsOf = (...sent: Issued[]) => peerFactsOfCertificates(sent.map(({ cert }) => cert));
const identityOf = (issued: Issued): Identity => factsOf(issued).identity;
const clients = (auth: 'on' | 'off', proxies?: Identity[]): ClientAuthConfig => ({
  auth,
  caFile: undefined,
  crlFiles: [],
  staleCrl: 'refuse',
  requireClientAuthEku: false,
  proxy: proxies === undefined ? undefined : { identities: proxies, header: 'X-Tls-Client-Cert' },
});

interface Sketch {
  readonly name: string;
  readonly cas?: Issued[];
  readonly admins?: Issued[];
  readonly members?: Issued[];
  readonly proxies?: Issued[];
}

const entryOf = ({ name, cas, admins = [], members = [], proxies }: Sketch) => ({
  membership: {
    name: parseTenantName(name)!,
    clients: clients(cas === undefined ? 'off' : 'on', proxies?.map(identityOf)),
    admins: admins.map(identityOf),
    policies: [{ name: 'app', allow: [], deny: [], identities: members.map(identityOf) }],
  },
  trust: cas === undefined ? undefined : buildTrust(cas.map(({ cert }) => readCertificate(cert)), []),
}); // prettier-ignore

const registryOf = (...sketches: Sketch[]) => buildTenantRegistry(sketches.map(entryOf));

function refusal(...sketches: Sketch[]): string {
  try {
    registryOf(...sketches);
    return 'accepted';
  } catch (error) {
    return hasCode(error, 'SELLO_CONFIG_INVALID') ? (error.detail ?? '') : String(error);
  }
}

t.test('by listed identity first, then by issuing CA', async (t) => {
  const [caA, caB] = [await issue('ca-a', { isCa: true }), await issue('ca-b', { isCa: true })];
  const [listedA, listedOff] = [await issue('a', { issuer: caA }), await issue('off')];
  const movedToB = await issue('moved', { issuer: caA });
  const registry = registryOf(
    { name: 'a', cas: [caA], admins: [listedA] },
    { name: 'b', cas: [caB], members: [movedToB] },
    { name: 'c', members: [listedOff] },
  );
  const tenantOf = (...sent: Issued[]) => registry.resolve(factsOf(...sent))?.name;
  t.equal(tenantOf(listedA), 'a');
  t.equal(tenantOf(listedOff), 'c');
  t.equal(tenantOf(movedToB), 'b', 'the list of identities is stronger than the CA');
  t.equal(tenantOf(await issue('any', { issuer: caB })), 'b');
  t.equal(
    tenantOf(await issue('expired', { issuer: caB, notAfterMs: startMs - dayMs })),
    'b',
    'expired, yet refused by its tenant',
  );
  t.equal(
    tenantOf(await issue('stranger')),
    undefined,
    'a tenant with auth off is nobody’s default among several',
  );
  const middle = await issue('middle', { isCa: true, issuer: caA });
  t.equal(tenantOf(await issue('deep', { issuer: middle }), middle), 'a');
});

t.test('a chain that leads into two tenants leads into none', async (t) => {
  const [caA, caB] = [await issue('ca-a', { isCa: true }), await issue('ca-b', { isCa: true })];
  const byA = await issue('cross', { isCa: true, issuer: caA });
  const byB = await issue('cross', { isCa: true, issuer: caB, keys: byA.keys });
  const leaf = await issue('leaf', { issuer: byA });
  const registry = registryOf({ name: 'a', cas: [caA] }, { name: 'b', cas: [caB] });
  t.equal(registry.resolve(factsOf(leaf, byA))?.name, 'a');
  t.equal(registry.resolve(factsOf(leaf, byA, byB)), undefined);
});

t.test('the only tenant with auth off takes every peer; with auth on it does not', async (t) => {
  const stranger = await issue('stranger');
  t.equal(registryOf({ name: 'only' }).resolve(factsOf(stranger))?.name, 'only');
  const ca = await issue('ca', { isCa: true });
  t.equal(registryOf({ name: 'only', cas: [ca] }).resolve(factsOf(stranger)), undefined);
});

t.test('what two tenants share refuses the configuration', async (t) => {
  const [x, y, proxy] = [await issue('x'), await issue('y'), await issue('proxy')];
  const ca = await issue('ca', { isCa: true });
  const renewed = await issue('ca-renewed', { isCa: true, keys: ca.keys });
  t.match(
    refusal({ name: 'a', admins: [x] }, { name: 'b', members: [x] }),
    /identity [0-9a-f]{64} is in tenant a and in tenant b/,
  );
  t.match(refusal({ name: 'a', admins: [x] }, { name: 'b', proxies: [x] }), /in tenant a and in tenant b/);
  t.match(
    refusal({ name: 'a', proxies: [proxy] }, { name: 'b', proxies: [proxy] }),
    /in tenant a and in tenant b/,
  );
  t.match(
    refusal({ name: 'a', cas: [ca] }, { name: 'b', cas: [renewed] }),
    /CA 'CN=ca-renewed' is in tenant a and in tenant b/,
    'the key counts',
  );
  t.match(
    refusal({ name: 'a', cas: [x] }, { name: 'b', cas: [x] }),
    /is in tenant a and in tenant b/,
    'a pinned certificate too',
  );
  t.match(refusal({ name: 'a' }, { name: 'a' }), /tenant a is there twice/);
  t.match(refusal({ name: 'a', admins: [x], members: [x] }), /tenant a: admin .* is also in policy app/);
  t.match(refusal({ name: 'a', admins: [x], proxies: [x] }), /proxy .* is also an admin/);
  t.match(refusal({ name: 'a', members: [x], proxies: [x] }), /proxy .* is also in a policy/);
  t.equal(
    refusal({ name: 'a', cas: [ca, renewed], admins: [x] }, { name: 'b', members: [y], proxies: [proxy] }),
    'accepted',
  );
});

t.test('an unreadable CA file refuses the configuration', async (t) => {
  const membership = entryOf({ name: 'a', cas: [] }).membership;
  const missing = { ...membership, clients: { ...membership.clients, caFile: `${t.testdirName}/none.pem` } };
  await t.rejects(loadTenantRegistry([missing]), {
    code: 'SELLO_CONFIG_INVALID',
    detail: /none\.pem cannot be read/,
  });
});
