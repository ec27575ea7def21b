import { copyFileSync, readFileSync, writeFileSync, chmodSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Test } from 'tap';
import { checkConfig, parseConfig } from '../../src/config/index.ts';
import { crlDates } from '../../src/config/crl-dates.ts';

const pki = join(import.meta.dirname, 'fixtures/pki');
const now = Date.UTC(2026, 11, 1);

/** A folder with everything that the configuration below names. */
function folderOf(t: Test): string {
  const folder = t.testdir({ keys: {}, audit: {} });
  for (const file of [
    'server.crt',
    'server.key',
    'ca.crt',
    'catrue.crt',
    'app.crt',
    'app.key',
    'issued.crt',
  ]) {
    copyFileSync(join(pki, file), join(folder, file));
    chmodSync(join(folder, file), 0o600);
  }
  writeFileSync(join(folder, 'root.key'), 'x'.repeat(44), { mode: 0o600 });
  return folder;
}

const text = `version: sello/v1
listeners: [{ address: 127.0.0.1:7373, tls: { cert: server.crt, key: server.key } }]
tenants:
  - name: acme
    admins: [${'a'.repeat(64)}]
    clients: { ca: ca.crt }
    keystore: { file: { path: keys, rootKey: { file: root.key } } }
`;

async function notices(folder: string, config = text, nowMs = now): Promise<string[]> {
  const parsed = parseConfig(config, { env: {}, file: join(folder, 'sello.yaml') });
  const all = await checkConfig(parsed, { nowMs, env: {} });
  return all.map(
    ({ message, failsCheck }) => `${failsCheck ? 'fault' : 'word'}: ${message.replaceAll(`${folder}/`, '')}`,
  );
}

/** A revocation list without entries, as far as its dates go; DER by hand. */
function crl(nextUpdate: string): Buffer {
  const der = (tag: number, ...parts: Buffer[]): Buffer => {
    const content = Buffer.concat(parts);
    return Buffer.concat([
      Buffer.from(content.length < 128 ? [tag, content.length] : [tag, 0x81, content.length]),
      content,
    ]);
  };
  const utc = (time: string) => der(time.length === 13 ? 0x17 : 0x18, Buffer.from(time));
  const tbs = der(
    0x30,
    der(0x02, Buffer.from([1])),
    der(0x30),
    der(0x30),
    utc('261101000000Z'),
    utc(nextUpdate),
  );
  return der(0x30, tbs, der(0x30), der(0x03, Buffer.alloc(90)));
}

t.test('a configuration in order has no fault', async (t) => {
  const found = await notices(folderOf(t));
  // The recorded KES server's certificate is its own CA, which is worth a word.
  t.same(found, ["word: certificate 'server.crt' is a CA certificate: clients may refuse it as a server's"]);
});

t.test('certificate and key: absent, broken, of another pair, without a name', async (t) => {
  const folder = folderOf(t);
  const using = async (cert: string, key: string) =>
    (
      await notices(folder, text.replace('cert: server.crt, key: server.key', `cert: ${cert}, key: ${key}`))
    ).join('\n');
  t.match(
    await using('absent', 'server.key'),
    "fault: listener 127.0.0.1:7373: certificate 'absent' does not exist",
  );
  t.match(await using('server.crt', 'absent'), "fault: private key 'absent' does not exist");
  t.match(await using('root.key', 'server.key'), 'holds no certificate that can be parsed');
  t.match(await using('server.crt', 'root.key'), "private key 'root.key' cannot be parsed");
  t.match(
    await using('server.crt', 'app.key'),
    "fault: private key 'app.key' does not belong to certificate 'server.crt'",
  );
  t.match(await using('app.crt', 'app.key'), "fault: certificate 'app.crt' has no subject alternative name");
});

t.test('certificates out of date, and nearly so', async (t) => {
  const folder = folderOf(t);
  const at = async (nowMs: number) => (await notices(folder, text, nowMs)).join('\n');
  t.match(await at(Date.UTC(2028, 0, 1)), "fault: certificate 'server.crt' expired on 2027-11-22");
  t.match(await at(Date.UTC(2027, 10, 1)), "word: certificate 'server.crt' expires soon");
  t.match(await at(Date.UTC(2026, 0, 1)), /fault: certificate 'server.crt' is not valid before 2026-11-22/);
  t.match(await at(Date.UTC(2037, 0, 1)), "fault: CA 'ca.crt' of tenant 'acme' expired");
});

t.test('server names that the certificate does not have', async (t) => {
  const config = text.replace('7373,', '7373, serverNames: [localhost, kms.example.org],');
  const faults = (await notices(folderOf(t), config)).filter((notice) => notice.startsWith('fault'));
  t.same(faults, ["fault: certificate 'server.crt' is not valid for server name 'kms.example.org'"]);
});

t.test('CAs and revocation lists', async (t) => {
  const folder = folderOf(t);
  const clients = async (settings: string) =>
    (await notices(folder, text.replace('{ ca: ca.crt }', `{ ${settings} }`))).join('\n');
  t.match(await clients('ca: absent'), "fault: CA 'absent' of tenant 'acme' does not exist");
  t.match(await clients('ca: keys'), "fault: CA folder 'keys' of tenant 'acme' is empty");
  t.match(
    await clients('ca: issued.crt'),
    "fault: CA file 'issued.crt' of tenant 'acme' holds a certificate that is not a CA",
  );
  writeFileSync(join(folder, 'good.crl'), crl('261231235959Z'));
  writeFileSync(join(folder, 'stale.crl'), crl('261130235959Z'));
  writeFileSync(join(folder, 'bad.crl'), 'no list');
  t.notMatch(await clients('ca: ca.crt, crls: [good.crl]'), /CRL/);
  t.match(
    await clients('ca: ca.crt, crls: [stale.crl]'),
    "fault: CRL 'stale.crl' of tenant 'acme' is stale since 2026-11-30T23:59:59",
  );
  t.match(
    await clients('ca: ca.crt, crls: [bad.crl]'),
    "fault: CRL 'bad.crl' of tenant 'acme' cannot be parsed",
  );
  t.notMatch(await clients('auth: off'), /fault/, 'not looked at where they are not used');
});

t.test('the dates of a revocation list, in DER and PEM, and nothing but a list', async (t) => {
  const der = crl('20520102030405Z');
  const pem = Buffer.from(`-----BEGIN X509 CRL-----\n${der.toString('base64')}\n-----END X509 CRL-----\n`);
  for (const bytes of [der, pem]) {
    t.same(crlDates(bytes), {
      thisUpdate: new Date('2026-11-01T00:00:00Z'),
      nextUpdate: new Date('2052-01-02T03:04:05Z'),
    });
  }
  for (let length = 0; length < der.length; length++)
    t.throws(() => crlDates(der.subarray(0, length)), `cut at ${length}`);
  const certificate = readFileSync(join(pki, 'ca.crt'), 'utf8');
  t.throws(() => crlDates(Buffer.from(certificate)));
});

t.test('keystore and root key', async (t) => {
  const folder = folderOf(t);
  const keystore = async (settings: string) =>
    (await notices(folder, text.replace(/keystore: .*/, `keystore: ${settings}`))).join('\n');
  t.match(
    await keystore('{ fs: { path: absent } }'),
    "fault: keystore folder 'absent' of tenant 'acme' does not exist",
  );
  t.match(
    await keystore('{ fs: { path: root.key } }'),
    "fault: keystore folder 'root.key' of tenant 'acme' is not a folder",
  );
  t.match(
    await keystore('{ file: { path: new, rootKey: { file: root.key } } }'),
    /word: keystore folder 'new' .* made at first start/,
  );
  t.match(
    await keystore('{ file: { path: keys, rootKey: { file: absent } } }'),
    /fault: root key of tenant 'acme': file '.*absent' cannot be read/,
  );
  t.match(
    await keystore('{ file: { path: keys, rootKey: { env: ROOT } } }'),
    "fault: root key of tenant 'acme': environment variable 'ROOT' is not set",
  );
  chmodSync(join(folder, 'root.key'), 0o644);
  t.match(
    (await notices(folder)).join('\n'),
    "word: root key of tenant 'acme': file 'root.key' is open to every user",
  );
});

t.test('audit files and tenants that nobody can use', async (t) => {
  const folder = folderOf(t);
  const words = await notices(folder, text.replace(/admins: .*\n/, 'audit: { path: keys2/x.jsonl }\n'));
  t.match(words.join('\n'), "word: folder 'keys2' for the audit file of tenant 'acme' does not exist");
  t.match(words.join('\n'), "word: tenant 'acme' has no admin and no identity in a policy");
  const off = await notices(
    folder,
    text.replace(/admins: .*\n/, `audit: { mode: off }\n    admins: [${'a'.repeat(64)}]\n`),
  );
  t.match(off.join('\n'), "word: tenant 'acme' writes no audit records");
  t.match(
    (await notices(folder, text.replace(/admins: .*\n/, 'audit: { path: audit }\n'))).join('\n'),
    /fault: audit file 'audit' .* is a folder/,
  );
});

t.test('the files that people’s logins need', async (t) => {
  const folder = folderOf(t);
  writeFileSync(join(folder, 'client-secret'), 'secret', { mode: 0o644 });
  const operators = (
    changes: { cert?: string; ca?: string; secret?: string; password?: string; directoryCa?: string } = {},
  ) => {
    const {
      cert = 'server.crt',
      ca = 'ca.crt',
      secret = 'root.key',
      password = 'root.key',
      directoryCa = 'ca.crt',
    } = changes;
    const role = { tenant: 'acme', role: 'auditor' };
    const section = {
      address: '127.0.0.1:7375',
      tls: { cert, key: 'server.key' },
      url: 'https://localhost:7375',
      oidc: {
        main: {
          issuer: 'https://idp.example',
          client: { id: 'c', secret: { file: secret } },
          ca,
          rolesClaim: ['r'],
          roles: [{ value: 'v', ...role }],
        },
      },
      ldap: {
        office: {
          url: 'ldaps://dc.example',
          ca: directoryCa,
          bind: { service: { dn: 'cn=s,dc=x', password: { file: password } } },
          userBase: 'dc=x',
          groups: { attribute: 'memberOf' },
          roles: [{ group: 'cn=g,dc=x', ...role }],
        },
      },
    };
    return notices(folder, `${text}operators: ${JSON.stringify(section)}\n`);
  };
  t.same([...new Set(await operators())], await notices(folder), 'nothing to say of good ones');
  const said = async (changes: Parameters<typeof operators>[0]) => (await operators(changes)).join('\n');
  t.match(
    await said({ cert: 'app.crt' }),
    "fault: private key 'server.key' does not belong to certificate 'app.crt'",
  );
  t.match(
    await said({ ca: 'absent.pem' }),
    "fault: CA 'absent.pem' of OpenID provider 'main' does not exist",
  );
  for (const [directoryCa, what] of [
    ['absent.pem', "CA 'absent.pem' of directory 'office' does not exist or cannot be read"],
    ['.', /fault: CA '.*' of directory 'office' is a folder: one file is needed/],
    ['server.key', /fault: CA of directory 'office'.*server\.key/],
  ] as const)
    t.match(await said({ directoryCa }), what);
  t.match(
    await said({ secret: 'absent' }),
    /fault: client secret of OpenID provider 'main': file '.*absent' cannot be read/,
  );
  t.match(
    await said({ secret: 'client-secret' }),
    "word: client secret of OpenID provider 'main': file 'client-secret' is open to every user",
  );
  t.match(
    await said({ password: 'absent' }),
    /fault: password for directory 'office': file '.*absent' cannot be read/,
  );
});
