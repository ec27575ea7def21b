import fc from 'fast-check';
import t from 'tap';
import { auditLine, maxLineBytes, type AuditRecord } from '../../src/audit/index.ts';
import { keyCall } from './fixtures.ts';

t.test('a key call becomes one line with ECS names', async (t) => {
  const line = auditLine(
    keyCall({ contextSha256: 'ab'.repeat(32), certificateSerial: '1f', certificateIssuer: 'CN=ca' }),
  );
  t.match(line, /^\{"@timestamp":"2026-11-23T04:05:06\.078Z",[^\n]*\}\n$/);
  t.strictSame(JSON.parse(line), {
    '@timestamp': '2026-11-23T04:05:06.078Z',
    ecs: { version: '8.11' },
    event: {
      action: 'issue',
      category: ['iam'],
      duration: 250_000,
      kind: 'event',
      outcome: 'success',
      type: ['access', 'allowed'],
    },
    http: { request: { id: '8a3c51b20e7d44f0000001a2', method: 'PUT' }, response: { status_code: 200 } },
    organization: { id: 'acme' },
    rule: { name: 'policy app: allow /v1/key/generate/app*' },
    sello: { context_sha256: 'ab'.repeat(32), decision: 'allow', face: 'kes', key: 'app-key' },
    source: { ip: '192.0.2.7' },
    tls: { client: { issuer: 'CN=ca', x509: { serial_number: '1f' } } },
    url: { path: '/v1/key/generate/app-key' },
    user: { id: 'f5e70f8a8db7182880796cc708b19925469e4e46591fa2598f4b933dbf08ecf8' },
  });
});

t.test('a refusal without a tenant holds no empty fields', async (t) => {
  const line = auditLine({
    timeMs: 0,
    requestId: 'a',
    tenant: undefined,
    face: 'server',
    decision: 'deny',
    status: 403,
    error: 'SELLO_CLIENT_CERTIFICATE_REJECTED',
    reason: 'certificate expired',
    sourceIp: 'unix',
    durationMs: NaN,
    count: 12,
  });
  t.strictSame(JSON.parse(line), {
    '@timestamp': '1970-01-01T00:00:00.000Z',
    ecs: { version: '8.11' },
    error: { code: 'SELLO_CLIENT_CERTIFICATE_REJECTED' },
    event: {
      category: ['iam'],
      duration: 0,
      kind: 'event',
      outcome: 'failure',
      reason: 'certificate expired',
      type: ['access', 'denied'],
    },
    http: { request: { id: 'a' }, response: { status_code: 403 } },
    sello: { count: 12, decision: 'deny', face: 'server' },
    source: { address: 'unix' },
  });
});

/** Strings as an attacker writes them. */
const hostile = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 900 }),
  fc.string({
    unit: fc.constantFrom(
      '\n',
      '\r',
      '\0',
      '\u2028',
      '\u2029',
      '\u202e',
      '\u009b',
      '"',
      '\\',
      '\ud800',
      '\udc00',
      '😀',
      'é',
      '/',
    ),
  }),
  fc.nat({ max: 100_000 }).map((n) => '\u0000'.repeat(n)),
);

const optional = fc.option(hostile, { nil: undefined });

const anyRecord = fc.record({
  timeMs: fc.oneof(fc.double(), fc.integer(), fc.constant(8.64e15)),
  requestId: hostile,
  tenant: optional,
  identity: optional,
  certificateSerial: optional,
  certificateIssuer: optional,
  sourceIp: optional,
  face: hostile,
  method: optional,
  path: optional,
  operation: optional,
  key: optional,
  contextSha256: optional,
  vaultRequestId: optional,
  decision: hostile,
  rule: optional,
  status: fc.double(),
  error: optional,
  reason: optional,
  durationMs: fc.double(),
  count: fc.option(fc.double(), { nil: undefined }),
}) as unknown as fc.Arbitrary<AuditRecord>;

t.test(
  'whatever a record holds, its line is one line of printable ASCII, at most 4 KiB, and parses',
  async (t) => {
    fc.assert(
      fc.property(anyRecord, (record) => {
        const line = auditLine(record);
        if (!/^[ -~]+\n$/.test(line)) throw new Error('not one line of printable ASCII');
        if (line.length > maxLineBytes) throw new Error(`${line.length} bytes`);
        const parsed = JSON.parse(line) as unknown;
        if (!isSorted(parsed)) throw new Error('keys are not sorted');
        if (`${JSON.stringify(parsed)}\n`.replace(/[^\n -~]/g, escapeUnit) !== line)
          throw new Error('not the one form');
      }),
      { numRuns: 500 },
    );
    t.pass();
  },
);

t.test('a short value comes back as it was, whatever its characters', async (t) => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 150 }), (path) => {
      const parsed = JSON.parse(auditLine(keyCall({ path }))) as { url: { path: string } };
      return parsed.url.path === path.toWellFormed();
    }),
  );
  t.pass();
});

t.test('a record with every value at its longest fits', async (t) => {
  for (const unit of ['x', '"', '\u0000', '😀', '\ud800']) {
    const long = unit.repeat(5_000);
    const names = ['requestId', 'tenant', 'identity', 'certificateSerial', 'certificateIssuer', 'sourceIp', 'face', 'method', 'path', 'operation', 'key', 'bucket', 'object', 'traceId', 'contextSha256', 'vaultRequestId', 'decision', 'rule', 'error', 'reason']; // prettier-ignore
    const record = Object.fromEntries(names.map((name) => [name, long]));
    const numbers = { timeMs: 1, status: 1e15, durationMs: 1e9, count: 1e15, keyVersion: 1e15, bytesIn: 1e15, bytesOut: 1e15, phase: 'release', scope: 'bucket', aborted: true }; // prettier-ignore
    const line = auditLine({ ...record, ...numbers } as unknown as AuditRecord);
    t.ok(line.length <= maxLineBytes, `${line.length} bytes`);
    t.equal((JSON.parse(line) as { sello: { cut: string[] } }).sello.cut.length, names.length - 1);
  }
});

t.test('a long value is cut at a character, marked and named', async (t) => {
  const line = auditLine(keyCall({ path: `/v1/key/generate/${'é'.repeat(2_000)}` }));
  const { url, sello } = JSON.parse(line) as { url: { path: string }; sello: { cut: string[] } };
  const [, kept = '', left = ''] = /^(.*)…\(\+(\d+)\)$/.exec(url.path) ?? [];
  t.equal(kept.length + Number(left), 2_017);
  t.match(kept, /^\/v1\/key\/generate\/é+$/);
  t.strictSame(sello.cut, ['url.path']);
});

t.test('a path of 512 plain characters is kept whole', async (t) => {
  const path = `/${'p'.repeat(511)}`;
  t.match(JSON.parse(auditLine(keyCall({ path }))), { url: { path } });
});

t.test('what the type does not name does not appear', async (t) => {
  const record = { ...keyCall(), plaintext: 'c2VjcmV0', headers: { authorization: 'secret' } };
  t.notMatch(auditLine(record), /secret|c2Vj|headers/);
});

function isSorted(value: unknown): boolean {
  if (Array.isArray(value)) return value.every(isSorted);
  if (typeof value !== 'object' || value === null) return true;
  const names = Object.keys(value);
  return names.join('\n') === names.toSorted().join('\n') && Object.values(value).every(isSorted);
}

function escapeUnit(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
