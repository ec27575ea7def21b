import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import type { Test } from 'tap';
import {
  hungWriters,
  openAuditStream,
  type AuditFault,
  type AuditFile,
  type AuditRecord,
  type AuditStreamOptions,
} from '../../src/audit/index.ts';
import { systemClock } from '../../src/clock.ts';
import type { AuditConfig } from '../../src/config/model.ts';
import { hasCode } from '../../src/errors.ts';
import { HandClock, keyCall } from './fixtures.ts';

const unavailable = { code: 'SELLO_AUDIT_UNAVAILABLE' };

function config(file: string, change: Partial<AuditConfig> = {}): AuditConfig {
  return { mode: 'written', path: file, deadlineMs: 2_000, maxRecordsPerSecond: 0, ...change };
}

interface Opened {
  readonly stream: AuditFile;
  readonly faults: AuditFault[];
}

async function open(c: AuditConfig, options: Partial<AuditStreamOptions> = {}): Promise<Opened> {
  const faults: AuditFault[] = [];
  const stream = await openAuditStream(c, { clock: systemClock, onFault: (f) => faults.push(f), ...options });
  return { stream, faults };
}

/** Request ids of the file's lines, in order; throws when a line is not JSON. */
function ids(file: string, of = lines(file)): string[] {
  return of.map((line) => (JSON.parse(line) as { http: { request: { id: string } } }).http.request.id);
}

function lines(file: string): string[] {
  const text = fs.readFileSync(file, 'latin1');
  if (text !== '' && !text.endsWith('\n')) throw new Error('the file does not end in a newline');
  return text.split('\n').slice(0, -1);
}

/** Real events of a real disk have no clock to move: look again until they are there, at most 5 s. */
async function until(what: string, holds: () => boolean): Promise<void> {
  for (let i = 0; i < 500; i++) {
    if (holds()) return;
    await sleep(10);
  }
  throw new Error(`waited in vain for: ${what}`);
}

for (const mode of ['written', 'synced'] as const) {
  t.test(`${mode}: a record is in the file when append resolves, and order is kept`, async (t) => {
    const file = path.join(t.testdir(), 'audit.jsonl');
    const { stream } = await open(config(file, { mode }));
    t.equal(fs.statSync(file).mode & 0o777, 0o640);
    await stream.append(keyCall({ requestId: 'first' }));
    t.strictSame(ids(file), ['first']);
    const wanted = Array.from({ length: 1_000 }, (_, i) => `r${i}`);
    await Promise.all(wanted.map((requestId) => stream.append(keyCall({ requestId }))));
    t.strictSame(ids(file), ['first', ...wanted]);
    t.equal(stream.queued, 0);
    await stream.close();
  });
}

t.test('off writes nothing, and listeners still hear', async (t) => {
  const file = path.join(t.testdir(), 'audit.jsonl');
  const { stream } = await open(config(file, { mode: 'off' }));
  const heard: AuditRecord[] = [];
  stream.subscribe((r) => heard.push(r));
  t.equal(stream.append(keyCall()), undefined);
  t.equal(heard.length, 1);
  await stream.close();
  t.notOk(fs.existsSync(file));
});

t.test('a listener hears a record once it is written, until it leaves', async (t) => {
  const file = path.join(t.testdir(), 'audit.jsonl');
  const { stream } = await open(config(file));
  const heard: string[] = [];
  const leave = stream.subscribe((r) => {
    t.ok(ids(file).includes(r.requestId));
    heard.push(r.requestId);
    throw new Error('a listener that fails harms nobody');
  });
  await Promise.all([stream.append(keyCall({ requestId: 'a' })), stream.append(keyCall({ requestId: 'b' }))]);
  leave();
  await stream.append(keyCall({ requestId: 'c' }));
  t.strictSame(heard, ['a', 'b']);
  await stream.close();
});

t.test('close writes what waits, and refuses what comes after', async (t) => {
  const file = path.join(t.testdir(), 'audit.jsonl');
  const { stream } = await open(config(file));
  const last = stream.append(keyCall({ requestId: 'last' }));
  await stream.close();
  await last;
  t.strictSame(ids(file), ['last']);
  await t.rejects(stream.append(keyCall())!, unavailable);
  t.equal(hungWriters(), 0);
});

t.test('a file that cannot be opened is an error at start', async (t) => {
  await t.rejects(open(config(path.join(t.testdir(), 'absent', 'audit.jsonl'))), {
    ...unavailable,
    detail: /ENOENT/,
  });
});

t.test('a line that a crash left torn is closed off, and what follows is whole', async (t) => {
  const file = path.join(t.testdir({ 'audit.jsonl': '{"whole":1}\n{"torn":' }), 'audit.jsonl');
  const { stream, faults } = await open(config(file));
  await stream.append(keyCall());
  const [whole, torn, next] = lines(file);
  t.strictSame([whole, torn], ['{"whole":1}', '{"torn":'], 'nothing is taken away');
  t.match(JSON.parse(next!), { url: { path: /generate/ } });
  t.match(faults, [{ kind: 'torn' }]);
  await stream.close();
});

t.test(
  'after logrotate moved the file, records go to the new one: at the next look, or at once on reopen',
  async (t) => {
    const directory = t.testdir();
    const file = path.join(directory, 'audit.jsonl');
    const { stream } = await open(config(file), { identityCheckMs: 0 });
    const { stream: slow } = await open(config(path.join(directory, 'slow.jsonl')), {
      identityCheckMs: 3_600_000,
    });
    await stream.append(keyCall({ requestId: 'old' }));
    fs.renameSync(file, `${file}.1`);
    await stream.append(keyCall({ requestId: 'new' }));
    t.strictSame([ids(`${file}.1`), ids(file)], [['old'], ['new']]);
    fs.unlinkSync(file);
    await stream.append(keyCall({ requestId: 'again' }));
    t.strictSame(ids(file), ['again']);
    await stream.close();

    const slowFile = path.join(directory, 'slow.jsonl');
    await slow.append(keyCall({ requestId: 'old' }));
    fs.renameSync(slowFile, `${slowFile}.1`);
    await slow.append(keyCall({ requestId: 'late' }));
    await slow.reopen();
    await slow.append(keyCall({ requestId: 'new' }));
    t.strictSame([ids(`${slowFile}.1`), ids(slowFile)], [['old', 'late'], ['new']]);
    await slow.close();
  },
);

t.test('kill -9 at any moment loses no record that was acknowledged', async (t) => {
  const file = path.join(t.testdir(), 'audit.jsonl');
  const script = `
    import fs from 'node:fs';
    import { openAuditStream } from ${JSON.stringify(path.resolve('src/audit/index.ts'))};
    import { systemClock } from ${JSON.stringify(path.resolve('src/clock.ts'))};
    const config = { mode: 'written', path: process.env.FILE, deadlineMs: 2000, maxRecordsPerSecond: 0 };
    const stream = await openAuditStream(config, { clock: systemClock, onFault: () => process.exit(9) });
    let n = 0;
    const caller = async () => {
      for (;;) {
        const requestId = process.env.ROUND + '-' + n++;
        await stream.append({ timeMs: 0, requestId, tenant: 'acme', face: 'kes', decision: 'allow', status: 200, durationMs: 0 });
        fs.writeSync(1, requestId + '\\n');
      }
    };
    for (let i = 0; i < 8; i++) void caller();`;
  const acknowledged: string[] = [];
  for (let round = 0; round < 5; round++) {
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      env: { ...process.env, FILE: file, ROUND: String(round) },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let acks = '';
    child.stdout.setEncoding('latin1').on('data', (text: string) => {
      acks += text;
      if (acks.length > 4_000 + round * 3_000) child.kill('SIGKILL');
    });
    await new Promise((resolve) => child.on('close', resolve));
    acknowledged.push(...acks.split('\n').slice(0, -1));
  }
  const { stream } = await open(config(file));
  await stream.close();
  const kept = new Set(fs.readFileSync(file, 'latin1').match(/(?<="id":")\d+-\d+(?=")/g));
  t.ok(acknowledged.length > 1_000, `${acknowledged.length} acknowledged`);
  t.strictSame(
    acknowledged.filter((id) => !kept.has(id)),
    [],
  );
});

t.test('several processes append to one file without a torn or lost line', async (t) => {
  const file = path.join(t.testdir(), 'audit.jsonl');
  const script = `
    import { openAuditStream } from ${JSON.stringify(path.resolve('src/audit/index.ts'))};
    import { systemClock } from ${JSON.stringify(path.resolve('src/clock.ts'))};
    const config = { mode: 'written', path: process.env.FILE, deadlineMs: 5000, maxRecordsPerSecond: 0 };
    const stream = await openAuditStream(config, { clock: systemClock, onFault: console.error, sharedFile: true });
    for (let turn = 0; turn < 100; turn++) {
      const batch = [];
      for (let i = 0; i < 20; i++) batch.push(stream.append({ timeMs: 0, requestId: process.pid + '-' + (turn * 20 + i),
        path: '/' + 'p'.repeat(turn * 5), tenant: 'acme', face: 'kes', decision: 'allow', status: 200, durationMs: 0 }));
      await Promise.all(batch);
    }
    await stream.close();`;
  const one = (): Promise<number> => {
    const args = ['--input-type=module', '-e', script];
    const child = spawn(process.execPath, args, { env: { ...process.env, FILE: file }, stdio: 'inherit' });
    return new Promise((resolve) => child.on('close', () => resolve(child.pid!)));
  };
  const pids = await Promise.all([one(), one(), one()]);
  const all = ids(
    file,
    lines(file).filter((line) => line !== ''),
  );
  t.equal(all.length, 6_000);
  for (const pid of pids) {
    const mine = all.filter((id) => id.startsWith(`${pid}-`));
    t.strictSame(
      mine,
      Array.from({ length: 2_000 }, (_, i) => `${pid}-${i}`),
      'the order of each process is kept',
    );
  }
});

t.test('a process sharing the file keeps clear of the torn line of another', async (t) => {
  const file = path.join(t.testdir(), 'audit.jsonl');
  const { stream, faults } = await open(config(file), { sharedFile: true });
  await stream.append(keyCall({ requestId: 'a' }));
  fs.appendFileSync(file, '{"torn by another process":');
  await stream.append(keyCall({ requestId: 'b' }));
  const [, torn, b] = lines(file);
  t.equal(torn, '{"torn by another process":');
  t.match(b, /"id":"b"/);
  t.match(faults, [{ kind: 'torn' }]);
  await stream.close();
});

t.test('full disk', async (t) => {
  const mount = fs.mkdtempSync(path.join(os.tmpdir(), 'sello-full-disk-'));
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
  for (const sharedFile of [false, true]) {
    const file = path.join(mount, `audit-${String(sharedFile)}.jsonl`);
    const ballast = path.join(mount, 'ballast');
    const acknowledged: string[] = [];
    const refused: string[] = [];
    const { stream, faults } = await open(config(file), { sharedFile, tenant: 'acme' });
    const append = async (requestId: string): Promise<void> => {
      try {
        await stream.append(keyCall({ requestId }));
        acknowledged.push(requestId);
      } catch (error) {
        if (!hasCode(error, 'SELLO_AUDIT_UNAVAILABLE')) throw error;
        refused.push(requestId);
      }
    };
    fs.writeFileSync(ballast, Buffer.alloc(800_000));
    for (let turn = 0; refused.length === 0 && turn < 200; turn++) {
      await Promise.all(Array.from({ length: 20 }, (_, i) => append(`r${turn}-${i}`)));
    }
    t.ok(refused.length > 0, 'a record that finds no room is refused');
    t.match(stream.trouble, /^failed: write failed: ENOSPC/);
    await append('while full');
    t.equal(refused.at(-1), 'while full');

    fs.rmSync(ballast);
    await until('recovery', () => stream.trouble === undefined);
    await append('after');
    t.equal(acknowledged.at(-1), 'after', 'space freed: records are taken again, without a restart');
    await stream.close();
    t.match(
      faults.filter((f) => f.kind !== 'torn').map((f) => f.kind),
      ['failed', 'recovered'],
    );
    t.equal(faults.at(-1)?.refused, refused.length);

    const whole = lines(file).filter((line) => line.endsWith('}'));
    const kept = new Set(
      whole.map((line) => (JSON.parse(line) as { http: { request: { id: string } } }).http.request.id),
    );
    t.strictSame(
      acknowledged.filter((id) => !kept.has(id)),
      [],
      'no acknowledged record is missing',
    );
    if (!sharedFile) t.equal(whole.length, lines(file).length, 'a file of our own holds no torn line');
    const note = whole.find((line) => line.includes('audit stream failed'));
    t.match(
      JSON.parse(note!),
      { organization: { id: 'acme' }, sello: { count: refused.length } },
      'the gap is on record',
    );
    fs.rmSync(file);
  }
});

/** A pipe whose reader does not read: once it is full, write(2) blocks, as it does on a disk that hangs. */
function hungPipe(t: Test, name: string): { file: string; reader: number } {
  const file = path.join(t.testdir(), name);
  execFileSync('mkfifo', [file]);
  const reader = fs.openSync(file, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  return { file, reader };
}

function drain(reader: number): string {
  const room = Buffer.alloc(1_048_576);
  try {
    return room.toString('latin1', 0, fs.readSync(reader, room));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return '';
    throw error;
  }
}

t.test(
  'hung disk: its stream refuses at the deadline, everything else goes on, and it recovers by itself',
  async (t) => {
    const { file, reader } = hungPipe(t, 'pipe');
    const other = path.join(path.dirname(file), 'other.jsonl');
    const clock = new HandClock(t);
    const { stream, faults } = await open(config(file), { clock });
    const { stream: healthy } = await open(config(other), { clock });

    const outcomes = Array.from({ length: 300 }, (_, i) =>
      stream.append(keyCall({ requestId: `h${i}` }))!.then(
        () => 'durable',
        (error: unknown) => (hasCode(error, 'SELLO_AUDIT_UNAVAILABLE') ? 'refused' : 'other'),
      ),
    );
    await sleep(50); // the pipe takes 64 KiB of them
    t.equal(stream.trouble, undefined, 'before the deadline it only waits');
    clock.advance(2_001);
    const settled = await Promise.all(outcomes);
    t.ok(settled.includes('refused') && !settled.includes('other'));
    t.match(stream.trouble, /^stalled/);
    t.equal(hungWriters(), 1);

    for (let i = 0; i < 1_000; i++) await t.rejects(stream.append(keyCall())!, unavailable);
    t.equal(stream.queued, 0, 'refused at once: nothing piles up');
    await healthy.append(keyCall({ requestId: 'other tenant' }));
    t.strictSame(ids(other), ['other tenant']);
    const pool = Array.from({ length: 8 }, () => fs.promises.readFile(other));
    t.equal((await Promise.all(pool)).length, 8, "the pool's threads are free");

    let read = '';
    await until('recovery', () => {
      read += drain(reader);
      return stream.trouble === undefined;
    });
    const after = stream.append(keyCall({ requestId: 'after' }));
    await until('the last record', () => (read += drain(reader)).includes('"after"'));
    await after;
    const whole = read
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as { event: { reason?: string }; http: { request: { id: string } } });
    const isTakenBack = ({ event }: (typeof whole)[number]) =>
      event.reason?.startsWith('not acknowledged') === true;
    const of = (takenBack: boolean) =>
      new Set(whole.filter((line) => isTakenBack(line) === takenBack).map((line) => line.http.request.id));
    const [kept, takenBack] = [of(false), of(true)];
    for (const [i, outcome] of settled.entries()) {
      if (outcome === 'durable') t.ok(kept.has(`h${i}`) && !takenBack.has(`h${i}`));
      else t.equal(takenBack.has(`h${i}`), kept.has(`h${i}`), 'what was refused and is there is taken back');
    }
    t.match(
      faults.map((f) => f.kind),
      ['stalled', 'recovered'],
    );
    t.ok((faults[1]?.refused ?? 0) >= 1_000);
    t.match(
      whole.find((line) => line.http.request.id === 'none'),
      { sello: { count: faults[1]?.refused } },
    );
    t.equal(hungWriters(), 0);
    await stream.close();
    await healthy.close();
    fs.closeSync(reader);
  },
);

t.test('reopen gets a stalled stream out of a call that hangs', async (t) => {
  const { file, reader } = hungPipe(t, 'pipe');
  const clock = new HandClock(t);
  const { stream } = await open(config(file), { clock });
  const stuck = Array.from({ length: 300 }, () => stream.append(keyCall())!);
  for (const one of stuck) one.catch(() => undefined);
  await sleep(50); // the pipe takes 64 KiB of them
  clock.advance(2_001);
  t.match(stream.trouble, /^stalled/);
  fs.unlinkSync(file);
  await stream.reopen();
  await stream.append(keyCall({ requestId: 'in the new file' }));
  t.equal(ids(file)[0], 'none');
  t.equal(ids(file).at(-1), 'in the new file');
  for (const line of lines(file).slice(1, -1))
    t.match(line, /"reason":"not acknowledged.*"status_code":503/, 'the old file may have them yet');
  t.equal(hungWriters(), 1, 'the old thread is still in its call');
  drain(reader);
  await until('the old thread to end', () => {
    drain(reader);
    return hungWriters() === 0;
  });
  await stream.close();
  fs.closeSync(reader);
});

t.test('a process whose disk hangs still exits', async (t) => {
  const { file, reader } = hungPipe(t, 'pipe');
  const script = `
    import { openAuditStream } from ${JSON.stringify(path.resolve('src/audit/index.ts'))};
    import { systemClock } from ${JSON.stringify(path.resolve('src/clock.ts'))};
    const config = { mode: 'written', path: process.env.FILE, deadlineMs: 100, maxRecordsPerSecond: 0 };
    const stream = await openAuditStream(config, { clock: systemClock, onFault: () => process.exit(3) });
    for (let i = 0; i < 500; i++) stream.append({ timeMs: 0, requestId: 'x', tenant: 'acme', path: '/' + 'p'.repeat(400),
      face: 'kes', decision: 'allow', status: 200, durationMs: 0 });`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    env: { ...process.env, FILE: file },
  });
  const guard = setTimeout(() => child.kill('SIGTERM'), 10_000);
  const ended = await new Promise<string>((resolve) =>
    child.on('close', (code, signal) => resolve(`${code} ${signal}`)),
  );
  clearTimeout(guard);
  t.equal(ended, 'null SIGKILL', 'Node would wait for the thread for ever');
  fs.closeSync(reader);
});

t.test('a pipe that loses its reader refuses, and recovers with the next reader', async (t) => {
  const { file, reader } = hungPipe(t, 'pipe');
  const { stream } = await open(config(file));
  await stream.append(keyCall());
  fs.closeSync(reader);
  await t.rejects(stream.append(keyCall())!, { ...unavailable, detail: /EPIPE/ });
  const next = fs.openSync(file, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  await until('recovery', () => stream.trouble === undefined);
  await stream.append(keyCall({ requestId: 'again' }));
  t.match(drain(next), /"again"/);
  await stream.close();
  fs.closeSync(next);
});

t.test('standard output: a slow reader of a pipe gets every line whole', async (t) => {
  const script = `
    import { openAuditStream } from ${JSON.stringify(path.resolve('src/audit/index.ts'))};
    import { systemClock } from ${JSON.stringify(path.resolve('src/clock.ts'))};
    process.stdout.write('');
    const config = { mode: 'written', path: '-', deadlineMs: 10000, maxRecordsPerSecond: 0 };
    const stream = await openAuditStream(config, { clock: systemClock, onFault: console.error });
    const all = [];
    for (let i = 0; i < 1000; i++) all.push(stream.append({ timeMs: 0, requestId: 'r' + i, tenant: 'acme', path: '/' + 'p'.repeat(i % 500),
      face: 'kes', decision: 'allow', status: 200, durationMs: 0 }));
    await Promise.all(all);
    await stream.close();`;
  const stdio = ['ignore', 'pipe', 'inherit'] as const;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: [...stdio] });
  let text = '';
  await sleep(300); // the pipe fills meanwhile
  child.stdout!.setEncoding('latin1').on('data', (some: string) => (text += some));
  await new Promise((resolve) => child.on('close', resolve));
  const found = text
    .split('\n')
    .slice(0, -1)
    .map((line) => (JSON.parse(line) as { http: { request: { id: string } } }).http.request.id);
  t.strictSame(
    found,
    Array.from({ length: 1_000 }, (_, i) => `r${i}`),
  );
});

t.test('what waits is bounded: beyond it records are refused, those that wait are kept', async (t) => {
  const file = path.join(t.testdir(), 'audit.jsonl');
  const { stream } = await open(config(file, { deadlineMs: 10_000 }));
  let refused = 0;
  const all = Array.from({ length: 20_000 }, () => stream.append(keyCall())!.catch(() => refused++));
  await Promise.all(all);
  t.ok(refused > 0 && refused < 20_000, `${refused} refused`);
  t.equal(lines(file).length, 20_000 - refused);
  t.equal(stream.trouble, undefined);
  await stream.close();
});

t.test('metrics hear of every record, written or refused', async (t) => {
  const file = path.join(t.testdir(), 'audit.jsonl');
  let written = 0;
  let bytes = 0;
  let refused = 0;
  const observer = {
    written: (count: number, size: number) => {
      written += count;
      bytes += size;
    },
    refused: (count: number) => (refused += count),
  };
  const { stream } = await open(config(file), { observer });
  await Promise.all(Array.from({ length: 10 }, () => stream.append(keyCall())));
  await stream.close();
  await t.rejects(stream.append(keyCall())!);
  t.strictSame([written, bytes, refused], [10, fs.statSync(file).size, 1]);
});
