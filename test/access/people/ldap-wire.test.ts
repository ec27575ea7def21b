/** What a directory in the middle could do: answers in clear before TLS, connections that break, answers without end. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import tls from 'node:tls';
import { BerWriter } from 'ldapts';
import t, { type Test } from 'tap';
import { judgeStartTlsAnswer } from '../../../src/access/people/ldap-connection.ts';
import { parseLdapUrl } from '../../../src/access/people/ldap-names.ts';
import { LdapDirectory, type LdapRules } from '../../../src/access/people/ldap.ts';
import { systemClock } from '../../../src/clock.ts';
import { SelloError } from '../../../src/errors.ts';
import type { TenantName } from '../../../src/tenants/name.ts';
import { createAuthority } from '../../real/certificates.ts';

const acme = 'acme' as TenantName;
const startTlsDone = Buffer.from('300c02010178070a010004000400', 'hex');

/** LDAPMessage { id, [operation] { code, '', '' } } */
function result(id: number, operation: number, code: number): Buffer {
  const writer = new BerWriter();
  writer.startSequence();
  writer.writeInt(id);
  writer.startSequence(operation);
  writer.writeEnumeration(code);
  writer.writeString('');
  writer.writeString('');
  writer.endSequence();
  writer.endSequence();
  return writer.buffer;
}

function entry(id: number, dn: string, attributes: Record<string, string>): Buffer {
  const writer = new BerWriter();
  writer.startSequence();
  writer.writeInt(id);
  writer.startSequence(0x64);
  writer.writeString(dn);
  writer.startSequence();
  for (const [name, value] of Object.entries(attributes)) {
    writer.startSequence();
    writer.writeString(name);
    writer.startSequence(0x31);
    writer.writeString(value);
    writer.endSequence();
    writer.endSequence();
  }
  writer.endSequence();
  writer.endSequence();
  writer.endSequence();
  return writer.buffer;
}

interface Fake {
  readonly port: number;
  readonly ca: string;
  readonly server: { readonly key: Buffer; readonly cert: Buffer };
  /** Bytes that arrived in clear. */
  readonly clear: Buffer[];
  connections: number;
}

async function fake(t: Test, serve: (socket: Socket, fake: Fake) => void): Promise<Fake> {
  const authority = await createAuthority(t.testdir());
  const { cert, key } = await authority.issue('ldap', 'server');
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    made.connections++;
    serve(socket, made);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of sockets) if (!socket.destroyed) socket.resetAndDestroy();
    server.close();
  });
  const made: Fake = {
    port: (server.address() as AddressInfo).port,
    ca: join(authority.ca),
    server: { key: readFileSync(key), cert: readFileSync(cert) },
    clear: [],
    connections: 0,
  };
  return made;
}

function directory(url: string, ca: string, changes: Partial<LdapRules> = {}): LdapDirectory {
  return new LdapDirectory({
    rules: {
      name: 'office',
      address: parseLdapUrl(url)!,
      caFile: ca,
      bind: { by: 'template', template: 'uid={name},dc=x' },
      userBase: 'dc=x',
      userFilter: '(uid={name})',
      idAttribute: 'entryUUID',
      nameAttribute: 'cn',
      stableAttribute: undefined,
      groups: { by: 'attribute', attribute: 'memberOf' },
      grants: [{ value: 'cn=admins,dc=x', tenant: acme, role: 'administrator' }],
      timeoutMs: 1500,
      revoked: [],
      ...changes,
    },
    clock: systemClock,
    tenants: [acme],
  });
}

const down = { code: 'SELLO_LOGIN_UNAVAILABLE' };

t.test('the answer to StartTLS is one message of success, and not a byte more', async (t) => {
  t.equal(judgeStartTlsAnswer(startTlsDone), 'ok');
  for (let length = 0; length < startTlsDone.length; length++)
    t.equal(judgeStartTlsAnswer(startTlsDone.subarray(0, length)), 'more', String(length));
  t.equal(judgeStartTlsAnswer(Buffer.concat([startTlsDone, Buffer.of(0x30)])), 'malformed');
  t.equal(judgeStartTlsAnswer(result(1, 0x78, 2)), 'refused');
  t.equal(judgeStartTlsAnswer(result(2, 0x78, 0)), 'malformed', 'an answer to something else');
  t.equal(judgeStartTlsAnswer(result(1, 0x61, 0)), 'malformed', 'a bind');
  for (const hex of ['ffffffff', '3080', '30850000000001', '3084ffffffff', '3000', '300302010a'])
    t.not(judgeStartTlsAnswer(Buffer.from(hex, 'hex')), 'ok', hex);
});

t.test('what is put into the clear part of StartTLS never counts under TLS', async (t) => {
  // Half an answer to the bind: the beginning of what TLS carries would complete it.
  const forged = result(2, 0x61, 0);
  const half = Buffer.concat([forged.subarray(0, -4), Buffer.from([0x04, 0x20])]);
  for (const injected of [half, forged, Buffer.of(0)]) {
    const made = await fake(t, (socket, { clear }) => {
      socket.once('data', (chunk) => {
        clear.push(Buffer.from(chunk));
        socket.write(Buffer.concat([startTlsDone, injected]));
        socket.on('data', (more) => clear.push(Buffer.from(more)));
      });
    });
    await t.rejects(
      directory(`ldap://127.0.0.1:${made.port}`, made.ca).login('ann', 'secret-password'),
      down,
    );
    t.notOk(Buffer.concat(made.clear).includes('secret-password'), 'and the password is not sent');
  }
});

t.test(
  'no password in clear: not when StartTLS is refused, not when the connection breaks after it',
  async (t) => {
    const refusing = await fake(t, (socket, { clear }) => {
      socket.on('data', (chunk) => {
        clear.push(Buffer.from(chunk));
        socket.write(result(1, 0x78, 2));
      });
    });
    await t.rejects(
      directory(`ldap://127.0.0.1:${refusing.port}`, refusing.ca).login('ann', 'secret-password'),
      down,
    );
    const breaking = await fake(t, (socket, { clear, server }) => {
      socket.once('data', (chunk) => {
        clear.push(Buffer.from(chunk));
        socket.pause();
        socket.write(startTlsDone, () => {
          const secure = new tls.TLSSocket(socket, { isServer: true, ...server });
          secure.on('error', () => undefined);
          secure.once('data', () => secure.destroy());
        });
      });
    });
    await t.rejects(
      directory(`ldap://127.0.0.1:${breaking.port}`, breaking.ca).login('ann', 'secret-password'),
      down,
    );
    for (const { clear, connections } of [refusing, breaking]) {
      t.notOk(Buffer.concat(clear).includes('secret-password'));
      t.equal(connections, 1, 'and nobody connects again by themselves');
    }
  },
);

t.test('a directory that hangs, or never ends its answer, is left in time', async (t) => {
  const silent = await fake(t, () => undefined);
  await t.rejects(
    directory(`ldap://127.0.0.1:${silent.port}`, silent.ca, { timeoutMs: 200 }).login('a', 'b'),
    down,
  );
  await t.rejects(
    directory(`ldaps://127.0.0.1:${silent.port}`, silent.ca, { timeoutMs: 200 }).login('a', 'b'),
    down,
  );
  const endless = await overTls(t, (socket) => {
    socket.once('data', () => {
      socket.write(Buffer.from('3084400000000201026184', 'hex'));
      const junk = Buffer.alloc(65_536);
      const pour = (): void => {
        while (!socket.destroyed && socket.write(junk));
      };
      socket.on('drain', pour);
      pour();
    });
  });
  const startMs = performance.now();
  await t.rejects(
    directory(`ldaps://127.0.0.1:${endless.port}`, endless.ca, { timeoutMs: 20_000 }).login('a', 'b'),
    down,
  );
  t.ok(performance.now() - startMs < 15_000, 'cut off by its size');
  await t.rejects(directory('ldaps://127.0.0.1:1', silent.ca).login('a', 'b'), down, 'nobody there');
});

t.test('groups within groups are asked for by the matching rule of Active Directory', async (t) => {
  const said: Buffer[] = [];
  const made = await overTls(t, (socket) => {
    let searches = 0;
    socket.on('data', (chunk: Buffer) => {
      said.push(chunk);
      // 30 LL 02 01 ID OP
      const id = chunk[4]!;
      if (chunk[5] === 0x60) socket.write(result(id, 0x61, 0));
      if (chunk[5] !== 0x63) return;
      const found =
        searches++ === 0
          ? entry(id, 'uid=ann,dc=x', { entryUUID: 'id-1', cn: 'Ann' })
          : entry(id, 'CN=Admins,DC=x', {});
      socket.write(Buffer.concat([found, result(id, 0x65, 0)]));
    });
  });
  const people = directory(`ldaps://127.0.0.1:${made.port}`, made.ca, {
    groups: { by: 'search', base: 'dc=x', attribute: 'member', nested: true },
  });
  t.same([...(await people.login('ann', 'secret')).roles], [['acme', 'administrator']]);
  const search = said.at(-1)!;
  t.ok(
    search.includes('1.2.840.113556.1.4.1941') &&
      search.includes('member') &&
      search.includes('uid=ann,dc=x'),
  );
});

t.test('many logins at once are bounded', async (t) => {
  const silent = await fake(t, () => undefined);
  const people = directory(`ldap://127.0.0.1:${silent.port}`, silent.ca, { timeoutMs: 300 });
  const results = await Promise.allSettled(Array.from({ length: 40 }, () => people.login('a', 'b')));
  const codes = results.map((one) =>
    one.status === 'rejected' ? (one.reason as { code: string }).code : 'in',
  );
  t.equal(codes.filter((code) => code === 'SELLO_RATE_LIMITED').length, 24);
  await t.rejects(people.login('a', 'b'), down, 'and places are given back');
});

t.test('addresses', async (t) => {
  t.same(parseLdapUrl('ldaps://dc1.example.org'), { host: 'dc1.example.org', port: 636, startTls: false });
  t.same(parseLdapUrl('ldap://[::1]:3389/'), { host: '::1', port: 3389, startTls: true });
  for (const bad of [
    'http://x',
    'ldap://',
    'ldap://a@b',
    'ldap://x:0',
    'ldap://x:99999',
    'ldap://x/dc=x',
    'ldapi:///x',
    'ldaps://x?y',
  ])
    t.equal(parseLdapUrl(bad), undefined, bad);
});

async function overTls(
  t: Test,
  serve: (socket: tls.TLSSocket) => void,
): Promise<{ port: number; ca: string }> {
  const authority = await createAuthority(t.testdir());
  const { cert, key } = await authority.issue('ldap', 'server');
  const sockets = new Set<tls.TLSSocket>();
  const server = tls.createServer({ cert: readFileSync(cert), key: readFileSync(key) }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    serve(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, ca: authority.ca };
}

t.test('files of ours that cannot be read are no fault of who logs in', async (t) => {
  const authority = await createAuthority(t.testdir());
  const { cert, key } = await authority.issue('ldap', 'server');
  const server = tls.createServer({ key: readFileSync(key), cert: readFileSync(cert) }, (socket) =>
    socket.on('error', () => undefined),
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const url = `ldaps://127.0.0.1:${(server.address() as AddressInfo).port}`;
  await t.rejects(directory(url, `${authority.ca}.absent`).login('ann', 'secret-password'), {
    ...down,
    detail: /^CA of the directory cannot be read: ENOENT/,
  });
  const password = (): Buffer => {
    throw new SelloError('SELLO_CONFIG_INVALID', { detail: "file 'ldap-password' cannot be read" });
  };
  await t.rejects(
    directory(url, authority.ca, { bind: { by: 'service', dn: 'cn=s', password } }).login('ann', 'p'),
    { ...down, detail: "password for the directory cannot be read: file 'ldap-password' cannot be read" },
  );
});
