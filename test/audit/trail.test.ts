import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { readAnchors } from '../../src/audit/anchor.ts';
import {
  openAuditStream,
  type AuditFault,
  type AuditFile,
  type AuditStreamOptions,
} from '../../src/audit/index.ts';
import { readLines, readStreamFolder, streamFolders } from '../../src/audit/segment.ts';
import { verifyTrail, type TrailReport } from '../../src/audit/verifier.ts';
import { systemClock } from '../../src/clock.ts';
import type { AuditConfig, TrailConfig } from '../../src/config/model.ts';
import { hasCode } from '../../src/errors.ts';
import { keyCall } from './fixtures.ts';
import { TestRecords } from './record-store.ts';

function config(folder: string, change: Partial<TrailConfig> = {}): AuditConfig {
  return {
    mode: 'written',
    path: folder,
    deadlineMs: 5_000,
    maxRecordsPerSecond: 0,
    trail: {
      signingKey: `${folder}.key.pem`,
      checkpointRecords: 1_000,
      checkpointMs: 60_000,
      segmentBytes: 1_000_000,
      segmentAgeMs: 86_400_000,
      compression: 'none',
      release: 'written',
      ship: [],
      ...change,
    },
  };
}

interface Opened {
  readonly stream: AuditFile;
  readonly faults: AuditFault[];
}

async function open(c: AuditConfig, options: Partial<AuditStreamOptions> = {}): Promise<Opened> {
  const faults: AuditFault[] = [];
  const stream = await openAuditStream(c, {
    clock: systemClock,
    tenant: 'acme',
    onFault: (f) => faults.push(f),
    ...options,
  });
  return { stream, faults };
}

async function append(stream: AuditFile, count: number, name = 'r'): Promise<void> {
  for (let from = 0; from < count; from += 500) {
    const some = Math.min(500, count - from);
    await Promise.all(
      Array.from({ length: some }, (_, i) =>
        stream.append(keyCall({ timeMs: Date.now(), requestId: `${name}${from + i}` })),
      ),
    );
  }
}

async function judge(folder: string, records: TestRecords): Promise<TrailReport> {
  const { anchors, damaged } = await readAnchors(records);
  if (damaged.length > 0) throw new Error(`damaged anchors: ${damaged.join(' ')}`);
  return verifyTrail(folder, { anchors });
}

/** Request ids of all records of a trail. */
async function ids(folder: string): Promise<Set<string>> {
  const found = new Set<string>();
  for (const stream of await streamFolders(folder))
    for (const segment of (await readStreamFolder(stream)).segments)
      for await (const lines of readLines(segment))
        for (const { bytes, whole } of lines)
          if (whole)
            found.add(
              (JSON.parse(bytes.toString('latin1')) as { http: { request: { id: string } } }).http.request.id,
            );
  return found;
}

async function until(what: string, holds: () => boolean): Promise<void> {
  for (let i = 0; i < 2_000; i++) {
    if (holds()) return;
    await sleep(10);
  }
  throw new Error(`waited in vain for: ${what}`);
}

const findings = (report: TrailReport): string =>
  [...report.findings, ...report.streams.flatMap((s) => s.findings)].map((f) => f.text).join('; ');

for (const mode of ['written', 'synced'] as const) {
  t.test(`${mode}: records are chained, checkpointed by count and at the end, and anchored`, async (t) => {
    const folder = path.join(t.testdir(), 'acme');
    const records = new TestRecords();
    const { stream, faults } = await open({ ...config(folder), mode }, { records });
    await append(stream, 2_500);
    t.match(stream.chain, { records: 2_501, trouble: undefined });
    await until('a checkpoint', () => stream.chain!.checkpointed >= 1_000);
    await stream.close();
    const report = await judge(folder, records);
    t.match(report, {
      verdict: 'verified',
      streams: [{ records: 2_501, attested: 2_501, ended: true, tenant: 'acme', notices: [] }],
    });
    t.strictSame(faults, []);
    t.equal(fs.statSync(`${folder}.key.pem`).mode & 0o777, 0o600);
    const [streamFolder = ''] = await streamFolders(folder);
    t.notOk(fs.existsSync(path.join(streamFolder, 'lock')), 'the lock is gone');
    t.strictSame(
      fs.readdirSync(streamFolder).filter((name) => name.includes('tmp')),
      [],
    );
    t.match(
      fs.readFileSync(path.join(streamFolder, '0000000000000000.jsonl'), 'latin1'),
      /audit stream opened by process \d+/,
    );
  });
}

t.test('the next process goes on with the stream, without reading it again', async (t) => {
  const folder = path.join(t.testdir(), 'acme');
  const records = new TestRecords();
  for (let round = 1; round <= 4; round++) {
    const { stream } = await open(config(folder, { segmentBytes: 200_000 }), { records });
    await append(stream, 500);
    await stream.close();
    const report = await judge(folder, records);
    t.match(report, { verdict: 'verified', streams: [{ records: round * 501 }] }, findings(report));
    t.equal(report.streams.length, 1);
  }
  const [streamFolder = ''] = await streamFolders(folder);
  fs.writeFileSync(path.join(streamFolder, 'state.json'), '{"size":5}');
  const rebuilt = await open(config(folder), { records });
  await rebuilt.stream.close();
  t.match(
    await judge(folder, records),
    { verdict: 'verified', streams: [{ records: 2_005 }] },
    'a damaged position is rebuilt from the records',
  );
  const state = path.join(streamFolder, 'state.json');
  const forged = JSON.parse(fs.readFileSync(state, 'utf8')) as { roots: string[] };
  forged.roots[0] = 'ab'.repeat(32);
  fs.writeFileSync(state, JSON.stringify(forged));
  const again = await open(config(folder), { records });
  await again.stream.close();
  t.match(
    await judge(folder, records),
    { verdict: 'verified', streams: [{ records: 2_006 }] },
    'and a forged one',
  );
});

t.test('segments roll by size and age, and are compressed once two are sealed', async (t) => {
  for (const compression of ['zstd', 'gzip'] as const) {
    const folder = path.join(t.testdir(), compression);
    const records = new TestRecords();
    const c = config(folder, { segmentBytes: 100_000, compression, segmentAgeMs: 1, checkpointMs: 50 });
    const { stream, faults } = await open(c, { records });
    await append(stream, 1_000);
    const [streamFolder = ''] = await streamFolders(folder);
    const names = () => fs.readdirSync(streamFolder);
    await until('compression', () => names().filter((name) => /\.(gz|zst)$/.test(name)).length >= 4);
    const before = stream.chain!.records;
    await append(stream, 1);
    await until('a segment of its age', () =>
      names().includes(`${String(before + 1).padStart(16, '0')}.jsonl`),
    );
    await stream.close();
    const report = await judge(folder, records);
    t.equal(report.verdict, 'verified', `${compression}: ${findings(report)}`);
    t.strictSame(faults, []);
    const reopened = await open(c, { records });
    await append(reopened.stream, 10);
    await reopened.stream.close();
    t.equal((await judge(folder, records)).verdict, 'verified', 'and gone on with');
  }
});

t.test(
  'kill -9 under load: the chain goes on, nothing acknowledged is lost, torn lines are quarantined',
  { timeout: 60_000 },
  async (t) => {
    const folder = path.join(t.testdir(), 'acme');
    const script = `
    import fs from 'node:fs';
    import { openAuditStream } from ${JSON.stringify(path.resolve('src/audit/index.ts'))};
    import { systemClock } from ${JSON.stringify(path.resolve('src/clock.ts'))};
    const config = JSON.parse(process.env.CONFIG);
    const stream = await openAuditStream(config, { clock: systemClock, tenant: 'acme', onFault: (f) => { if (f.kind !== 'unproven' && f.kind !== 'torn') process.exit(9); } });
    let n = 0;
    const caller = async () => {
      for (;;) {
        const requestId = process.env.ROUND + '-' + n++;
        await stream.append({ timeMs: Date.now(), requestId, tenant: 'acme', face: 'kes', decision: 'allow', status: 200, durationMs: 0 });
        fs.writeSync(1, requestId + '\\n');
      }
    };
    for (let i = 0; i < 8; i++) void caller();`;
    const c = config(folder, { segmentBytes: 300_000, checkpointRecords: 300, compression: 'zstd' });
    const acknowledged: string[] = [];
    for (let round = 0; round < 5; round++) {
      const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
        env: { ...process.env, CONFIG: JSON.stringify(c), ROUND: String(round) },
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let acks = '';
      child.stdout.setEncoding('latin1').on('data', (text: string) => {
        acks += text;
        if (acks.length > 4_000 + round * 3_000) child.kill('SIGKILL');
      });
      await new Promise((resolve) => child.on('close', resolve));
      acknowledged.push(...acks.split('\n').slice(0, -1));
      const [streamFolder = ''] = await streamFolders(folder);
      const last = (await readStreamFolder(streamFolder)).segments.at(-1)!.file;
      // What a crash of the machine can leave.
      if (round % 2 === 0) fs.appendFileSync(last, '{"@timestamp":"2026-11-23T04:05:06.078Z","torn":');
    }
    const records = new TestRecords();
    const { stream, faults } = await open(c, { records });
    await append(stream, 10, 'after');
    await stream.close();
    t.equal((await streamFolders(folder)).length, 1, 'one stream for all of them');
    const report = await judge(folder, records);
    t.equal(report.verdict, 'verified', findings(report));
    t.match(faults, [{ kind: 'torn' }]);
    t.match(report.streams[0]!.notices.filter((notice) => notice.includes('.torn')).length, 3);
    const kept = await ids(folder);
    t.ok(acknowledged.length > 1_000, `${acknowledged.length} acknowledged`);
    t.strictSame(
      acknowledged.filter((id) => !kept.has(id)),
      [],
    );
    const text = fs.readFileSync(
      (await readStreamFolder((await streamFolders(folder))[0]!)).segments.at(-1)!.file,
      'latin1',
    );
    t.match(text, /moved to quarantine/, 'and it is on record');
  },
);

t.test('two processes, or two streams of one, never write one stream', async (t) => {
  const folder = path.join(t.testdir(), 'acme');
  const records = new TestRecords();
  const [a, b] = await Promise.all([open(config(folder), { records }), open(config(folder), { records })]);
  await Promise.all([append(a.stream, 100), append(b.stream, 100)]);
  t.not(a.stream.chain!.stream, b.stream.chain!.stream);
  await Promise.all([a.stream.close(), b.stream.close()]);
  t.match(await judge(folder, records), {
    verdict: 'verified',
    streams: [{ records: 101 }, { records: 101 }],
  });
  const [first = ''] = await streamFolders(folder);
  fs.writeFileSync(path.join(first, 'lock'), '000000000000.1.1\n');
  const c = await open(config(folder), { records });
  t.not(c.stream.chain!.stream, path.basename(first), 'nor one that another container may have');
  await c.stream.close();
});

t.test('a stream that its anchor knows more of is left, and another one begun', async (t) => {
  const directory = t.testdir();
  const folder = path.join(directory, 'acme');
  const records = new TestRecords();
  const first = await open(config(folder), { records });
  await append(first.stream, 100);
  await first.stream.close();
  fs.cpSync(folder, path.join(directory, 'old'), { recursive: true });
  const second = await open(config(folder), { records });
  await append(second.stream, 100);
  await second.stream.close();
  fs.rmSync(folder, { recursive: true });
  fs.renameSync(path.join(directory, 'old'), folder);
  const third = await open(config(folder), { records });
  t.match(third.faults, [{ kind: 'unproven', detail: /has 101 records and its anchor knows 202/ }]);
  await append(third.stream, 10);
  await third.stream.close();
  const report = await judge(folder, records);
  t.equal(report.verdict, 'wrong');
  t.match(findings(report), /records 101 to 201 are missing at the end: the anchor is over 202 records/);
  t.equal(report.streams.filter((s) => s.findings.length === 0).length, 1, 'the new one is sound');
});

t.test('records taken from under a running server leave a hole, and it goes on', async (t) => {
  for (const [name, harm] of [
    ['removed', (file: string) => fs.rmSync(file)],
    ['moved', (file: string) => fs.renameSync(file, `${file}.1`)],
    ['cut', (file: string) => fs.truncateSync(file, fs.statSync(file).size - 2_000)],
    ['overwritten', (file: string) => fs.writeFileSync(file, 'nothing to see\n')],
  ] as const) {
    const folder = path.join(t.testdir(), name);
    const records = new TestRecords();
    const { stream } = await open(config(folder), { records, identityCheckMs: 0 });
    await append(stream, 100);
    const [streamFolder = ''] = await streamFolders(folder);
    harm(path.join(streamFolder, '0000000000000000.jsonl'));
    await append(stream, 10, 'after');
    await stream.close();
    const report = await judge(folder, records);
    t.equal(report.verdict, 'wrong', name);
    t.match(findings(report), /missing|no record/, name);
    t.ok((await ids(folder).catch(() => new Set(['after9']))).has('after9'), 'the records since are there');
  }
  const folder = path.join(t.testdir(), 'lengthened');
  const records = new TestRecords();
  const { stream, faults } = await open(config(folder), { records, identityCheckMs: 0 });
  await append(stream, 10);
  const [streamFolder = ''] = await streamFolders(folder);
  fs.appendFileSync(path.join(streamFolder, '0000000000000000.jsonl'), '{"foreign":1}\n');
  await append(stream, 10);
  await stream.close();
  t.equal((await judge(folder, records)).verdict, 'verified', 'a stranger’s lines are moved out');
  t.match(faults, [{ kind: 'torn' }]);
});

t.test('a keystore that is down leaves the anchor behind, says so, and catches up', async (t) => {
  const folder = path.join(t.testdir(), 'acme');
  const records = new TestRecords();
  records.isDown = true;
  const { stream, faults } = await open(config(folder, { checkpointMs: 20 }), { records });
  await append(stream, 10);
  await until('the trouble', () => stream.chain!.trouble !== undefined);
  t.match(stream.chain!.trouble, /anchor cannot be written: down/);
  t.equal(stream.trouble, undefined, 'keys are served all the same');
  await until('the word', () => faults.some((fault) => fault.kind === 'unproven'));
  records.isDown = false;
  await until('the anchor', () => stream.chain!.trouble === undefined);
  await until('the word', () => faults.at(-1)?.kind === 'recovered');
  await stream.close();
  t.equal((await judge(folder, records)).verdict, 'verified');
});

t.test('without a place for anchors the stream says what that means', async (t) => {
  const { stream, faults } = await open(config(path.join(t.testdir(), 'acme')));
  t.match(faults, [{ kind: 'unproven', detail: /no place for anchors/ }]);
  await stream.close();
});

t.test('a signing key that is not one, or cannot be made, is an error at start', async (t) => {
  const directory = t.testdir({ 'k.pem': 'rubbish' });
  const folder = path.join(directory, 'acme');
  const unavailable = { code: 'SELLO_AUDIT_UNAVAILABLE', detail: /signing key/ };
  await t.rejects(open(config(folder, { signingKey: path.join(directory, 'k.pem') })), unavailable);
  await t.rejects(open(config(folder, { signingKey: path.join(directory, 'k.pem', 'k.pem') })), unavailable);
});

t.test('full disk', { timeout: 60_000 }, async (t) => {
  const mount = fs.mkdtempSync(path.join(os.tmpdir(), 'sello-full-trail-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', mount], { stdio: 'pipe' });
  } catch (error) {
    fs.rmdirSync(mount);
    t.pass('skipped', { skip: `cannot mount a tmpfs here: ${(error as Error).message.split('\n')[0]}` });
    return;
  }
  t.teardown(() => {
    execFileSync('umount', ['-l', mount]);
    fs.rmdirSync(mount);
  });
  const folder = path.join(mount, 'acme');
  const records = new TestRecords();
  const { stream, faults } = await open(
    config(folder, { checkpointRecords: 100, checkpointMs: 50, segmentBytes: 60_000 }),
    { records },
  );
  const acknowledged: string[] = [];
  let refused = 0;
  const one = async (requestId: string): Promise<void> => {
    try {
      await stream.append(keyCall({ timeMs: Date.now(), requestId }));
      acknowledged.push(requestId);
    } catch (error) {
      if (!hasCode(error, 'SELLO_AUDIT_UNAVAILABLE')) throw error;
      refused++;
    }
  };
  const ballast = path.join(mount, 'ballast');
  fs.writeFileSync(ballast, Buffer.alloc(700_000));
  for (let turn = 0; refused === 0 && turn < 200; turn++)
    await Promise.all(Array.from({ length: 20 }, (_, i) => one(`r${turn}-${i}`)));
  t.ok(refused > 0, 'a record that finds no room is refused');
  fs.rmSync(ballast);
  await until('recovery', () => stream.trouble === undefined);
  await one('after');
  t.equal(acknowledged.at(-1), 'after');
  await stream.close();
  const report = await judge(folder, records);
  t.equal(report.verdict, 'verified', findings(report));
  const kept = await ids(folder);
  t.strictSame(
    acknowledged.filter((id) => !kept.has(id)),
    [],
    `${acknowledged.length} acknowledged`,
  );
  t.ok(faults.some((fault) => fault.kind === 'failed') && faults.some((fault) => fault.kind === 'recovered'));
});
