/** `sello seal`, `open` and `inspect` on files, with a server's key and without one. */
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { runCommand } from './pipes.ts';
import { clientEnv, startSeededServer } from './seeded-server.ts';

const server = await startSeededServer();
t.teardown(() => server.close());
const file = (name: string) => path.join(server.folder, name);
const sello = (argv: string[], more: Parameters<typeof runCommand>[1] = {}) =>
  runCommand(argv, { env: clientEnv(server), cwd: server.folder, ...more });

const message = randomBytes(300_000);
writeFileSync(file('plain'), message);
writeFileSync(file('own.key'), randomBytes(32));
writeFileSync(file('text.key'), `${randomBytes(32).toString('base64')}\n`);

t.test('a file goes round under a master key of the server', async (t) => {
  t.equal((await sello(['key', 'create', '-k', 'files-key'])).exit, 0);
  t.match(await sello(['seal', '-k', '--key', 'files-key', 'plain']), { exit: 0, stdout: '', stderr: '' });
  const shown = JSON.parse((await sello(['inspect', '--json', 'plain.sealed'])).stdout) as Record<
    string,
    unknown
  >;
  t.match(shown, {
    encryption: 'sse-s3',
    key: 'files-key',
    cipher: 'aes-256-gcm',
    segments: 3,
    plain_bytes: 300_000,
  });
  t.match(await sello(['open', '-k', 'plain.sealed', '-o', 'again']), { exit: 0, stderr: '' });
  t.ok(readFileSync(file('again')).equals(message));
  const people = await sello(['inspect', 'plain.sealed']);
  t.match(people.stdout, /Master key +files-key\n/);
  t.match(people.stderr, /authenticated/);
});

t.test('a file goes round under a key of its own, through pipes too', async (t) => {
  for (const key of ['own.key', 'text.key']) {
    t.equal(
      (
        await sello(
          ['seal', '--key-file', key, '--cipher', 'chacha20-poly1305', '--force', '-o', 'b.sealed', '-'],
          { stdin: 'hello' },
        )
      ).exit,
      0,
    );
    t.same(await sello(['open', '--key-file', key, 'b.sealed', '-o', '-']), {
      exit: 0,
      stdout: 'hello',
      stderr: '',
    });
  }
});

t.test('what does not open leaves no file', async (t) => {
  t.equal((await sello(['seal', '--key-file', 'own.key', 'plain', '-o', 'c.sealed'])).exit, 0);
  const sealed = readFileSync(file('c.sealed'));
  for (const [what, bytes, options] of [
    ['damaged at its end', Buffer.concat([sealed.subarray(0, -1), Buffer.of(sealed.at(-1)! ^ 1)]), []],
    ['cut', sealed.subarray(0, 200_000), []],
    ['cut at a segment', sealed.subarray(0, sealed.length - (300_000 - 2 * 131_072) - 16), []],
    ['another place', sealed, ['--object', 'other']],
    ['another key', sealed, ['--key-file', 'text.key']],
    ['something else', Buffer.from('hello, this is no sealed file'), []],
    ['empty', Buffer.alloc(0), []],
  ] as const) {
    writeFileSync(file('bad.sealed'), bytes);
    const result = await sello(['open', '--key-file', 'own.key', ...options, 'bad.sealed']);
    t.equal(result.exit, 1, what);
    t.match(result.stderr, /^Error: .*(does not open|not a sealed file|damaged)/, what);
    t.notOk(existsSync(file('bad')), `${what}: no output`);
  }
  t.same(
    readdirSync(server.folder).filter((name) => name.includes('partial')),
    [],
    'nothing half is left',
  );
});

t.test('a range opens, and nothing else of the file is read', async (t) => {
  const segment = 131_072;
  const whole = randomBytes(2 * segment);
  writeFileSync(file('even'), whole);
  for (const [name, bytes] of [
    ['plain', message],
    ['even', whole],
  ] as const) {
    const sealedName = `${name}.r.sealed`;
    t.equal((await sello(['seal', '--key-file', 'own.key', '--force', name, '-o', sealedName])).exit, 0);
    for (const [range, from, to] of [
      ['0-0', 0, 1],
      ['5-131071', 5, segment],
      ['131071-131072', segment - 1, segment + 1],
      ['131072-140000', segment, 140_001],
      ['262143-', 2 * segment - 1, bytes.length],
      ['-1', bytes.length - 1, bytes.length],
      ['-9999999', 0, bytes.length],
      ['7-9999999', 7, bytes.length],
    ] as const) {
      const result = await sello([
        ...['open', '--key-file', 'own.key', '--range', range, '--force', '-o', 'piece'],
        sealedName,
      ]);
      t.match(result, { exit: 0, stderr: '' }, `${name} ${range}`);
      t.ok(readFileSync(file('piece')).equals(bytes.subarray(from, to)), `${name} ${range}`);
    }
  }
  const sealed = readFileSync(file('plain.r.sealed'));
  const opens = (range: string, ...more: string[]) =>
    sello([
      'open',
      '--key-file',
      'own.key',
      '--range',
      range,
      '--force',
      '-o',
      'piece2',
      'x.sealed',
      ...more,
    ]);
  // Damage in the third segment is none of the first one's business.
  writeFileSync(file('x.sealed'), Buffer.concat([sealed.subarray(0, -1), Buffer.of(sealed.at(-1)! ^ 1)]));
  t.equal((await opens('10-20')).exit, 0);
  t.match(await opens('-20'), { exit: 1, stderr: /does not open/ });
  // Cut so that it has the length of a shorter file of two whole segments: its end is not authentic.
  const cut = sealed.length - (300_000 - 2 * segment);
  writeFileSync(file('x.sealed'), sealed.subarray(0, cut));
  for (const range of ['-20', '262140-', '262140-999999'])
    t.match(await opens(range), { exit: 1, stderr: /does not open/ }, `cut, ${range}`);
  writeFileSync(file('x.sealed'), sealed.subarray(0, cut - 1));
  t.match(await opens('0-1'), { exit: 1, stderr: /it is cut/ });
  writeFileSync(file('x.sealed'), sealed);
  t.match(await opens('300000-'), { exit: 1, stderr: /no byte of the range.*300000 bytes/s });
  t.match(await opens('9-3'), { exit: 1, stderr: /no byte of the range/ });
  t.match(await opens('1-2', '--object', 'other'), { exit: 1, stderr: /another place/ });
  for (const range of ['1', '-', 'a-b', '1-2,4-5', '--1', '1-99999999999999999'])
    t.match(await opens(range), { exit: 1, stderr: /--range is/ }, range);
  t.match(await sello(['open', '--key-file', 'own.key', '--range', '1-2', '-']), {
    exit: 1,
    stderr: /needs a file/,
  });
  writeFileSync(file('x.sealed'), 'hello');
  t.match(await opens('0-1'), { exit: 1, stderr: /not a sealed file/ });
});

t.test('files are not overwritten, and a command line that cannot be understood says so', async (t) => {
  t.match(await sello(['seal', '--key-file', 'own.key', 'plain', '-o', 'c.sealed']), {
    exit: 1,
    stderr: /exists/,
  });
  t.match(await sello(['seal', 'plain']), { exit: 1, stderr: /either --key or --key-file/ });
  t.match(await sello(['seal', '--key-file', 'plain', 'plain']), { exit: 1, stderr: /is not a key/ });
  t.match(await sello(['open', '--key-file', 'own.key', 'plain']), { exit: 1, stderr: /--output/ });
  t.match(await sello(['inspect', 'plain']), { exit: 1, stderr: /not sealed/ });
  t.match(await sello(['inspect', 'nowhere']), { exit: 1, stderr: /no such file/ });
});

t.test('progress is for terminals', async (t) => {
  const { stderr } = await sello(['seal', '--key-file', 'own.key', '--force', 'plain', '-o', 'd.sealed'], {
    terminal: true,
  });
  t.match(stderr, /plain {2}\[#*\.*\] \d+%/);
  t.ok(stderr.endsWith('\r\x1b[K'), 'and is gone at the end');
});
