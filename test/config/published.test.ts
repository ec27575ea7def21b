import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import t from 'tap';
import { Check } from 'typebox/schema';
import { parse as parseYaml } from 'yaml';
import { checkConfig, loadConfig } from '../../src/config/index.ts';
import { publishedSchemas } from '../../src/config/publish.ts';
import { generatedFiles } from '../../tools/schema.ts';

const root = resolve(import.meta.dirname, '../..');
const pki = join(import.meta.dirname, 'fixtures/pki');
const example = (name: string) => readFileSync(join(root, 'config', name), 'utf8');
const schemas = publishedSchemas();

t.test('the committed schemas and the reference page are current (node tools/schema.ts)', async (t) => {
  for (const [path, content] of await generatedFiles()) {
    t.equal(readFileSync(join(root, path), 'utf8'), content, path);
  }
});

t.test('every field of the schemas is described', async (t) => {
  const walk = (node: Record<string, unknown>, path: string): void => {
    for (const [name, property] of Object.entries(
      (node['properties'] ?? {}) as Record<string, Record<string, unknown>>,
    )) {
      t.type(property['description'], 'string', `${path}${name}`);
      walk(property, `${path}${name}.`);
    }
    for (const entry of Object.values(
      (node['patternProperties'] ?? {}) as Record<string, Record<string, unknown>>,
    )) {
      walk(entry, `${path}NAME.`);
    }
    if (node['items'] !== undefined) walk(node['items'] as Record<string, unknown>, `${path}[].`);
  };
  walk(schemas.sello, '');
  walk(schemas.kes, '');
});

t.test('the published schemas take the examples and refuse a misspelt field in them', async (t) => {
  const examples = {
    'sello-minimal.yaml': schemas.sello,
    'sello-multi-tenant.yaml': schemas.sello,
    'sello-vault.yaml': schemas.sello,
    'sello-transit.yaml': schemas.sello,
    'sello-replicas.yaml': schemas.sello,
    'sello-operators.yaml': schemas.sello,
    'sello-rustfs.yaml': schemas.sello,
    'kes-fs.yaml': schemas.kes,
  };
  for (const [name, schema] of Object.entries(examples)) {
    t.ok(Check(schema, dropEmpty(parseYaml(example(name)))), name);
    t.notOk(
      Check(schema, dropEmpty(parseYaml(`${example(name)}\ntennants: []\n`))),
      `${name} with a wrong field`,
    );
    const wrong = example(name).replace(/^(\s+)cert: /m, '$1certificate: ');
    t.notOk(Check(schema, dropEmpty(parseYaml(wrong))), `${name} with a wrong field deep inside`);
  }
});

/** KES samples write `field: ''` for a field that is not there; editors are right to point at it. */
function dropEmpty(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(dropEmpty);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, entry]) => entry !== '')
      .map(([name, entry]) => [name, dropEmpty(entry)]),
  );
}

t.test('each example loads and passes the check', async (t) => {
  const folder = t.testdir({ keys: {}, blue: {}, green: {}, audit: {}, credentials: {} });
  const put = (from: string, to: string) => {
    copyFileSync(join(pki, from), join(folder, to));
    return join(folder, to);
  };
  mkdirSync(join(folder, 'storage'));
  writeFileSync(join(folder, 'root.key'), 'r'.repeat(44), { mode: 0o600 });
  writeFileSync(join(folder, 'credentials/blue-root'), 'r'.repeat(44), { mode: 0o600 });
  const id = (letter: string) => letter.repeat(64);
  const env = {
    SELLO_TLS_CERT: put('server.crt', 'server.crt'),
    SELLO_TLS_KEY: put('server.key', 'server.key'),
    SELLO_AUDIT_FOLDER: join(folder, 'audit'),
    SELLO_ADMIN: id('a'),
    SELLO_ADMIN_IDENTITY: id('a'),
    SELLO_CLIENT_CA: put('ca.crt', 'ca.crt'),
    SELLO_KEYS: join(folder, 'storage'),
    SELLO_ROOT_KEY: join(folder, 'root.key'),
    SELLO_CONSOLE_SECRET: join(folder, 'root.key'),
    SELLO_LDAP_PASSWORD: join(folder, 'root.key'),
    CREDENTIALS_DIRECTORY: join(folder, 'credentials'),
    BLUE_ADMIN: id('1'),
    BLUE_NODE: id('2'),
    BLUE_BACKUP: id('3'),
    BLUE_CA: join(folder, 'ca.crt'),
    BLUE_KEYS: join(folder, 'blue'),
    GREEN_PROXY: id('4'),
    GREEN_NODE: id('5'),
    GREEN_CA: put('catrue.crt', 'green-ca.crt'),
    GREEN_KEYS: join(folder, 'green'),
    GREEN_ROOT_KEY: join(folder, 'root.key'),
    KES_ADDRESS: '127.0.0.1:7373',
    KES_ADMIN: id('a'),
    KES_MINIO: id('b'),
    KES_TLS_KEY: join(folder, 'server.key'),
    KES_TLS_CERT: join(folder, 'server.crt'),
    KES_KEYS: join(folder, 'keys'),
  };
  const load = async (name: string) => {
    const config = await loadConfig(join(root, 'config', name), { env });
    const notices = await checkConfig(config, { env, nowMs: Date.UTC(2026, 11, 1) });
    const faults = [...config.warnings, ...notices].filter(({ failsCheck }) => failsCheck);
    return { config, faults: faults.map(({ message }) => message) };
  };
  const minimal = await load('sello-minimal.yaml');
  t.match(minimal.config.tenants, [
    { name: 'storage', keystore: { kind: 'file', path: join(folder, 'storage') } },
  ]);
  t.same(minimal.faults, []);
  const operators = await load('sello-operators.yaml');
  t.match(operators.config.operators, { oidc: [{ name: 'corporate' }], ldap: [{ name: 'office' }] });
  t.equal(operators.config.tenants[0]!.lifecycle.dualControl, true);
  t.same(operators.faults, []);
  const rustfs = await load('sello-rustfs.yaml');
  t.match(rustfs.config.tenants, [{ transit: { approle: { rustfs: { policy: 'rustfs' } } } }]);
  t.same(rustfs.faults, []);
  const multi = await load('sello-multi-tenant.yaml');
  t.same(
    multi.config.tenants.map(({ name }) => name),
    ['blue', 'green'],
  );
  t.match(
    multi.faults,
    [/not valid for server name 'kms.example.org'/],
    'the stand-in certificate is for localhost',
  );
  t.equal(multi.faults.length, 1);
  const kes = await load('kes-fs.yaml');
  t.match(kes.config.tenants, [{ name: 'default', keystore: { kind: 'fs' }, keys: ['minio-default-key'] }]);
  t.same(kes.faults, []);
  t.same(kes.config.warnings, []);
});
