/** What Sello's command line does beyond KES's, and how it treats people. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { X509Certificate, createPrivateKey } from 'node:crypto';
import os from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import { parseMetrics } from '../../src/cli/metrics.ts';
import { parseGoDuration } from '../../src/cli/go-duration.ts';
import { runCommand } from './pipes.ts';
import { clientEnv, startSeededServer } from './seeded-server.ts';

function temporaryFolder(t: Test): string {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'sello-cli-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

void t.test('against a running server', async (t) => {
  const server = await startSeededServer();
  t.teardown(() => server.close());
  const sello = (argv: string[], more: Parameters<typeof runCommand>[1] = {}) =>
    runCommand(argv, { env: clientEnv(server), cwd: server.folder, ...more });

  await t.test('a list of nothing is [] with --json (docs/kes-cli.md, json-empty)', async (t) => {
    for (const argv of [
      ['key', 'ls'],
      ['ls'],
      ['policy', 'ls'],
      ['identity', 'ls'],
      ['ls', '-p'],
      ['ls', '-i'],
    ]) {
      t.same(
        await sello([...argv, '-k', '--json', 'zzz']),
        { exit: 0, stdout: '[]\n', stderr: '' },
        argv.join(' '),
      );
    }
  });

  await t.test('lists by a prefix that ends in a dash (docs/kes-cli.md, prefix-dash)', async (t) => {
    t.equal((await sello(['key', 'ls', '-k', 'app-'])).stdout, 'Key\napp-internal\napp-key\n');
    t.equal((await sello(['key', 'ls', '-k', 'app-i*'])).stdout, 'Key\napp-internal\n');
  });

  await t.test('every command that changes something says what with --json', async (t) => {
    t.same(JSON.parse((await sello(['key', 'create', '-k', '--json', 'j1', 'j2'])).stdout), {
      created: ['j1', 'j2'],
    });
    const key = Buffer.alloc(32, 1).toString('base64');
    t.same(JSON.parse((await sello(['key', 'import', '-k', '--json', 'j3', key])).stdout), {
      imported: 'j3',
    });
    t.same(JSON.parse((await sello(['key', 'rm', '-k', '--json', 'j1', 'j2', 'j3'])).stdout), {
      deleted: ['j1', 'j2', 'j3'],
    });
  });

  await t.test('takes secrets from standard input and from files', async (t) => {
    const key = `${Buffer.alloc(32, 2).toString('base64')}\n`;
    t.same(await sello(['key', 'import', '-k', 'stdin-key', '-'], { stdin: key }), {
      exit: 0,
      stdout: '',
      stderr: '',
    });
    const { stdout } = await sello(['key', 'encrypt', '-k', 'stdin-key', '--file', '-'], { stdin: 'secret' });
    const { ciphertext } = JSON.parse(stdout) as { ciphertext: string };
    const opened = await sello(['key', 'decrypt', '-k', 'stdin-key', '-'], { stdin: `${ciphertext}\n` });
    t.same(opened, {
      exit: 0,
      stdout: `{"plaintext":"${Buffer.from('secret').toString('base64')}"}`,
      stderr: '',
    });
    writeFileSync(path.join(server.folder, 'message'), 'from a file');
    t.equal((await sello(['key', 'encrypt', '-k', 'stdin-key', '--file', 'message'])).exit, 0);
    t.match(await sello(['key', 'import', '-k', 'x', '-']), { exit: 1, stderr: /no crypto key specified/ });
    t.match(await sello(['key', 'import', '-k', 'x', '-'], { stdin: 'A'.repeat(5000) }), {
      exit: 1,
      stderr: /^Error: standard input holds more than a key\nGive the 32 bytes/,
    });
  });

  await t.test('binds an encrypted message to a context', async (t) => {
    const { stdout } = await sello(['key', 'encrypt', '-k', 'app-key', 'Hello', '--context', 'Y3R4']);
    const { ciphertext } = JSON.parse(stdout) as { ciphertext: string };
    t.match(await sello(['key', 'decrypt', '-k', 'app-key', ciphertext]), {
      exit: 1,
      stderr: /not authentic/,
    });
    t.match(await sello(['key', 'decrypt', '-k', 'app-key', ciphertext, 'Y3R4']), {
      exit: 0,
      stdout: /SGVsbG8=/,
    });
  });

  await t.test('values end with a newline on a terminal and without one in a pipe', async (t) => {
    t.notMatch((await sello(['key', 'dek', '-k', 'app-key'])).stdout, /\n/);
    t.match((await sello(['key', 'dek', '-k', 'app-key'], { terminal: true })).stdout, /\}\n$/);
    t.match((await sello(['key', 'info', '-k', 'app-key'], { terminal: true })).stdout, /\n$/);
  });

  await t.test('colours are for terminals, and for those who want them', async (t) => {
    const escape = '\u001b[';
    t.notMatch((await sello(['status', '-k'])).stdout, escape);
    t.match((await sello(['status', '-k'], { terminal: true })).stdout, escape);
    t.notMatch((await sello(['status', '-k', '--color', 'never'], { terminal: true })).stdout, escape);
    const noColor = { ...clientEnv(server), NO_COLOR: '1' };
    t.notMatch((await sello(['status', '-k'], { terminal: true, env: noColor })).stdout, escape);
    t.match((await sello(['status', '-k', '--color', 'always'])).stdout, escape);
  });

  await t.test("a refusal is KES's one line in a pipe, and comes with advice on a terminal", async (t) => {
    const denied = { env: clientEnv(server, 'unknown') };
    const line = 'Error: failed to list keys: not authorized: insufficient permissions\n';
    t.equal((await sello(['key', 'ls', '-k'], denied)).stderr, line);
    t.match((await sello(['key', 'ls', '-k'], { ...denied, terminal: true })).stderr, /Ask an administrator/);
  });

  await t.test('trusts a server by its CA, and advises so when it does not', async (t) => {
    t.match(await sello(['status']), { exit: 1, stderr: /not trusted\nName its CA with --ca FILE/ });
    t.match(await sello(['status', '--ca', 'server.crt', '-s']), { exit: 0 });
    t.match(await sello(['status', '-s'], { env: { ...clientEnv(server), SELLO_CA_FILE: 'server.crt' } }), {
      exit: 0,
    });
    t.match(await sello(['status', '--ca', 'nope.crt']), {
      exit: 1,
      stderr: 'Error: reading CA file: open nope.crt: no such file or directory\n',
    });
  });

  await t.test('its own variables come before those of KES', async (t) => {
    const env = {
      ...clientEnv(server),
      MINIO_KES_SERVER: server.closedAddress,
      SELLO_SERVER: server.address,
    };
    t.equal((await sello(['status', '-k', '-s'], { env })).stdout, `● ${server.address}\n`);
    const named = { ...clientEnv(server), SELLO_SERVER: server.closedAddress };
    t.equal((await sello(['status', '-k', '-s', '--server', server.address], { env: named })).exit, 0);
  });

  await t.test('reads an API key from a file', async (t) => {
    writeFileSync(
      path.join(server.folder, 'api-key'),
      'kes:v1:AD9E7FSYWrMD+VjhI6q545cYT9YOyFxZb7UnjEepYDRc\n',
    );
    const env = { SELLO_SERVER: server.address, SELLO_API_KEY_FILE: 'api-key' };
    t.match(await sello(['key', 'ls', '-k'], { env }), { exit: 1, stderr: /not authorized/ });
  });

  await t.test('of several servers each is shown, and one that is down fails the command', async (t) => {
    const both = `${server.address},${server.closedAddress}`;
    const outcome = await sello(['status', '-k', '-s', '--server', both]);
    t.equal(outcome.exit, 1);
    t.match(outcome.stdout, `● ${server.address}\n`);
    t.match(
      outcome.stdout,
      `● ${server.closedAddress}\n  cannot reach ${server.closedAddress}: connection refused\n`,
    );
  });

  await t.test('prints metrics as text or as JSON', async (t) => {
    t.match(await sello(['metric', '-k']), { exit: 0, stderr: '' });
    t.type(JSON.parse((await sello(['metrics', '-k', '--json'])).stdout), Array);
    t.match(await sello(['metrics', '-k', '--rate', 'x']), {
      exit: 1,
      stderr: /invalid argument "x" for "--rate"/,
    });
  });

  await t.test('prints metrics again until it is interrupted', async (t) => {
    const interrupt = new AbortController();
    let prints = 0;
    const onStdout = () => {
      if (++prints === 3) interrupt.abort();
    };
    const outcome = await sello(['metrics', '-k', '--json', '--rate', '1ms'], {
      signal: interrupt.signal,
      onStdout,
    });
    t.equal(outcome.exit, 0);
    t.equal(outcome.stdout.trimEnd().split('\n').length, 3);
  });

  await t.test('shows a policy as a table on a terminal', async (t) => {
    const { stdout } = await sello(['policy', 'show', '-k', 'app', '--color', 'never'], { terminal: true });
    t.match(stdout, /^Allow:\n {2}· \/v1\/key\/create\/app\*\n/);
    t.match(stdout, /\nDeny:\n {2}· \/v1\/key\//);
  });

  await t.test('says who one is, and on a terminal what one may do', async (t) => {
    const options = { env: clientEnv(server, 'app') };
    t.notMatch((await sello(['identity', 'info', '-k'], options)).stdout, /allow/);
    t.match(
      (await sello(['identity', 'info', '-k'], { ...options, terminal: true })).stdout,
      / {2}allow \/v1\/status\n/,
    );
    const json = JSON.parse((await sello(['identity', 'info', '-k', '--json'], options)).stdout) as {
      policy: string;
    };
    t.equal(json.policy, 'app');
  });
});

void t.test('makes certificates with the identity of the API key', async (t) => {
  const cwd = temporaryFolder(t);
  const argv = ['identity', 'new', '--key', 'a.key', '--cert', 'a.crt', '--json'];
  const made = await runCommand(
    [...argv, '--ip', '10.0.0.1', '--dns', 'kes.example', '--expiry', '1h30m', 'node'],
    { cwd },
  );
  const { identity, api_key } = JSON.parse(made.stdout) as { identity: string; api_key: string };
  const certificate = new X509Certificate(readFileSync(path.join(cwd, 'a.crt')));
  t.equal(statSync(path.join(cwd, 'a.key')).mode & 0o777, 0o600);
  t.equal(certificate.subject, 'CN=node');
  t.equal(certificate.subjectAltName, 'DNS:kes.example, IP Address:10.0.0.1');
  t.equal(certificate.validToDate.getTime() - certificate.validFromDate.getTime(), 5_400_000);
  t.ok(certificate.checkPrivateKey(createPrivateKey(readFileSync(path.join(cwd, 'a.key')))));
  t.equal((await runCommand(['identity', 'of', 'a.crt'], { cwd })).stdout, identity);
  t.equal((await runCommand(['identity', 'of', '-'], { stdin: `${api_key}\n` })).stdout, identity);
});

void t.test('encrypts a private key with a password from a file', async (t) => {
  const cwd = temporaryFolder(t);
  writeFileSync(path.join(cwd, 'password'), 'correct horse\n');
  const files = ['--key', 'a.key', '--cert', 'a.crt'];
  t.match(await runCommand(['identity', 'new', ...files, '--encrypt'], { cwd }), {
    exit: 1,
    stderr: /--password-file/,
  });
  t.notOk(existsSync(path.join(cwd, 'a.key')));
  const made = await runCommand(['identity', 'new', ...files, '--encrypt', '--password-file', 'password'], {
    cwd,
  });
  t.equal(made.exit, 0);
  const pem = readFileSync(path.join(cwd, 'a.key'));
  t.match(pem.toString(), /^-----BEGIN ENCRYPTED PRIVATE KEY-----/);
  t.throws(() => createPrivateKey({ key: pem, passphrase: 'wrong' }));
  t.ok(createPrivateKey({ key: pem, passphrase: 'correct horse' }));
  const env = { SELLO_KEY_FILE: 'a.key', SELLO_CERT_FILE: 'a.crt' };
  t.match(await runCommand(['key', 'ls'], { cwd, env }), {
    exit: 1,
    stderr: /is encrypted\n.*SELLO_KEY_PASSWORD_FILE/,
  });
});

void t.test('a command line that asks for nothing prints the usage and ends with 2', async (t) => {
  for (const argv of [[], ['key'], ['policy'], ['config']]) {
    t.match(await runCommand(argv), { exit: 2, stdout: '', stderr: /^Usage: sello/ }, argv.join(' '));
  }
});

void t.test('--help is printed to standard output and ends with 0, for every command', async (t) => {
  const seen: string[] = [];
  const visit = async (argv: string[]): Promise<void> => {
    const { exit, stdout, stderr } = await runCommand([...argv, '--help']);
    t.equal(exit, 0, argv.join(' '));
    t.equal(stderr, '');
    t.match(stdout, `Usage: ${['sello', ...argv].join(' ')}`);
    t.ok(stdout.split('\n').length < 60, 'short');
    seen.push(argv.join(' '));
    const section = stdout.split(/^Examples:/m)[0]!;
    const commands = [...section.matchAll(/^ {2}([a-z]+)(?:, [a-z]+)? {2,}\S/gm)].map((match) => match[1]!);
    for (const command of commands) await visit([...argv, command]);
  };
  await visit([]);
  for (const expected of [
    'serve',
    'dev',
    'key dek',
    'identity new',
    'policy test',
    'config check',
    'completion',
  ]) {
    t.ok(seen.includes(expected), expected);
  }
});

void t.test('names what is wrong with a command line, and where the help is', async (t) => {
  const cases: [string[], string][] = [
    [['nope'], `"nope" is not a sello command. See 'sello --help'`],
    [['key', 'nope'], `"nope" is not a key command. See 'sello key --help'`],
    [['key', 'ls', '--nope'], `unknown flag: --nope. See 'sello key ls --help'`],
    [['key', 'ls', '-x'], `unknown shorthand flag: 'x' in -x. See 'sello key ls --help'`],
    [['key', 'ls', '--server'], `flag needs an argument: --server. See 'sello key ls --help'`],
    [['ls', '-i', '-p'], `'--identity' and '--policy' flags are mutually exclusive. See 'sello ls --help'`],
    [['completion', 'tcsh'], `no completion for 'tcsh' (bash, zsh, fish). See 'sello completion --help'`],
    [
      ['identity', 'new', '--ip', 'x'],
      `invalid argument "x" for "--ip" flag: failed to parse IP: "x". See 'sello identity new --help'`,
    ],
  ];
  for (const [argv, message] of cases) {
    t.same(await runCommand(argv), { exit: 1, stdout: '', stderr: `Error: ${message}\n` }, argv.join(' '));
  }
});

void t.test('serve says what is missing before it starts anything', async (t) => {
  t.match(await runCommand(['serve']), {
    exit: 1,
    stderr: /^Error: no configuration file\nName one with --config/,
  });
  t.match(await runCommand(['server', '--config', 'nope.yml']), {
    exit: 1,
    stderr: /^Error: open nope.yml: no such file or directory\n/,
  });
  t.match(await runCommand(['server', '--dev', '--config', 'srv.yml']), {
    exit: 1,
    stderr: "Error: '--config' flag is not supported in development mode\n",
  });
  t.match(await runCommand(['dev', '--port', '70000']), { exit: 1, stderr: /not a port/ });
});

void t.test('completion scripts are scripts of their shells, and complete', async (t) => {
  const bash = await runCommand(['completion', 'bash']);
  t.equal(bash.exit, 0);
  const ask = (line: string, words: string[]) => {
    const script = `${bash.stdout}\nCOMP_WORDS=(${words.join(' ')} '')\nCOMP_CWORD=${String(words.length)}\nCOMP_LINE='${line}'\n_sello_complete\nprintf '%s\\n' "\${COMPREPLY[@]}"`;
    return spawnSync('bash', ['--norc', '-c', script], { encoding: 'utf8' }).stdout.trim().split('\n');
  };
  t.ok(ask('sello ', ['sello']).includes('identity'));
  t.same(
    ask('sello policy ', ['sello', 'policy']).filter((word) => !word.startsWith('-')),
    ['info', 'ls', 'show', 'test'],
  );
  t.ok(ask('sello key dek my-key ', ['sello', 'key', 'dek', 'my-key']).includes('--insecure'));
  for (const shell of ['zsh', 'fish']) {
    const { stdout } = await runCommand(['completion', shell]);
    t.match(stdout, /identity/);
    // By a file: fish does not read a script from a pipe.
    const script = path.join(t.testdir({ script: stdout }), 'script');
    const checked = spawnSync(shell, ['-n', script], { encoding: 'utf8' });
    if (checked.error === undefined) t.equal(checked.status, 0, `${shell} reads it: ${checked.stderr}`);
    else t.pass(`${shell} reads it`, { skip: `${shell} is not installed` });
  }
});

void t.test('reads Prometheus text', (t) => {
  const text = '# HELP a b\na 1\nb{x="1",y="q\\"\\n"} 2.5e3 170\nc_bucket{le="+Inf"} +Inf\n\nnot a sample\n';
  t.same(parseMetrics(text), [
    { name: 'a', value: 1 },
    { name: 'b', labels: { x: '1', y: 'q"\n' }, value: 2500 },
    { name: 'c_bucket', labels: { le: '+Inf' }, value: '+Inf' },
  ]);
  t.end();
});

void t.test('reads durations as Go does', (t) => {
  t.equal(parseGoDuration('1h30m'), 5_400_000);
  t.equal(parseGoDuration('1.5s'), 1500);
  t.equal(parseGoDuration('0'), 0);
  for (const wrong of ['', '5', 'h', '1 h', '1d', '-1h']) t.equal(parseGoDuration(wrong), undefined, wrong);
  t.end();
});
