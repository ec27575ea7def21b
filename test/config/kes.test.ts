import { readFileSync } from 'node:fs';
import { inspect, isDeepStrictEqual } from 'node:util';
import t from 'tap';
import { ConfigError, parseConfig } from '../../src/config/index.ts';
import { hasCode } from '../../src/errors.ts';
import { problemsOf, refuses } from './problems.ts';

interface Recorded {
  readonly filesystem: Record<string, string>;
  readonly vault: Record<string, string>;
  readonly refused: { name: string; config: string; stderr: string | null }[];
}

const recorded = JSON.parse(
  readFileSync(new URL('fixtures/recorded.json', import.meta.url), 'utf8'),
) as Recorded;

const admin = 'a'.repeat(64);
const app = 'b'.repeat(64);

/** A KES file with `more` at its end. */
const kes = (more = '', head = `admin: { identity: ${admin} }`) => `version: v1
${head}
tls: { key: ./server.key, cert: ./server.crt }
keystore: { fs: { path: ./keys } }
${more}`;

const parse = (text: string, env: Record<string, string> = {}) =>
  parseConfig(text, { env, file: '/etc/kes/config.yml', workingDirectory: '/srv/kes' });

t.test('the configurations of recorded KES servers load as they are', async (t) => {
  for (const [name, text] of Object.entries(recorded.filesystem)) {
    const config = parse(text);
    t.equal(config.dialect, 'kes', name);
    t.equal(config.tenants.length, 1, `${name} is one tenant`);
    t.match(config.tenants[0], { name: 'default', keystore: { kind: 'fs', path: '/srv/kes/keys' } }, name);
    t.match(config.listeners, [{ host: '127.0.0.1', port: 27543, tls: { minVersion: 'TLSv1.2' } }], name);
    t.equal(config.probes, undefined, `${name} opens no probes listener`);
    t.same(config.serverAudit.path, '-', `${name} writes audit records to standard output`);
  }
});

t.test('the configurations of recorded KES servers on Vault load as they are', async (t) => {
  for (const [name, text] of Object.entries(recorded.vault)) {
    const config = parse(text);
    t.same(config.warnings, [], name);
    const isV2 = name.includes('kv2');
    t.match(
      config.tenants[0]?.keystore,
      {
        kind: 'vault-kv',
        version: isV2 ? 2 : 1,
        vault: { addresses: ['http://127.0.0.1:8200'], login: { method: 'approle' }, pingMs: 10_000 },
        transit: name.includes('transit') ? { engine: 'transit', key: 'kes-wrap' } : undefined,
      },
      name,
    );
  }
});

const vault = (fields: string) => kes().replace('fs: { path: ./keys }', `vault: { ${fields} }`);
const approle = 'endpoint: "https://vault:8200", approle: { id: role-id, secret: secret-id-that-is-secret }';

t.test('a Vault’s fields mean what they mean in KES', async (t) => {
  const { keystore } = parse(vault(approle)).tenants[0]!;
  if (keystore.kind !== 'vault-kv') throw new Error('another kind');
  t.match(keystore, { engine: 'kv', version: 1, prefix: '', transit: undefined, recordsPrefix: undefined });
  t.match(keystore.vault, {
    addresses: ['https://vault:8200'],
    namespace: '',
    login: { method: 'approle', mount: 'approle', namespace: '', wrappedFor: undefined },
  });
  t.notMatch(JSON.stringify(keystore), 'secret-id-that-is-secret');
  t.notMatch(inspect(keystore, { depth: 9, showHidden: true }), 'secret-id-that-is-secret');
  const other = parse(vault(approle.replace('secret-id-that', 'another-that'))).tenants[0]!.keystore;
  t.notOk(isDeepStrictEqual(keystore, other), 'a reload sees another secret');
  t.ok(isDeepStrictEqual(keystore, parse(vault(approle)).tenants[0]!.keystore), 'and the same one');

  const full = parse(
    vault(
      `${approle.replace('id: role-id', 'id: role-id, engine: team/approle, namespace: /')}, namespace: ns1/, engine: /team/kv/, version: v2, prefix: /my/keys/, ` +
        'transit: { key: wrap }, tls: { ca: ca.crt, cert: c.crt, key: c.key }, status: { ping: 30s }',
    ) + 'sello: { vault: { addresses: ["https://b:8200"], timeout: 4s } }\n',
  ).tenants[0]!.keystore;
  t.match(full, {
    engine: 'team/kv',
    version: 2,
    prefix: 'my/keys',
    recordsPrefix: 'my/keys.sello',
    transit: { engine: 'transit', key: 'wrap' },
    vault: {
      addresses: ['https://vault:8200', 'https://b:8200'],
      namespace: 'ns1',
      tls: { caFile: '/srv/kes/ca.crt', certFile: '/srv/kes/c.crt', keyFile: '/srv/kes/c.key' },
      login: { mount: 'team/approle', namespace: '' },
      timeoutMs: 4000,
      pingMs: 30_000,
    },
  });
  const jwt = parse(vault('endpoint: "https://vault:8200", kubernetes: { role: kes, jwt: /var/run/token }'));
  t.match(jwt.tenants[0]!.keystore, {
    vault: {
      login: {
        method: 'kubernetes',
        mount: 'kubernetes',
        role: 'kes',
        jwt: { from: 'file', path: '/var/run/token' },
      },
    },
  });
});

t.test('what is wrong with a Vault is said at its line', async (t) => {
  const said = (fields: string) => problemsOf(vault(fields)).join('\n');
  t.match(said('endpoint: "https://vault:8200"'), /4: .*neither 'approle' nor 'kubernetes'/);
  t.match(said(`${approle}, kubernetes: { role: kes }`), /both given/);
  t.match(
    said(approle.replace('https://vault:8200', 'https://vault:8200/v1')),
    /must be an address of Vault/,
  );
  t.match(said(approle.replace('https://vault', 'https://me:pass@vault')), /must be an address of Vault/);
  t.match(said(`${approle}, prefix: a/../b`), /must be a mount or folder/);
  t.match(said(`${approle}, version: v3`), /must be one of: v1, v2/);
  t.match(said(`${approle}, tls: { cert: c.crt }`), /needs both 'cert' and 'key'/);
  t.match(said(`${approle}, transit: { key: "a/b" }`), /must be the name of a role or key/);
  t.match(said(`${approle}, prefx: a`), /did you mean 'prefix'/);
  const old = parse(vault(approle.replace('id: role-id', 'id: role-id, retry: 15s')));
  t.match(old.warnings, [{ message: /approle.retry' is an old field without effect/ }]);
});

t.test('what KES refuses is refused in the words that KES uses', async (t) => {
  for (const { name, config, stderr } of recorded.refused) {
    const problems = problemsOf(config).join('\n');
    if (stderr === null) t.match(problems, "unknown route '/v1/nope'", `${name}: stricter than KES`);
    else t.match(problems, stderr.replace(/^(?:kes|kesconf|edge): /, ''), name);
  }
});

t.test('another cloud’s keystore is refused by name', async (t) => {
  const stores = {
    aws: 'secretsmanager: { endpoint: x }',
    gcp: 'secretmanager: { project_id: x }',
    azure: 'keyvault: { endpoint: x }',
    gemalto: 'keysecure: { endpoint: x }',
    fortanix: 'sdkms: { endpoint: x }',
    entrust: 'keycontrol: { endpoint: x }',
  };
  for (const [name, settings] of Object.entries(stores)) {
    const text = kes().replace('fs: { path: ./keys }', `${name}: { ${settings} }`);
    const [problem, ...more] = problemsOf(text);
    t.match(problem, new RegExp(`^4: keystore '${name}' \\(.+\\) is not supported$`));
    t.same(more, []);
  }
  refuses(t, kes().replace('fs:', 'vualt:'), [
    "4: unknown field 'vualt' in 'keystore'; did you mean 'vault'?",
  ]);
});

t.test('defaults are KES’s, and an explicit `any` is not overwritten', async (t) => {
  const plain = parse(kes());
  t.match(plain.listeners, [{ host: '0.0.0.0', port: 7373 }]);
  t.match(plain.tenants[0], {
    admins: [admin],
    clients: { auth: 'off', caFile: undefined, requireClientAuthEku: false, proxy: undefined },
    cache: { expiryMs: 300_000, unusedMs: 30_000, offlineMs: 0 },
    audit: { mode: 'written', path: '-' },
    kes: { errorTexts: 'current', lists: 'json', routes: {} },
  });
  t.match(plain.limits, { idleTimeoutMs: 90_000, headersTimeoutMs: 5000, maxConnectionAgeMs: 0 });
  t.equal(plain.log.level, 'info');
  t.match(parse(kes('cache: { expiry: { any: 1h30m } }')).tenants[0]?.cache, {
    expiryMs: 5_400_000,
    unusedMs: 30_000,
  });
});

t.test('relative paths start at the working directory, as in KES', async (t) => {
  const { tls } = parse(kes()).listeners[0]!;
  t.equal(tls.certFile, '/srv/kes/server.crt');
  t.equal(tls.keyFile, '/srv/kes/server.key');
});

t.test('an admin that is no identity means that there is no admin', async (t) => {
  const disabled = parse(kes('', 'admin: { identity: disabled }'));
  t.same(disabled.tenants[0]?.admins, []);
  t.same(disabled.warnings, [], '`disabled` is meant so');
  const shouted = parse(kes('', `admin: { identity: ${admin.toUpperCase()} }`));
  t.same(shouted.tenants[0]?.admins, []);
  t.match(shouted.warnings, [{ message: /there is no admin/, line: 2, failsCheck: true }]);
});

t.test('the admin is in no policy and no proxy list', async (t) => {
  const inPolicy = kes(`policy: { p: { identities: [${app}, ${admin}] } }`);
  refuses(t, inPolicy, [/^5: cannot assign policy 'p' to 'a{64}': it is the admin's identity/]);
  const proxy = kes().replace('server.crt }', `server.crt, proxy: { identities: [${admin}] } }`);
  refuses(t, proxy, [/^3: the admin 'a{64}' cannot be a proxy/]);
});

t.test('patterns that match nothing are named loudly, and the server still starts', async (t) => {
  const policy = `policy:
  p:
    allow: [/v1/key/generate/app*, '/v1/key/describe/[a]pp']
    deny: [/v1/key/*/secret]`;
  const config = parse(kes(policy));
  t.match(config.warnings, [
    { line: 7, failsCheck: true, message: /'\[' is not special/ },
    { line: 8, failsCheck: true, message: /DENIES NOTHING/ },
  ]);
  t.equal(config.warnings.length, 2);
  const glob = parse(kes(`${policy}\nsello: { patterns: glob }`));
  t.same(glob.warnings, [], 'the old rules give these patterns their meaning');
  t.same(glob.tenants[0]?.policies[0]?.deny, [
    { kind: 'kes', pattern: '/v1/key/*/secret', matching: 'glob' },
  ]);
  t.match(parse(kes(`policy: { p: { deny: ['/v1/[a'] } }\nsello: { patterns: glob }`)).warnings, [
    { message: /not a valid glob/, failsCheck: true },
  ]);
});

t.test('variables in patterns stay as they are, as in KES', async (t) => {
  const config = parse(kes("policy: { p: { allow: ['${PREFIX}*'] } }"), { PREFIX: '/v1/' });
  t.same(config.tenants[0]?.policies[0]?.allow, [{ kind: 'kes', pattern: '${PREFIX}*', matching: 'prefix' }]);
  t.match(config.warnings, [{ message: /variables are not replaced/, failsCheck: true }]);
});

t.test('skip_auth is honoured on harmless routes alone', async (t) => {
  const config = parse(
    kes(`api:
  /v1/ready: { skip_auth: true }
  /version: { skip_auth: on, timeout: 17s }
  /v1/key/generate/: { skip_auth: true, timeout: 3s }
  /v1/log/audit: { skip_auth: true }`),
  );
  t.same(config.tenants[0]?.kes.routes, {
    '/v1/ready': { skipAuth: true, timeoutMs: undefined },
    '/version': { skipAuth: true, timeoutMs: 17_000 },
    '/v1/key/generate/': { skipAuth: false, timeoutMs: 3000 },
    '/v1/log/audit': { skipAuth: false, timeoutMs: undefined },
  });
  t.match(config.warnings, [
    { line: 8, failsCheck: true, message: /IGNORED/ },
    { line: 9, failsCheck: true, message: /IGNORED/ },
  ]);
  t.same(problemsOf(kes('api: { /v1/key/generate: { timeout: 3s } }')), [
    "5: unknown route '/v1/key/generate'; did you mean '/v1/key/generate/'?",
  ]);
});

t.test('log levels are slog’s', async (t) => {
  const levels = {
    on: 'info', 'off': 'silent', DEBUG: 'debug', 'DEBUG-1': 'trace', 'INFO+2': 'warn', info: 'info', warn: 'warn',
    ERROR: 'error', 'ERROR+1': 'silent', '-4': 'debug', '4': 'warn', '8': 'error', '-3': 'info',
  }; // prettier-ignore
  for (const [text, level] of Object.entries(levels)) {
    t.equal(parse(kes(`log: { error: ${text} }`)).log.level, level, text);
  }
  refuses(t, kes('log: { error: loud }'), [/^5: 'log.error' must be on, off/]);
});

t.test(
  'audit is off where KES would print no audit events, unless Sello’s own section says otherwise',
  async (t) => {
    const modeOf = (more: string) => parse(kes(more)).tenants[0]?.audit.mode;
    t.equal(modeOf('log: { audit: off }'), 'off');
    t.equal(modeOf('log: { audit: WARN }'), 'off');
    t.equal(modeOf('log: { audit: DEBUG }'), 'written');
    const own = parse(
      kes('log: { audit: off }\nsello: { audit: { mode: synced, path: ./audit.jsonl, deadline: 500ms } }'),
    );
    t.match(own.tenants[0]?.audit, { mode: 'synced', path: '/srv/kes/audit.jsonl', deadlineMs: 500 });
  },
);

t.test('a file of KES v0.13 loads, each old field with a warning at its line', async (t) => {
  const config = parse(`address: 0.0.0.0:7373
root: ${admin}
tls: { key: server.key, cert: server.crt }
proxy:
  identities: [${'c'.repeat(64)}]
  header: { cert: X-Tls-Client-Cert }
policy:
  my-app:
    paths: [/v1/key/create/my-app*]
    identities: [${app}]
cache: { expiry: { any: 5m0s, unused: 20s } }
log: { error: on, audit: off }
keys:
  fs: { path: ./keys }
  vault: { endpoint: "", approle: { id: "", secret: "", retry: 15s }, status: { ping: 10s } }
  aws: { secretsmanager: { endpoint: "", region: "" } }
`);
  t.match(config.tenants[0], {
    admins: [admin],
    clients: { proxy: { identities: ['c'.repeat(64)], header: 'x-tls-client-cert' } },
    policies: [{ name: 'my-app', allow: [{ pattern: '/v1/key/create/my-app*' }], identities: [app] }],
    keystore: { kind: 'fs', path: '/srv/kes/keys' },
    audit: { mode: 'off' },
  });
  t.same(
    config.warnings.map(({ message, line, failsCheck }) => [line, message, failsCheck]),
    [
      [2, "'root' is an old field: write 'admin.identity'", false],
      [4, "'proxy' is an old field: write 'tls.proxy'", false],
      [9, "'policy.my-app.paths' is an old field: write 'policy.my-app.allow'", false],
      [13, "'keys' is an old field: write 'keystore'", false],
    ],
  );
});

t.test('an old and a new form of one field at once is refused', async (t) => {
  refuses(t, kes(`root: ${admin}`), ["5: 'root' and 'admin.identity' are both given"]);
  refuses(t, kes('keys: { fs: { path: x } }'), ["5: 'keys' and 'keystore' both name a keystore"]);
});

t.test('a list of keys is keys to create', async (t) => {
  t.same(parse(kes('keys: [{ name: one }, { name: two }]')).tenants[0]?.keys, ['one', 'two']);
});

t.test('the `sello` section brings what KES does not have', async (t) => {
  const config = parse(
    kes(`sello:
  errorTexts: 2021
  lists: ndjson
  probes: 127.0.0.1:7374
  processes: 2
  minTlsVersion: TLSv1.3
  limits: { maxRequestsInFlight: 100, maxHeaderBytes: 32KiB, http2: { maxConcurrentStreams: 10 } }
  cache: { maxEntries: 5, negative: 0s }`),
  );
  t.match(config, {
    processes: 2,
    probes: { host: '127.0.0.1', port: 7374 },
    limits: {
      maxRequestsInFlight: 100,
      maxHeaderBytes: 32_768,
      http2: { maxConcurrentStreams: 10, maxSettings: 32 },
    },
    listeners: [{ tls: { minVersion: 'TLSv1.3' } }],
    tenants: [
      {
        kes: { errorTexts: '2021', lists: 'ndjson' },
        cache: { maxEntries: 5, negativeMs: 0 },
        quota: { maxRequestsInFlight: 100 },
      },
    ],
  });
  refuses(t, kes('sello: { probes: 127.0.0.1:7373 }'), [/two listeners have the address/]);
});

t.test('the audit file is not written into the keystore', async (t) => {
  refuses(t, kes('sello: { audit: { path: ./keys/audit.jsonl } }'), [
    /^5: tenant 'default' writes its audit file into the keystore/,
  ]);
});

t.test('every problem is told at once, in the order of the file, with suggestions', async (t) => {
  const problems = problemsOf(`version: v1
adress: 1.2.3.4:5
admin: { identiy: x }
tls: { key: a, cert: b, auth: maybe }
cache: { expiry: { any: 5 minutes } }
keystore: { fs: { pat: x } }
`);
  t.same(problems, [
    "2: unknown field 'adress'; did you mean 'address'?",
    "3: unknown field 'identiy' in 'admin'; did you mean 'identity'?",
    '3: invalid admin identity: no admin identity',
    "4: 'tls.auth' is 'maybe' but must be one of: on, off",
    "5: 'cache.expiry.any' is '5 minutes' but must be a duration such as '5m0s', '1h30m' or '300ms'",
    "6: unknown field 'pat' in 'keystore.fs'; did you mean 'path'?",
    "6: 'keystore.fs.path' is missing",
  ]);
});

t.test('the error has a stable code, and its detail names file, line and column', async (t) => {
  try {
    parseConfig('version: v2\n', { env: {}, file: '/etc/kes.yml' });
    t.fail('not refused');
  } catch (error) {
    t.ok(hasCode(error, 'SELLO_CONFIG_INVALID'));
    t.ok(error instanceof ConfigError);
    t.match((error as ConfigError).detail, /^\/etc\/kes\.yml:1:10: invalid server config version 'v2'$/m);
  }
});
