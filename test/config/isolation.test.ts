import { copyFileSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { ConfigError, loadConfig } from '../../src/config/index.ts';
import { compare, problemsOf, refuses } from './problems.ts';

const pki = join(import.meta.dirname, 'fixtures/pki');
const id = (letter: string) => letter.repeat(64);

interface Tenant {
  name?: string;
  ca?: string;
  store?: string;
  more?: string;
}

/** Two tenants that share nothing, but for what is given. */
function two(a: Tenant, b: Tenant, head = ''): string {
  const tenant = (
    { name, ca, store, more = '' }: Tenant,
    letter: string,
  ) => `  - name: ${name ?? `tenant-${letter}`}
    clients: { ca: ${ca ?? `${letter}-ca.crt`} }
    keystore: { fs: { path: ${store ?? `keys-${letter}`} } }
${more.replace(/^(?=.)/gm, '    ')}
`;
  return `version: sello/v1
listeners: [{ address: 0.0.0.0:7373, tls: { cert: s.crt, key: s.key } }]
${head}
tenants:
${tenant(a, 'a')}${tenant(b, 'b')}`;
}

t.test('two tenants that share nothing load', async (t) => {
  t.same(problemsOf(two({}, {})), []);
  t.same(
    problemsOf(two({ store: 'keys' }, { store: 'keys-b' })),
    [],
    'a name that begins alike is another folder',
  );
});

t.test('a tenant’s name is used once', async (t) => {
  const problems = problemsOf(two({ name: 'acme' }, { name: 'acme' })).join('\n');
  t.match(problems, "9: two tenants are named 'acme'");
});

t.test('an identity is in one tenant, in one role', async (t) => {
  const admins = `admins: [${id('1')}]`;
  const policy = (letter: string) => `policies: { p: { identities: [${id(letter)}] } }`;
  refuses(t, two({ more: admins }, { more: admins }), [
    /^12: identity '1{64}' is in two tenants, 'tenant-a' and 'tenant-b'/,
  ]);
  refuses(t, two({ more: admins }, { more: policy('1') }), [/is in two tenants/]);
  refuses(t, two({ more: policy('2') }, { more: policy('2') }), [/is in two tenants/]);
  refuses(t, two({ more: `${admins}\n${policy('1')}` }, {}), [/is in policy 'p' and in the admins/]);
  const twice = `policies: { p: { identities: [${id('3')}] }, q: { identities: [${id('3')}] } }`;
  refuses(t, two({ more: twice }, {}), [
    /cannot assign policy 'q' to '3{64}': identity already has a policy/,
  ]);
});

t.test('a proxy may serve two tenants, and is then a client of none', async (t) => {
  const proxied = (ca: string, more = ''): Tenant => ({
    ca: `${ca}, proxy: { identities: [${id('9')}] }`,
    more,
  });
  t.same(problemsOf(two(proxied('a.crt'), proxied('b.crt'))), []);
  const both = problemsOf(two(proxied('a.crt'), { more: `admins: [${id('9')}]` }));
  compare(t, both, [/^\d+: proxy '9{64}' is also in the admins of tenant 'tenant-b'/]);
});

t.test('a CA file, a folder with it, or the system’s CAs are trusted by one tenant', async (t) => {
  refuses(t, two({ ca: 'x.crt' }, { ca: './x.crt' }), [
    /tenants 'tenant-a' and 'tenant-b' both trust the CA/,
  ]);
  refuses(t, two({ ca: 'cas' }, { ca: 'cas/x.crt' }), [/both trust the CA/]);
  refuses(t, two({ ca: 'system' }, { ca: 'system' }), [/both trust the CAs of the system/]);
  t.same(problemsOf(two({ ca: 'system' }, {})), []);
});

t.test('a keystore folder, or one inside another, belongs to one tenant', async (t) => {
  refuses(t, two({ store: 'keys' }, { store: './keys/' }), [/^11: .* share a keystore/]);
  refuses(t, two({ store: 'keys' }, { store: 'keys/b' }), [/share a keystore/]);
  refuses(t, two({ store: 'keys/a' }, { store: 'keys' }), [/share a keystore/]);
  t.match(problemsOf(two({ store: '/' }, { store: 'keys' })).join(), /share a keystore/);
});

t.test('an audit file belongs to one tenant', async (t) => {
  const audit = (path: string) => ({ more: `audit: { path: ${path} }` });
  refuses(t, two(audit('x.jsonl'), audit('./x.jsonl')), [/write the same audit file/]);
  refuses(t, two(audit("'-'"), audit("'-'")), [/write the same audit file '-'/]);
  refuses(t, two(audit('x.jsonl'), {}, 'audit: { path: x.jsonl }'), [
    /and the server write the same audit file/,
  ]);
  t.same(problemsOf(two(audit("'-'"), {}, "audit: { path: '-' }")), []);
  refuses(t, two(audit('keys-b/x.jsonl'), {}), [/writes its audit file into the keystore/]);
});

t.test('two listeners have two addresses', async (t) => {
  const listeners = (a: string, b: string, probes = 'off') =>
    problemsOf(
      two({}, {}, `probes: '${probes}'`).replace(
        /listeners: .*/,
        `listeners: [${[a, b].map((address) => `{ address: '${address}', tls: { cert: s, key: k } }`).join(', ')}]`,
      ),
    );
  compare(t, listeners('1.2.3.4:1', '1.2.3.4:1'), [/^2: two listeners have the address 1.2.3.4:1/]);
  compare(t, listeners('0.0.0.0:1', '1.2.3.4:1'), [/0.0.0.0 covers it/]);
  compare(t, listeners('[::]:1', '1.2.3.4:1'), [/two listeners/]);
  compare(t, listeners('1.2.3.4:1', '1.2.3.4:2', '0.0.0.0:2'), [/^3: two listeners/]);
  t.same(listeners('1.2.3.4:1', '1.2.3.5:1'), []);
  t.same(listeners('0.0.0.0:1', '[::1]:1'), []);
  t.same(listeners('127.0.0.1:0', '127.0.0.1:0'), [], 'port 0 is a new port each');
});

t.test('what lies in the files counts, whatever they are called', async (t) => {
  const folder = t.testdir({ 'keys-a': {}, cas: {} });
  const load = async (text: string) => {
    const file = join(folder, 'sello.yaml');
    writeFileSync(file, text);
    try {
      await loadConfig(file, { env: {} });
      return [];
    } catch (error) {
      if (error instanceof ConfigError)
        return error.problems.map(({ message, line }) => `${line}: ${message}`);
      throw error;
    }
  };
  copyFileSync(join(pki, 'ca.crt'), join(folder, 'a-ca.crt'));
  copyFileSync(join(pki, 'catrue.crt'), join(folder, 'b-ca.crt'));
  t.same(await load(two({}, {})), [], 'two CAs');

  copyFileSync(join(pki, 'ca.crt'), join(folder, 'copy.crt'));
  compare(t, await load(two({}, { ca: 'copy.crt' })), [
    /^10: tenants 'tenant-a' and 'tenant-b' share a CA: 'CN=Test CA'/,
  ]);

  copyFileSync(join(pki, 'ca.crt'), join(folder, 'cas/1.crt'));
  compare(t, await load(two({}, { ca: 'cas' })), [/share a CA/]);

  copyFileSync(join(pki, 'issued.crt'), join(folder, 'issued.crt'));
  compare(t, await load(two({}, { ca: 'issued.crt' })), [/'CN=Test CA' has issued 'CN=issued'/]);

  symlinkSync('keys-a', join(folder, 'keys-b'));
  compare(t, await load(two({}, {})), [/^11: .* share a keystore/]);

  mkdirSync(join(folder, 'keys-c'));
  t.same(
    await load(two({}, { store: 'keys-c', ca: 'absent.crt' })),
    [],
    'a missing file is for others to refuse',
  );
});

t.test('a configuration file that is not there is one problem', async (t) => {
  await t.rejects(loadConfig(join(t.testdir({}), 'absent.yaml'), { env: {} }), {
    code: 'SELLO_CONFIG_INVALID',
    problems: [{ message: 'no such file' }],
  });
});
