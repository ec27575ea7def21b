import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { describeSecret, parseConfig, readSecret } from '../../src/config/index.ts';
import { hasCode } from '../../src/errors.ts';
import { problemsOf, refuses } from './problems.ts';

const id = (letter: string) => letter.repeat(64);

const minimal = `version: sello/v1
listeners:
  - address: 0.0.0.0:7373
    tls: { cert: server.crt, key: server.key }
tenants:
  - name: acme
    clients: { ca: ca.crt }
    keystore: { file: { path: keys, rootKey: { env: ROOT } } }
`;

/** The minimal file with `more` in its tenant. */
const withTenant = (more: string) => minimal + more.replace(/^/gm, '    ');
const parse = (text: string, env: Record<string, string> = {}) =>
  parseConfig(text, { env, file: '/etc/sello/sello.yaml', workingDirectory: '/somewhere/else' });

t.test('a new tenant is strict by default', async (t) => {
  const config = parse(minimal);
  t.equal(config.dialect, 'sello');
  t.equal(config.listeners[0]?.tls.minVersion, 'TLSv1.3');
  t.match(config.tenants[0], {
    name: 'acme',
    admins: [],
    policies: [],
    clients: { auth: 'on', staleCrl: 'refuse', requireClientAuthEku: true, proxy: undefined },
    audit: { mode: 'written', deadlineMs: 2000 },
    keystore: { kind: 'file', rootKey: { from: 'env', name: 'ROOT' } },
  });
  t.same(config.warnings, []);
});

t.test('limits are safe by default', async (t) => {
  t.same(parse(minimal).limits, {
    maxConnections: 10_000,
    maxRequestsInFlight: 4096,
    headersTimeoutMs: 5000,
    requestTimeoutMs: 30_000,
    idleTimeoutMs: 90_000,
    handshakeTimeoutMs: 5000,
    maxHeaderBytes: 16_384,
    maxConnectionAgeMs: 3_600_000,
    shutdownTimeoutMs: 30_000,
    http2: {
      maxConcurrentStreams: 250,
      maxResetsPerSecond: 200,
      maxSettings: 32,
      maxOutstandingPings: 10,
      maxSessionMemoryMb: 10,
    },
  });
});

t.test('relative paths start at the folder of the file', async (t) => {
  const config = parse(minimal);
  t.equal(config.listeners[0]?.tls.certFile, '/etc/sello/server.crt');
  t.equal(config.tenants[0]?.clients.caFile, '/etc/sello/ca.crt');
  t.match(config.tenants[0]?.keystore, { path: '/etc/sello/keys' });
});

t.test('each tenant has a chained trail of its own, and so has the server', async (t) => {
  const config = parse(minimal.replace('tenants:', 'audit: { folder: /var/log/sello }\ntenants:'));
  t.match(config.serverAudit, { path: '/var/log/sello/_server', trail: { compression: 'zstd' } });
  t.match(config.tenants[0]?.audit, { path: '/var/log/sello/acme', trail: { release: 'written', ship: [] } });
});

t.test('rules: operations with keys and conditions, or a KES pattern', async (t) => {
  const config = parse(
    withTenant(`policies:
  app:
    identities: [${id('a')}]
    allow:
      - operations: [issue, unwrap]
        keys: [app-*, other]
        conditions:
          context: { bucket: photos/* }
          sources: [10.0.0.0/8, 192.168.1.1]
          timeOfDay: 22:00-06:00
          ratePerSecond: 10
      - kes: /v1/key/generate/app*
    deny:
      - operations: ['*']
`),
  );
  t.same(config.tenants[0]?.policies, [
    {
      name: 'app',
      identities: [id('a')],
      allow: [
        {
          kind: 'operations',
          operations: ['issue', 'unwrap'],
          keys: ['app-*', 'other'],
          conditions: {
            context: { bucket: 'photos/*' },
            sources: ['10.0.0.0/8', '192.168.1.1/32'],
            timeOfDay: '22:00-06:00',
            ratePerSecond: 10,
          },
        },
        { kind: 'kes', pattern: '/v1/key/generate/app*', matching: 'prefix' },
      ],
      deny: [{ kind: 'operations', operations: ['*'], keys: [], conditions: {} }],
    },
  ]);
});

t.test('rules that cannot mean what they say are refused', async (t) => {
  const rule = (text: string) => problemsOf(withTenant(`policies: { p: { allow: [ ${text} ] } }`)).join('\n');
  t.match(rule('{ keys: [a] }'), "a rule needs 'operations' or 'kes'");
  t.match(rule('{ kes: /v1/*, operations: [issue] }'), "a rule with 'kes' has nothing else in it");
  t.match(rule('{ kes: /v1/*/x }'), /special only as the last character/);
  t.match(rule('{ operations: [decript] }'), /'decript' but must be one of create/);
  t.match(rule("{ operations: [issue], keys: ['a*b'] }"), "'*' may only be the last character");
  t.match(
    rule('{ operations: [issue], conditions: { sources: [10.0.0.0/33] } }'),
    /must be an IP address or a CIDR/,
  );
  t.match(rule('{ operations: [issue], conditions: { timeOfDay: 25:00-01:00 } }'), /must be a time of day/);
  t.match(rule('{ operations: [issue], conditions: { timeOfDay: 01:00-01:00 } }'), /must be a time of day/);
});

t.test('`auth: on` names its CAs, or says that it means the system’s', async (t) => {
  const ca = (text: string) => minimal.replace('{ ca: ca.crt }', text);
  refuses(t, ca('{}'), [/^7: 'clients.ca' is missing/]);
  t.equal(parse(ca('{ ca: system }')).tenants[0]?.clients.caFile, undefined);
  const off = parse(ca('{ auth: off, ca: ca.crt }'));
  t.match(off.warnings, [{ message: /'clients.ca' has no effect/, line: 7, failsCheck: true }]);
  t.same(parse(ca('{ auth: off }')).warnings, []);
});

t.test('a keystore is exactly one, and a root key comes from exactly one place', async (t) => {
  const keystore = (text: string) =>
    problemsOf(minimal.replace(/keystore: .*/, `keystore: ${text}`)).join('\n');
  t.match(
    keystore('{}'),
    /^8: 'tenants.0.keystore' must have exactly one of: file, fs, vaultKv, vaultTransit, memory$/,
  );
  t.match(
    keystore('{ memory: {}, fs: { path: x } }'),
    /must have exactly one of: file, fs, vaultKv, vaultTransit, memory/,
  );
  t.match(keystore('{ file: { path: x } }'), "'tenants.0.keystore.file.rootKey' is missing");
  t.match(
    keystore('{ file: { path: x, rootKey: { env: A, file: b } } }'),
    /exactly one of: file, env, credential/,
  );
  t.match(
    keystore('{ file: { path: x, rootKey: 0102030405 } }'),
    /rootKey' must be a mapping/,
    'never inline',
  );
  t.match(keystore('{ file: { path: x, rootKey: { credential: ../x } } }'), /name of a systemd credential/);
});

t.test('master keys in Transit: what is not written has a default', async (t) => {
  const login = 'login: { token: { env: T } }';
  const keystore = (more: string) =>
    minimal.replace(
      /keystore: .*/,
      `keystore: { vaultTransit: { addresses: ['https://vault:8200'], ${login}${more} } }`,
    );
  const made = parse(keystore('')).tenants[0]!;
  t.match(made.keystore, {
    kind: 'vault-kv',
    version: 2,
    engine: 'kv',
    prefix: made.name,
    recordsPrefix: `${made.name}.sello`,
    transit: { engine: 'transit', key: `sello-${made.name}` },
    custody: {
      kind: 'cached',
      engine: 'transit',
      keyPrefix: `sello-${made.name}-`,
      maxAgeMs: 86_400_000,
      maxUses: 10_000_000,
    },
  });
  t.match(parse(keystore(', mode: strict, transit: { keyPrefix: k- }')).tenants[0]?.keystore, {
    custody: { kind: 'strict', keyPrefix: 'k-' },
  });
  t.match(problemsOf(keystore(', version: 1')).join(), /unknown field 'version'/);
  t.match(problemsOf(keystore(', mode: fast')).join(), /mode/);
});

t.test('keys in memory are said loudly', async (t) => {
  const config = parse(minimal.replace(/keystore: .*/, 'keystore: { memory: { } }'));
  t.same(config.tenants[0]?.keystore, { kind: 'memory' });
  t.match(config.warnings, [{ message: /lost when the process ends/, failsCheck: true }]);
});

t.test('a file that is plainly Sello’s is told to say so', async (t) => {
  refuses(t, minimal.replace('version: sello/v1\n', ''), [
    "1: 'listeners' is a field of Sello's own files: begin them with 'version: sello/v1'",
  ]);
  refuses(t, minimal.replace('sello/v1', 'sello/v2'), [/^1: version 'sello\/v2' is not known/]);
});

t.test('an unknown field is refused wherever it is', async (t) => {
  t.same(problemsOf(withTenant('quotas: {}')), [
    "9: unknown field 'quotas' in 'tenants.0'; did you mean 'quota'?",
  ]);
  t.same(problemsOf(minimal.replace('tls: {', 'tls: { ciphers: x,')), [
    "4: unknown field 'ciphers' in 'listeners.0.tls'",
  ]);
});

t.test('names and routes of the KES face are checked', async (t) => {
  refuses(t, minimal.replace('acme', 'Acme'), [/^6: .*must be a tenant name/]);
  refuses(t, withTenant('keys: [-a]'), [/must be a key name/]);
  refuses(t, withTenant('policies: { "a b": {} }'), [/'a b' is no name for a policy/]);
  refuses(t, withTenant('kes: { routes: { /v1/nope: {} } }'), [/unknown route/]);
  refuses(t, withTenant(`admins: [${id('A')}]`), [/an identity is written in lower case/]);
});

t.test('the password of a TLS key comes from outside', async (t) => {
  const file = minimal.replace('key: server.key', 'key: server.key, keyPassword: { env: PW }');
  t.equal(parse(file, { PW: 'open sesame\n' }).listeners[0]?.tls.keyPassword, 'open sesame');
  refuses(t, file, ["4: 'keyPassword': environment variable 'PW' is not set"]);
});

t.test('secrets are read as bytes, without the last line end', async (t) => {
  const folder = t.testdir({});
  const path = join(folder, 'root.key');
  writeFileSync(path, Buffer.from([1, 2, 0x0a, 3, 0x0d, 0x0a]));
  const expected = Buffer.from([1, 2, 0x0a, 3]);
  t.same(readSecret({ from: 'file', path }), expected);
  t.same(readSecret({ from: 'credential', name: 'root.key' }, { CREDENTIALS_DIRECTORY: folder }), expected);
  t.same(readSecret({ from: 'env', name: 'K' }, { K: 'abc' }), Buffer.from('abc'));
  t.equal(describeSecret({ from: 'credential', name: 'x' }), "credential 'x'");
  const refused = (read: () => unknown, detail: RegExp) => {
    try {
      read();
      t.fail('read');
    } catch (error) {
      t.ok(hasCode(error, 'SELLO_CONFIG_INVALID') && detail.test(error.detail ?? ''), String(detail));
    }
  };
  refused(() => readSecret({ from: 'env', name: 'K' }, {}), /'K' is not set/);
  refused(() => readSecret({ from: 'env', name: 'K' }, { K: '\n' }), /is empty/);
  refused(() => readSecret({ from: 'credential', name: 'x' }, {}), /CREDENTIALS_DIRECTORY is not set/);
  refused(() => readSecret({ from: 'file', path: join(folder, 'absent') }), /cannot be read \(ENOENT\)/);
});

t.test('a path that ends in a slash is a trail, another one a plain file', async (t) => {
  const auditOf = (text: string) =>
    parse(minimal.replace('name: acme', `name: acme\n    audit: ${text}`)).tenants[0]!.audit;
  t.match(auditOf('{ path: /log/acme.jsonl }'), { path: '/log/acme.jsonl', trail: undefined });
  t.match(auditOf('{ path: "-" }'), { path: '-', trail: undefined });
  t.match(
    auditOf(
      '{ path: /log/acme/, signingKey: /k.pem, checkpoint: { interval: 1s, records: 5 }, segment: { size: 1MiB, age: 1h, compression: none }, release: shipped, ship: [{ webhook: { url: "https://siem.example/in" } }, { syslog: { server: "logs.example:6514" } }] }',
    ),
    {
      path: '/log/acme',
      trail: {
        signingKey: '/k.pem',
        checkpointRecords: 5,
        checkpointMs: 1_000,
        segmentBytes: 1_048_576,
        segmentAgeMs: 3_600_000,
        compression: 'none',
        release: 'shipped',
        ship: [
          { kind: 'webhook', url: 'https://siem.example/in', format: 'ecs' },
          { kind: 'syslog', host: 'logs.example', port: 6514 },
        ],
      },
    },
  );
  t.throws(() => auditOf('{ path: /log/acme/, ship: [{ webhook: { url: "http://siem.example/in" } }] }'), {
    code: 'SELLO_CONFIG_INVALID',
  });
  t.throws(() => auditOf('{ path: /log/acme/, ship: [{ webhook: { url: "https://u:p@siem.example/" } }] }'), {
    code: 'SELLO_CONFIG_INVALID',
  });
});

t.test('two tenants do not share a folder of one Vault', async (t) => {
  const file = (one: string, other: string) => `version: sello/v1
listeners: [{ address: '127.0.0.1:0', tls: { cert: s.crt, key: s.key } }]
tenants:
  - name: one
    clients: { auth: off }
    keystore: { vaultKv: { login: { agent: {} }, addresses: ['https://a:8200'], ${one} } }
  - name: two
    clients: { auth: off }
    keystore: { vaultKv: { login: { agent: {} }, addresses: ['https://b:8200', 'https://a:8200'], ${other} } }
`;
  const shared = /share a folder of Vault/;
  t.same(problemsOf(file('', '')), [], 'each has the folder of its name');
  t.match(problemsOf(file('prefix: kes', 'prefix: kes')).join(), shared);
  t.match(problemsOf(file('prefix: kes', 'prefix: kes/two')).join(), shared, 'one below the other');
  t.match(problemsOf(file('prefix: kes', 'prefix: kes.sello')).join(), shared, 'keys in the other’s records');
  t.match(problemsOf(file('prefix: /', '')).join(), shared, 'the top of the engine holds all');
  t.same(problemsOf(file('prefix: kes', 'prefix: kes, engine: kv2')), []);
  t.same(problemsOf(file('prefix: kes, namespace: x', 'prefix: kes, namespace: y')), []);
  t.match(problemsOf(file('prefix: a, records: a/b', '')).join(), /must not be in one another/);
});
