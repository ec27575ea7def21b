/** Attacks on who a client is: chains, proxy headers, live connections, resumed sessions, server names. */
import { once } from 'node:events';
import https from 'node:https';
import tls from 'node:tls';
import t, { type Test } from 'tap';
import {
  askHttp1,
  askHttp2,
  openSocket,
  Session,
  tlsOptions,
  within,
  type Answer,
  type Call,
  type Target,
} from './client.ts';
import { authority, credentialsOf, dayMs, hourMs, issue, revocationList, type Issued } from './pki.ts';
import { listenerYaml, serverAuditOff, Site, tenantsYaml, type TenantYaml } from './site.ts';

const faces = { 'HTTP/1.1': askHttp1, 'HTTP/2': askHttp2 } as const;
const describeKey: Call = { method: 'GET', path: '/v1/key/describe/app-1' };
const unverified = { auth: 'off', requireClientAuthEku: false } as const;

async function siteWith(t: Test, ...tenants: readonly TenantYaml[]): Promise<Site> {
  const site = new Site();
  t.teardown(() => site.remove());
  await site.start(listenerYaml + serverAuditOff + tenantsYaml(...tenants));
  return site;
}

const textOf = (answer: Answer): string => `${answer.status} ${answer.body.toString().replaceAll('\n', '')}`;
const required = '400 {"message":"tls: client certificate is required"}';
const ambiguous = '400 {"message":"tls: received more than one client certificate"}';
const refused = '403 {"message":"not authorized: insufficient permissions"}';

t.test("a certificate of one's own before a victim's public one is not the victim", async (t) => {
  const site = new Site();
  t.teardown(() => site.remove());
  const victim = issue('victim');
  await site.start(
    `address: 127.0.0.1:0\nadmin: {identity: ${victim.identity}}\n` +
      `tls: {key: ${site.file('server.key')}, cert: ${site.file('server.crt')}}\n` +
      `keys: [{name: app-1}]\nkeystore: {fs: {path: ${site.file('keys')}}}\n`,
  );
  const attackerCa = authority('attacker');
  const attackerLeaf = issue('attacker');
  const signedByAttacker = issue('attacker', { issuer: attackerCa });
  for (const tlsVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    for (const [face, ask] of Object.entries(faces)) {
      const say = async (...chain: readonly [Issued, ...Issued[]]): Promise<string> => {
        const [leaf, ...behind] = chain;
        return textOf(
          await ask(
            { port: site.port, credentials: credentialsOf(leaf, ...behind), tlsVersion },
            describeKey,
          ),
        );
      };
      const how = `${tlsVersion}, ${face}`;
      t.match(await say(victim), /^200 /, `${how}: the victim itself is let in`);
      t.equal(await say(attackerCa, victim), required, `${how}: CA, then victim`);
      t.equal(await say(attackerCa, attackerCa, victim), required, `${how}: CA twice, then victim`);
      t.equal(await say(attackerLeaf, victim), ambiguous, `${how}: leaf, then victim`);
      t.equal(await say(attackerLeaf, attackerCa, victim), ambiguous, `${how}: leaf, CA, then victim`);
      t.equal(await say(signedByAttacker, attackerCa), refused, `${how}: leaf of the attacker's CA`);
      t.equal(await say(attackerCa), required, `${how}: CA alone`);
      t.match(await say(victim, attackerCa), /^200 /, `${how}: the victim with a CA behind it`);
    }
  }
});

interface ProxyScene {
  readonly site: Site;
  readonly proxy: Issued;
  readonly admin: Issued;
  readonly node: Issued;
  readonly betaAdmin: Issued;
}

async function proxyScene(t: Test): Promise<ProxyScene> {
  const [proxy, admin, node, betaAdmin] = [
    issue('proxy'),
    issue('admin'),
    issue('node'),
    issue('beta admin'),
  ];
  const site = await siteWith(
    t,
    {
      name: 'alpha',
      admins: [admin.identity],
      clients: { ...unverified, proxy: { identities: [proxy.identity] } },
      policies: {
        node: {
          allow: [{ operations: ['describe'], conditions: { sources: ['10.0.0.0/8'] } } as never],
          identities: [node.identity],
        },
      },
      keys: ['app-1'],
    },
    { name: 'beta', admins: [betaAdmin.identity], clients: unverified, keys: ['app-1'] },
  );
  return { site, proxy, admin, node, betaAdmin };
}

const forwarding = (certificate: string | string[], more: Record<string, string> = {}): Call => ({
  ...describeKey,
  headers: { 'x-tls-client-cert': certificate, ...more },
});
const escaped = (leaf: Issued): string => encodeURIComponent(leaf.certificatePem);
const base64 = (leaf: Issued): string => leaf.certificateDer.toString('base64');

t.test('a proxy header counts from a listed proxy alone, once, and whole', async (t) => {
  const { site, proxy, admin, betaAdmin } = await proxyScene(t);
  const stranger = issue('stranger');
  for (const [face, ask] of Object.entries(faces)) {
    const say = async (from: Target, call: Call): Promise<string> => textOf(await ask(from, call));
    const listed = site.as(proxy);
    t.match(await say(listed, forwarding(escaped(admin))), /^200 /, `${face}: URL-encoded PEM`);
    t.match(await say(listed, forwarding(base64(admin))), /^200 /, `${face}: base64 DER`);
    t.match(await say(listed, forwarding(`:${base64(admin)}:`)), /^200 /, `${face}: RFC 9440`);
    t.equal(
      await say(site.as(stranger), forwarding(escaped(admin))),
      refused,
      `${face}: from an unlisted peer`,
    );
    t.equal(
      await say(site.as(betaAdmin), forwarding(escaped(proxy))),
      await say(site.as(betaAdmin), describeKey),
      `${face}: from another tenant's admin it changes nothing`,
    );
    t.equal(
      await say(site.as(authority('ca'), proxy), forwarding(escaped(admin))),
      required,
      `${face}: own CA before the proxy's public certificate`,
    );
    t.match(await say(listed, describeKey), /^400 /, `${face}: no header`);
    t.match(await say(listed, forwarding('')), /^400 /, `${face}: empty header`);
    t.match(
      await say(listed, forwarding([escaped(admin), escaped(stranger)])),
      /^400 /,
      `${face}: two headers`,
    );
    t.match(
      await say(listed, forwarding(escaped(admin) + escaped(stranger))),
      /^400 /,
      `${face}: two certificates`,
    );
    t.equal(await say(listed, forwarding(escaped(authority('ca')))), required, `${face}: a CA certificate`);
    t.equal(await say(listed, forwarding(escaped(stranger))), refused, `${face}: a stranger's certificate`);
    t.equal(await say(listed, forwarding(escaped(betaAdmin))), refused, `${face}: another tenant's admin`);
    t.equal(
      await say(listed, forwarding(escaped(proxy))),
      refused,
      `${face}: the proxy itself has no rights`,
    );
    for (const garbage of [
      'x',
      '%',
      '%zz',
      ':',
      '::',
      'AAAA',
      '-----BEGIN CERTIFICATE-----',
      `${base64(admin)}AAAA`,
      'A'.repeat(12_000),
    ]) {
      t.match(await say(listed, forwarding(garbage)), /^400 /, `${face}: garbage ${garbage.slice(0, 12)}`);
    }
  }
});

t.test('the forwarded client is forgotten with its request', async (t) => {
  const { site, proxy, admin } = await proxyScene(t);
  const session = await Session.open(site.as(proxy));
  const say = async (call: Call): Promise<number> => (await session.ask(call)).status;
  t.equal(await say(forwarding(escaped(admin))), 200);
  t.equal(await say(describeKey), 400);
  t.equal(await say(forwarding(escaped(issue('stranger')))), 403);
  session.close();
});

t.test('X-Forwarded-For is an address only when a listed proxy says so', async (t) => {
  const { site, proxy, node } = await proxyScene(t);
  const inside = { 'x-forwarded-for': '10.1.2.3' };
  for (const [face, ask] of Object.entries(faces)) {
    const say = async (from: Target, call: Call): Promise<string> => textOf(await ask(from, call));
    t.equal(await say(site.as(node), describeKey), refused, `${face}: from outside`);
    t.equal(
      await say(site.as(node), { ...describeKey, headers: inside }),
      refused,
      `${face}: by the client's own word`,
    );
    t.match(
      await say(site.as(proxy), forwarding(escaped(node), inside)),
      /^200 /,
      `${face}: by the proxy's word`,
    );
    for (const bad of ['', 'x', '10.1.2.3.4', '11.0.0.1', 'unknown']) {
      t.equal(
        await say(site.as(proxy), forwarding(escaped(node), { 'x-forwarded-for': bad })),
        refused,
        `${face}: proxy says '${bad}'`,
      );
    }
    t.equal(
      await say(site.as(proxy), forwarding(escaped(node))),
      refused,
      `${face}: the proxy's own address stands for nobody`,
    );
  }
});

t.test('where chains are verified, the proxy and its client each need one', async (t) => {
  const [alphaCa, betaCa] = [authority('alpha'), authority('beta')];
  const past = { notBefore: new Date(Date.now() - 2 * dayMs), notAfter: new Date(Date.now() - hourMs) };
  const proxy = issue('proxy', { issuer: alphaCa });
  const expiredProxy = issue('expired proxy', { issuer: alphaCa, ...past });
  const admin = issue('admin', { issuer: alphaCa });
  const site = new Site();
  t.teardown(() => site.remove());
  site.write('alpha.pem', alphaCa.certificatePem);
  site.write('beta.pem', betaCa.certificatePem);
  await site.start(
    listenerYaml +
      serverAuditOff +
      tenantsYaml(
        {
          name: 'alpha',
          admins: [admin.identity],
          clients: { ca: 'alpha.pem', proxy: { identities: [proxy.identity, expiredProxy.identity] } },
          keys: ['app-1'],
        },
        { name: 'beta', clients: { ca: 'beta.pem' } },
      ),
  );
  const say = (from: Target, certificate: Issued): Promise<string> =>
    askHttp2(from, forwarding(escaped(certificate))).then(textOf, () => 'tls');
  t.match(await say(site.as(proxy), admin), /^200 /);
  t.equal(await say(site.as(expiredProxy), admin), 'tls', 'an expired proxy');
  const forged = issue('admin', { privateKey: proxy.privateKey, issuer: betaCa });
  t.equal(await say(site.as(forged), admin), refused, "the proxy's key under another CA");
  const under = (issuer?: Issued): Issued =>
    issue('admin', { privateKey: admin.privateKey, ...(issuer ? { issuer } : {}) });
  t.equal(await say(site.as(proxy), under()), refused, 'a self-signed client');
  t.equal(await say(site.as(proxy), under(betaCa)), refused, "a client under another tenant's CA");
  t.equal(
    await say(site.as(proxy), issue('admin', { privateKey: admin.privateKey, issuer: alphaCa, ...past })),
    refused,
    'an expired client',
  );
});

t.test('a revoked client stops at its next request on connections that are open', async (t) => {
  const ca = authority('alpha');
  const [admin, node] = [issue('admin', { issuer: ca }), issue('node', { issuer: ca })];
  const site = new Site();
  t.teardown(() => site.remove());
  site.write('ca.pem', ca.certificatePem);
  const text = (allowed: boolean): string =>
    listenerYaml +
    serverAuditOff +
    tenantsYaml({
      name: 'alpha',
      admins: [admin.identity],
      clients: { ca: 'ca.pem', crls: ['ca.crl'] },
      policies: { node: { allow: allowed ? [{ operations: ['*'] }] : [], identities: [node.identity] } },
      keystore: { fs: { path: 'keys' } },
      keys: ['app-1'],
    });
  const scenes = {
    CRL: { then: () => site.write('ca.crl', revocationList(ca, [node], 2)), allowed: true },
    policy: { then: () => undefined, allowed: false },
  };
  for (const [what, { then, allowed }] of Object.entries(scenes)) {
    site.write('ca.crl', revocationList(ca, []));
    if (what === 'CRL') await site.start(text(true));
    else await site.reload(text(true));
    const session = await Session.open(site.as(node));
    const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
    t.teardown(() => agent.destroy());
    const say = async (): Promise<number[]> => [
      (await session.ask(describeKey)).status,
      (await askHttp1(site.as(node), describeKey, agent)).status,
    ];
    t.same(await say(), [200, 200]);
    const socket = Object.values(agent.freeSockets)[0]?.[0];
    t.ok(socket, 'the HTTP/1.1 connection is kept');
    const log = session.http2.request({ ':path': '/v1/log/audit' });
    log.on('error', () => undefined);
    log.resume();
    await once(log, 'response');
    then();
    await site.reload(text(allowed));
    t.same(await say(), [403, 403], `${what}: refused at once`);
    t.equal(Object.values(agent.freeSockets)[0]?.[0], socket, 'on the very same connection');
    t.equal((await session.ask({ method: 'GET', path: '/version' })).status, what === 'CRL' ? 403 : 200);
    t.ok(await within(2000, () => log.closed), `${what}: a log stream that was open ends`);
    session.close();
  }
});

t.test('no session is resumed: each connection proves its certificate', async (t) => {
  const admin = issue('admin');
  const site = await siteWith(t, { name: 'alpha', admins: [admin.identity], clients: unverified });
  for (const tlsVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    let offered: Buffer | undefined;
    const first = tls.connect({
      ...tlsOptions({ ...site.as(admin), tlsVersion }),
      port: site.port,
      ALPNProtocols: ['http/1.1'],
    });
    first.on('session', (session: Buffer) => (offered = session));
    await once(first, 'secureConnect');
    first.write('GET /version HTTP/1.1\r\nHost: x\r\n\r\n');
    await once(first, 'data');
    const session = offered ?? first.getSession();
    // OpenSSL cannot be kept from sending TLS 1.3 tickets through Node; without ticket keys they are names that nobody remembers.
    t.ok(
      (first.getTLSTicket()?.length ?? 0) <= 32,
      `${tlsVersion}: nothing of the client is sealed in what it gets`,
    );
    first.destroy();
    const again = tls.connect({
      ...tlsOptions({ ...site.as(admin), tlsVersion }),
      port: site.port,
      session,
      ALPNProtocols: ['http/1.1'],
    });
    await once(again, 'secureConnect');
    t.equal(again.isSessionReused(), false, `${tlsVersion}: what the first connection left is not taken`);
    again.destroy();
  }
});

t.test('a listener with server names answers to no other', async (t) => {
  const admin = issue('admin');
  const site = new Site();
  t.teardown(() => site.remove());
  const named = listenerYaml.replace('    tls:', '    serverNames: [kms.example.org]\n    tls:');
  await site.start(
    named +
      serverAuditOff +
      tenantsYaml({ name: 'alpha', admins: [admin.identity], clients: unverified, keys: ['app-1'] }),
  );
  const good = 'kms.example.org';
  const cases: readonly [serverName: string | undefined, authority: string, status: number][] = [
    [good, good, 200],
    [good, `${good}:7373`, 200],
    [good, good.toUpperCase(), 200],
    [undefined, good, 200],
    [good, 'other.example.org', 421],
    [undefined, 'other.example.org', 421],
    ['other.example.org', good, 421],
    [good, `${good}.`, 421],
    [good, `x@${good}`, 421],
    [good, `other.example.org#${good}`, 421],
  ];
  for (const [serverName, authority, status] of cases) {
    const target: Target = { ...site.as(admin), ...(serverName === undefined ? {} : { serverName }) };
    const said = `SNI ${serverName ?? 'none'}, name ${authority}`;
    const http1 = await askHttp1(target, { ...describeKey, headers: { host: authority } });
    t.equal(http1.status, status, `HTTP/1.1: ${said}`);
    const http2 = await askHttp2(target, { ...describeKey, headers: { ':authority': authority } }).catch(
      () => undefined,
    );
    // nghttp2 itself ends a request whose authority is none.
    t.equal(http2?.status ?? (/[@#]/.test(authority) ? 421 : undefined), status, `HTTP/2: ${said}`);
  }
  const both = await askHttp2(site.as(admin), {
    ...describeKey,
    headers: { ':authority': good, host: 'other.example.org' },
  }).catch(() => undefined);
  t.not(both?.status, 200, 'HTTP/2: two names that differ');
});

t.test('plain HTTP and other protocols get no answer of a face', async (t) => {
  const admin = issue('admin');
  const site = await siteWith(t, { name: 'alpha', admins: [admin.identity], clients: unverified });
  const socket = await openSocket(site.as(admin), 'http/1.1');
  socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  const [reply] = (await Promise.race([
    once(socket, 'data'),
    once(socket, 'close').then(() => [Buffer.from('closed')]),
  ])) as [Buffer];
  t.notMatch(reply.toString('latin1'), /^HTTP\/1\.1 200/);
  socket.destroy();
  t.equal(
    (await askHttp2(site.as(admin), { method: 'GET', path: '/version' })).status,
    200,
    'and the server goes on',
  );
});
