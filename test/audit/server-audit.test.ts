import t from 'tap';
import { createServerAudit, type AuditRecord, type AuditStream } from '../../src/audit/index.ts';
import { HandClock } from './fixtures.ts';

function refusal(sourceIp: string, reason: string): AuditRecord {
  return {
    timeMs: 1,
    requestId: 'a1',
    tenant: undefined,
    sourceIp,
    path: '/v1/key/generate/app',
    face: 'server',
    decision: 'deny',
    status: 403,
    error: 'SELLO_CLIENT_CERTIFICATE_REJECTED',
    reason,
    durationMs: 0.1,
  };
}

/** A stream that keeps what it is given, or refuses everything. */
class Kept implements AuditStream {
  readonly records: AuditRecord[] = [];
  refuses = false;

  append(record: AuditRecord): Promise<void> {
    if (this.refuses) return Promise.reject(new Error('no room'));
    this.records.push(record);
    return Promise.resolve();
  }

  subscribe(): () => void {
    return () => undefined;
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

t.test('below the quota every refusal is a record of its own', async (t) => {
  const stream = new Kept();
  const clock = new HandClock(t);
  const audit = createServerAudit({ stream, maxRecordsPerSecond: 100, clock });
  for (let i = 0; i < 100; i++) audit.append(refusal(`192.0.2.${i % 10}`, 'certificate expired'));
  clock.advance(5_000);
  t.equal(stream.records.length, 100);
  await audit.close();
  t.equal(stream.records.length, 100);
});

t.test('a flood of one source becomes a summary each second, and leaves room for the others', async (t) => {
  const stream = new Kept();
  const clock = new HandClock(t);
  const audit = createServerAudit({ stream, maxRecordsPerSecond: 100, clock });
  for (let i = 0; i < 50_000; i++) audit.append(refusal('192.0.2.66', 'certificate expired'));
  audit.append(refusal('192.0.2.7', 'identity is in no tenant'));
  t.equal(stream.records.length, 26, 'a quarter of the quota for one source and reason');
  t.match(stream.records.at(-1), { sourceIp: '192.0.2.7' });
  clock.advance(1_000);
  t.match(stream.records.at(-1), {
    sourceIp: '192.0.2.66',
    reason: 'certificate expired',
    count: 50_000 - 25,
  });
  t.equal(stream.records.at(-1)?.path, undefined, 'what differs from one to the next is left out');
  clock.advance(10_000);
  t.equal(stream.records.length, 27, 'silence after the flood');
  for (let i = 0; i < 30; i++) audit.append(refusal('192.0.2.66', 'certificate expired'));
  await audit.close();
  t.match(stream.records.at(-1), { count: 5 }, 'close writes what is due');
});

t.test('a flood of ever new sources takes fixed memory, and every refusal is counted', async (t) => {
  const stream = new Kept();
  const clock = new HandClock(t);
  const audit = createServerAudit({ stream, maxRecordsPerSecond: 50, clock });
  const flood = 300_000;
  for (let i = 0; i < flood; i++) audit.append(refusal(`2001:db8::${i.toString(16)}`, `reason ${i}`));
  await audit.close();
  t.ok(stream.records.length <= 101, `${stream.records.length} records`);
  t.equal(
    stream.records.reduce((sum, r) => sum + (r.count ?? 1), 0),
    flood,
  );
  t.match(stream.records.at(-1), { reason: 'refusals of other sources and reasons', sourceIp: undefined });
});

t.test('a stream that refuses does not reach the caller', async (t) => {
  const stream = new Kept();
  stream.refuses = true;
  const audit = createServerAudit({ stream, maxRecordsPerSecond: 1, clock: new HandClock(t) });
  for (let i = 0; i < 10; i++) audit.append(refusal('192.0.2.1', 'x'));
  await audit.close();
  t.pass();
});
