import fc from 'fast-check';
import t from 'tap';
import { auditLine, type AuditRecord } from '../../src/audit/index.ts';
import { usualLine } from '../../src/audit/usual-line.ts';
import { keyCall } from './fixtures.ts';

const some = (...values: (string | undefined)[]): fc.Arbitrary<string | undefined> =>
  fc.constantFrom(...values);
const long = 'x'.repeat(2_000);

/** Of few values each, so that records meet shapes of others that differ in one field. */
const record = fc.record({
  timeMs: fc.nat(2_000_000_000_000),
  requestId: fc.constantFrom('8a3c51b20e7d44f0000001a2', 'id"', long),
  traceId: some(undefined, undefined, undefined, 'ab'.repeat(16)),
  vaultRequestId: some(undefined, undefined, undefined, 'vault-1'),
  tenant: some('acme', 'globex', undefined),
  identity: some('f5e7', 'a1b2', 'f5e7', undefined),
  certificateSerial: some(undefined, '1f'),
  certificateIssuer: some(undefined, 'CN=ca', 'CN="ca"'),
  sourceIp: some('192.0.2.7', undefined, 'unix'),
  face: fc.constantFrom('kes', 'objects'),
  method: some('PUT', 'POST'),
  path: some('/v1/key/generate/app', '/v1/key/decrypt/app', `/v1/key/decrypt/${long}`, undefined),
  operation: some('issue', 'unwrap', undefined, 'unheard-of'),
  key: some('app', undefined),
  keyVersion: fc.constantFrom(undefined, 1, 2),
  bucket: some(undefined, 'photos', 'x"y', long),
  object: some(undefined, 'a/b', 'é', long),
  contextSha256: some(undefined, 'cd'.repeat(32)),
  scope: some(undefined, undefined, 'bucket'),
  phase: some(undefined, undefined, 'end'),
  bytesIn: fc.constantFrom(undefined, undefined, undefined, 7),
  bytesOut: fc.constantFrom(undefined, undefined, undefined, 7),
  aborted: fc.constantFrom(undefined, undefined, true),
  decision: some('allow', 'deny'),
  rule: some('policy app: allow /v1/key/generate/app*', undefined),
  status: fc.constantFrom(200, 403, 102, NaN),
  error: some(undefined, 'SELLO_NOT_AUTHORIZED'),
  reason: some(undefined, 'certificate expired'),
  durationMs: fc.oneof(fc.double(), fc.nat(1_000)),
  count: fc.constantFrom(undefined, undefined, undefined, 3),
}) as unknown as fc.Arbitrary<AuditRecord>;

t.test('a line from pieces is the line, byte for byte', async (t) => {
  fc.assert(
    fc.property(fc.array(record, { maxLength: 60 }), (records) => {
      for (const each of records) {
        const line = usualLine(each);
        if (line !== auditLine(each)) throw new Error(`${line} is not ${auditLine(each)}`);
        // Once more, from the shape it left behind.
        const later = { ...each, timeMs: each.timeMs + 1_001, durationMs: 3.25, requestId: 'next' };
        if (usualLine(later) !== auditLine(later)) throw new Error(`${usualLine(later)} is not the line`);
      }
    }),
    { numRuns: 200 },
  );
  t.pass();
});

t.test('each field makes a difference', async (t) => {
  const usual = keyCall({
    contextSha256: 'ab'.repeat(32),
    bucket: 'photos',
    object: 'a',
    certificateSerial: '1f',
    certificateIssuer: 'CN=ca',
    keyVersion: 1,
  });
  const other: Partial<Record<keyof AuditRecord, unknown>> = {
    timeMs: usual.timeMs + 1,
    requestId: 'other',
    traceId: 'ab'.repeat(16),
    tenant: 'other',
    identity: 'other',
    certificateSerial: '2f',
    certificateIssuer: 'CN=other',
    sourceIp: '192.0.2.8',
    face: 'objects',
    method: 'POST',
    path: '/other',
    operation: 'unwrap',
    key: 'other',
    keyVersion: 2,
    bucket: 'other',
    object: 'other',
    contextSha256: 'cd'.repeat(32),
    scope: 'bucket',
    phase: 'end',
    bytesIn: 1,
    bytesOut: 1,
    aborted: true,
    decision: 'deny',
    rule: 'other',
    status: 500,
    error: 'SELLO_INTERNAL',
    reason: 'other',
    durationMs: usual.durationMs + 1,
    vaultRequestId: 'other',
    count: 2,
  };
  for (const [field, value] of Object.entries(other)) {
    const first = usualLine(usual);
    const changed = { ...usual, [field]: value } as AuditRecord;
    t.not(usualLine(changed), first, field);
    t.equal(usualLine(changed), auditLine(changed), field);
    const without = { ...usual, [field]: undefined };
    if (
      field in usual &&
      !['timeMs', 'requestId', 'face', 'decision', 'status', 'durationMs'].includes(field)
    )
      t.equal(usualLine(without), auditLine(without), `without ${field}`);
  }
});

t.test('more shapes than are kept', async (t) => {
  for (let i = 0; i < 3_000; i++) {
    const each = keyCall({ path: `/v1/key/generate/k${String(i)}`, key: `k${String(i)}` });
    if (usualLine(each) !== auditLine(each)) t.fail(String(i));
  }
  t.pass();
});
