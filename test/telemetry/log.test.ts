import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import type { Test } from 'tap';
import type { LogConfig } from '../../src/config/model.ts';
import { SelloError } from '../../src/errors.ts';
import { createLogger, newRequestId, type Log } from '../../src/telemetry/index.ts';

function log(t: Test, format: LogConfig['format'] = 'json'): { log: Log; read: () => string } {
  const file = path.join(t.testdir(), 'log');
  const fd = fs.openSync(file, 'a');
  const made = createLogger({ level: 'trace', format }, { destination: fd });
  return {
    log: made,
    read: () => {
      made.flush();
      return fs.readFileSync(file, 'utf8');
    },
  };
}

t.test('a line is JSON with time, level and fields', async (t) => {
  const { log: made, read } = log(t);
  made.logger.info({ tenant: 'acme', requestId: 'r1' }, 'key created');
  const line = JSON.parse(read()) as { time: string };
  t.match(line, { level: 'info', tenant: 'acme', requestId: 'r1', msg: 'key created' });
  t.ok(Math.abs(Date.parse(line.time) - Date.now()) < 10_000);
});

t.test('what looks like a secret is struck out, whatever the level and the field', async (t) => {
  const { log: made, read } = log(t);
  const canary = 'c4n4ry-AbCdEfGh';
  const bytes = Buffer.from(canary);
  const pem = `-----BEGIN PRIVATE KEY-----\n${Buffer.from(canary).toString('base64')}\n-----END PRIVATE KEY-----`;
  for (const level of ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const) {
    made.logger[level]({ plaintext: canary, request: { authorization: canary, password: canary } }, 'a');
    made.logger[level](
      { bytes, nested: { list: [bytes, new Uint8Array(bytes)], buffer: bytes.buffer } },
      'b',
    );
    made.logger[level]({ text: `key kes:v1:${canary}` }, `text kes:v1:${canary} more`);
    made.logger[level]({ err: new Error(`bad file ${pem}`) }, pem);
    made.logger.child({ token: canary })[level]({ headers: { cookie: canary } }, 'c');
  }
  const text = read();
  t.equal(text.split('\n').length, 31);
  t.notMatch(text, canary);
  t.notMatch(text, Buffer.from(canary).toString('base64'));
  t.notMatch(text, [...bytes].slice(0, 5).join(','), 'nor as a list of numbers');
  t.match(text, 'more', 'the rest of the text stays');
});

t.test('an error shows its code, its detail and its causes', async (t) => {
  const { log: made, read } = log(t);
  const cause = Object.assign(new Error('no space left'), { code: 'ENOSPC' });
  const middle = new AggregateError([new Error('one'), 'two'], 'several', { cause });
  made.logger.error(
    { err: new SelloError('SELLO_STORE_FAILED', { detail: 'writing app-key', cause: middle }) },
    'failed',
  );
  const { err } = JSON.parse(read()) as { err: Record<string, unknown> };
  t.match(err, {
    type: 'SelloError',
    code: 'SELLO_STORE_FAILED',
    detail: 'writing app-key',
    cause: {
      message: 'several',
      errors: [{ message: 'one' }, { message: 'two' }],
      cause: { code: 'ENOSPC' },
    },
  });
  t.equal(err.stack, undefined, 'a foreseen failure needs no stack');
  t.match((err.cause as { stack: string }).stack, /at /, 'a fault does');
});

t.test('errors that cause each other end', async (t) => {
  const { log: made, read } = log(t);
  const a = new Error('a');
  const b = new Error('b', { cause: a });
  a.cause = b;
  made.logger.error({ err: a }, 'loop');
  made.logger.error({ err: { not: 'an error' } }, 'thrown');
  t.match(read(), /"thrown"/);
});

t.test('the pretty form is one line for people, and cannot steer their terminal', async (t) => {
  const { log: made, read } = log(t, 'pretty');
  made.logger.warn(
    { tenant: 'acme', path: '/\u001b[2Jx\nfake', n: 3 },
    'odd\u001b]0;title\u0007 path\nERROR fake',
  );
  t.match(
    read(),
    /^\d\d:\d\d:\d\d\.\d{3} WARN {2}odd\\u001b\]0;title\\u0007 path\\u000aERROR fake tenant=acme path="\/\\u001b\[2Jx\\nfake" n=3\n$/,
  );
});

t.test('the error tap hears errors, their fields included, and nothing else', async (t) => {
  const { log: made } = log(t);
  const heard: string[] = [];
  const leave = made.onError((message) => heard.push(message));
  made.onError(() => {
    throw new Error('a listener that fails harms nobody');
  });
  made.logger.warn('not an error');
  made.logger.error({ key: 'app-key', password: 'c4n4ry' }, 'failed to read key');
  leave();
  made.logger.error('after');
  t.match(heard, [/ERROR failed to read key key=app-key password=\[redacted\]$/]);
  t.equal(heard.length, 1);
});

t.test('a reader that goes away or stops reading does not end or stop the process', async (t) => {
  const script = `
    import fs from 'node:fs';
    import { createLogger } from ${JSON.stringify(path.resolve('src/telemetry/index.ts'))};
    const log = createLogger({ level: 'info', format: 'json' });
    let turns = 0;
    const timer = setInterval(() => {
      for (let i = 0; i < 1000; i++) log.logger.info({ pad: 'x'.repeat(200) }, 'line');
      if (++turns === 10) { clearInterval(timer); fs.writeSync(2, 'dropped ' + log.dropped + '\\n'); process.kill(process.pid, 'SIGKILL'); }
    }, 5);`;
  for (const reader of ['stops', 'gone']) {
    const stdio = ['ignore', 'pipe', 'pipe'] as const;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: [...stdio] });
    const guard = setTimeout(() => child.kill('SIGKILL'), 10_000);
    if (reader === 'gone') child.stdout!.destroy();
    let said = '';
    child.stderr!.setEncoding('utf8').on('data', (text: string) => (said += text));
    await new Promise((resolve) => child.on('exit', resolve));
    await new Promise((resolve) => setImmediate(resolve));
    clearTimeout(guard);
    child.stdout!.destroy();
    t.match(said, /^dropped \d+\n/, `a reader that ${reader}: the process ran to its end`);
    if (reader === 'stops') t.notMatch(said, 'dropped 0\n', 'what found no room is counted');
  }
});

t.test('the last line before an exit is not lost', async (t) => {
  const script = `
    import { createLogger } from ${JSON.stringify(path.resolve('src/telemetry/index.ts'))};
    const log = createLogger({ level: 'info', format: 'json' });
    for (let i = 0; i < 100; i++) log.logger.info({ i }, 'line');
    log.logger.fatal('last words');
    process.exit(1);`;
  let out: string;
  try {
    out = execFileSync(process.execPath, ['--input-type=module', '-e', script], {
      encoding: 'utf8',
      stdio: 'pipe',
    });
  } catch (error) {
    out = (error as { stdout: string }).stdout;
  }
  t.equal(out.split('\n').length, 102);
  t.match(out, /last words/);
});

t.test('request ids are unique, 24 digits, and tell processes apart', async (t) => {
  const ids = Array.from({ length: 100_000 }, newRequestId);
  t.equal(new Set(ids).size, ids.length);
  t.ok(ids.every((id) => /^[0-9a-f]{24}$/.test(id)));
  const script = `import { newRequestId } from ${JSON.stringify(path.resolve('src/telemetry/index.ts'))}; console.log(newRequestId());`;
  const other = execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
  t.not(other.slice(0, 16), ids[0]!.slice(0, 16));
});
