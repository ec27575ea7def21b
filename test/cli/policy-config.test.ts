/** `policy test` and `config check`: what a configuration means, without a server. */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import { runCommand } from './pipes.ts';
import { readRecordings } from './recordings.ts';

const app = 'a9ea4b8fedf13164190bc1da3147b129f8bb7ba2d79b54711e922e3630cec9b0';
const ops = '7dfffc9ea0a5812ce3252ffd400b0d1d11820b705bc09eb3293a2675135f212b';
const admin = 'f5e70f8a8db7182880796cc708b19925469e4e46591fa2598f4b933dbf08ecf8';

const sello = `version: sello/v1
listeners: [{address: "127.0.0.1:0", tls: {cert: server.crt, key: server.key}}]
tenants:
  - name: photos
    admins: [${admin}]
    clients: {auth: off}
    keystore: {fs: {path: keys}}
    audit: {path: audit.jsonl}
    policies:
      app:
        identities: [${app}]
        allow: [{operations: [issue, unwrap], keys: [app*], conditions: {sources: [10.0.0.0/8], context: {bucket: "p*"}}}]
        deny: [{operations: ["*"], keys: [app-internal*]}]
`;

function folder(t: Test, files: Record<string, string> = {}): string {
  const made = mkdtempSync(path.join(os.tmpdir(), 'sello-cli-'));
  t.teardown(() => rmSync(made, { recursive: true, force: true }));
  cpSync(path.join(import.meta.dirname, '../fixtures/pki'), made, { recursive: true });
  mkdirSync(path.join(made, 'keys'));
  for (const [name, text] of Object.entries(files)) writeFileSync(path.join(made, name), text);
  return made;
}

/** The configuration of the recorded KES server. */
function recordedConfig(): string {
  const file = path.join(import.meta.dirname, '../wire/kes/routes.json');
  return (JSON.parse(readFileSync(file, 'utf8')) as { server_config: string }).server_config;
}

void t.test('policy test', async (t) => {
  const cwd = folder(t, { 'sello.yaml': sello, 'kes.yaml': recordedConfig() });
  const ask = (...argv: string[]) => runCommand(['policy', 'test', ...argv], { cwd });
  const context = ['--context', 'bucket=photos', '--source', '10.1.2.3'];

  await t.test('says which rule allows, and ends with 0', async (t) => {
    const { exit, stdout } = await ask('--config', 'kes.yaml', '--policy', 'app', 'issue', 'app-key');
    t.equal(exit, 0);
    t.match(stdout, /^allowed: policy app: allow \/v1\/key\/generate\/app\*\n/);
    t.match(stdout, /\n {2}✓ allow \/v1\/key\/generate\/app\* /);
  });

  await t.test('says which rule denies, and ends with 1', async (t) => {
    const denied = await ask('--config', 'kes.yaml', '--identity', app, 'unwrap', 'app-internal');
    t.match(denied, {
      exit: 1,
      stderr: '',
      stdout: /^denied: policy app: deny \/v1\/key\/decrypt\/app-internal\*\n/,
    });
    t.match(await ask('--config', 'kes.yaml', '--identity', app, '/v1/key/list/x'), {
      exit: 1,
      stdout: /^denied: no rule of policy app\n/,
    });
  });

  await t.test('takes context, source and interface into account', async (t) => {
    const asked = ['--config', 'sello.yaml', '--policy', 'app'];
    t.match(await ask(...asked, ...context, 'issue', 'app-1'), { exit: 0, stdout: /^allowed: policy app/ });
    t.equal((await ask(...asked, ...context, '--face', 'objects', 'unwrap', 'app-1')).exit, 0);
    t.equal(
      (await ask(...asked, '--context', 'bucket=photos', '--source', '11.0.0.1', 'issue', 'app-1')).exit,
      1,
    );
    t.equal(
      (await ask(...asked, '--context', 'bucket=other', '--source', '10.0.0.1', 'issue', 'app-1')).exit,
      1,
    );
    t.match(await ask(...asked, ...context, 'issue', 'app-internal'), {
      exit: 1,
      stdout: /^denied: policy app: deny/,
    });
  });

  await t.test('knows admins and strangers', async (t) => {
    t.match(await ask('--config', 'sello.yaml', '--identity', admin, 'delete', 'x'), {
      exit: 0,
      stdout: 'allowed: admin\n',
    });
    t.match(await ask('--config', 'sello.yaml', '--identity', ops, 'delete', 'x'), {
      exit: 1,
      stdout: 'denied: no policy\n',
    });
  });

  await t.test('gives all of it as JSON', async (t) => {
    const { stdout } = await ask('--config', 'kes.yaml', '--identity', app, '--json', 'issue', 'app-key');
    t.match(JSON.parse(stdout), {
      allowed: true,
      policy: 'app',
      rule: 'policy app: allow /v1/key/generate/app*',
    });
  });

  await t.test('says what it cannot understand', async (t) => {
    const cases: [string[], RegExp][] = [
      [['--policy', 'app', 'issue', 'k'], /no configuration file specified/],
      [['--config', 'sello.yaml', '--policy', 'app'], /no operation specified/],
      [['--config', 'sello.yaml', 'issue', 'k'], /either '--identity' or '--policy' must be set/],
      [['--config', 'sello.yaml', '--policy', 'nope', 'issue', 'k'], /no policy 'nope'\nThere are: app\./],
      [['--config', 'sello.yaml', '--identity', 'ab', 'issue', 'k'], /'ab' is not an identity\n/],
      [
        ['--config', 'sello.yaml', '--policy', 'app', 'generate', 'k'],
        /unknown operation 'generate'\nThere are: create, /,
      ],
      [['--config', 'sello.yaml', '--policy', 'app', 'issue'], /no key name specified/],
      [['--config', 'sello.yaml', '--policy', 'app', '/v2/x'], /'\/v2\/x' is not a path of the KES API/],
      [
        ['--config', 'sello.yaml', '--tenant', 'x', '--policy', 'app', 'issue', 'k'],
        /has no tenant 'x'\nThere are: photos\./,
      ],
    ];
    for (const [argv, message] of cases)
      t.match(await ask(...argv), { exit: 1, stdout: '', stderr: message });
  });
});

void t.test('config check', async (t) => {
  await t.test('passes a good file', async (t) => {
    const cwd = folder(t, { 'sello.yaml': sello });
    const outcome = await runCommand(['config', 'check', 'sello.yaml'], { cwd });
    t.match(outcome, { exit: 0, stderr: '' });
    t.match(outcome.stdout, /\nsello.yaml: ok, 1 tenant\n$/);
  });

  await t.test('names the line of every finding', async (t) => {
    const cwd = folder(t, { 'kes.yaml': recordedConfig().replaceAll('./', '') });
    const outcome = await runCommand(['config', 'check', 'kes.yaml'], { cwd });
    t.equal(outcome.exit, 1);
    t.match(outcome.stdout, /^error: kes\.yaml:\d+: .*\/v1\/key\/\*\/app-internal/m);
    t.match(outcome.stderr, /^Error: kes.yaml has \d+ errors\n/);
    const json = await runCommand(['config', 'check', '--json', 'kes.yaml'], { cwd });
    const { ok, findings } = JSON.parse(json.stdout) as {
      ok: boolean;
      findings: { level: string; line?: number }[];
    };
    t.equal(ok, false);
    t.ok(findings.some(({ level, line }) => level === 'error' && line !== undefined));
  });

  await t.test('names every mistake at once, with a suggestion', async (t) => {
    const cwd = folder(t, {
      'bad.yaml': recordedConfig().replace('address', 'adress').replace('  fs:', '  fss:'),
    });
    const { exit, stderr } = await runCommand(['config', 'check', 'bad.yaml'], { cwd });
    t.equal(exit, 1);
    t.match(stderr, /^Error: bad.yaml cannot be used\n {2}bad.yaml:2: .*adress.*address/);
    t.match(stderr, /\n {2}bad.yaml:\d+: .*fss.*fs/);
    t.match(stderr, /\nCorrect bad.yaml and try again.\n$/);
    const json = await runCommand(['config', 'check', '--json', 'bad.yaml'], { cwd });
    t.equal(json.exit, 1);
    t.match(JSON.parse(json.stdout), {
      file: 'bad.yaml',
      ok: false,
      findings: [{ level: 'error', line: 2, message: /adress/ }],
    });
  });

  await t.test('says when there is no such file', async (t) => {
    t.match(await runCommand(['config', 'check', 'nope.yaml'], { cwd: folder(t) }), {
      exit: 1,
      stderr: /^Error: open nope.yaml: no such file or directory\n/,
    });
  });
});

void t.test('server configurations KES refuses are refused (docs/kes-cli.md, config-text)', async (t) => {
  // 189: KES starts with an unknown API path; config-text says why Sello does not. 191, 192: no configuration at all.
  const recorded = readRecordings().filter(({ name }) => /^\d+-server-(?!no-args|dev-and)/.test(name));
  t.ok(recorded.length >= 7);
  for (const { name, note, argv } of recorded) {
    const yaml = JSON.parse(note.replace(/^config: /, '')) as string;
    const cwd = folder(t, { 'srv.yml': yaml });
    mkdirSync(path.join(cwd, 'from'));
    const outcome = await runCommand(argv, { cwd });
    t.match(outcome, { exit: 1, stdout: '', stderr: /^Error: .*srv.yml.*\n/ }, `${name}: ${outcome.stderr}`);
    t.match(outcome.stderr, /srv\.yml:\d+: /, `${name} names a line`);
  }
});
