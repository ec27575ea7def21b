/** `keystore`: real file keystores on disk, one of them open in a server of its own process. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { once } from 'node:events';
import https from 'node:https';
import os from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import { MasterKey, formatStoredKey, parseKeyName, zeroInstant } from '../../src/keys/index.ts';
import { openKeystore, type Keystore } from '../../src/keystores/index.ts';
import { runCommand } from './pipes.ts';

const pki = path.join(import.meta.dirname, '../fixtures/pki');
const main = path.join(import.meta.dirname, '../../src/main.ts');

/** The fixtures' `admin`. */
const admin = 'f5e70f8a8db7182880796cc708b19925469e4e46591fa2598f4b933dbf08ecf8';

interface Tenant {
  readonly name?: string;
  readonly store?: string;
  readonly rootKey?: string;
}

const configText = (tenants: readonly Tenant[]) => `version: sello/v1
listeners: [{address: "127.0.0.1:0", tls: {cert: server.crt, key: server.key}}]
probes: off
audit: {mode: off}
tenants:
${tenants
  .map(
    ({ name = 'photos', store = 'store', rootKey = '{file: root.key}' }, i) => `  - name: ${name}
    admins: [${i === 0 ? admin : ''}]
    clients: {auth: off}
    audit: {mode: off, path: ${name}.jsonl}
    keystore: {file: {path: ${store}, rootKey: ${rootKey}}}
`,
  )
  .join('')}`;

const facts = { algorithm: 'AES256', createdAt: zeroInstant, createdBy: '' } as const;

const rootKeys = { root: randomBytes(32), next: randomBytes(32) };

function workplace(t: Test): string {
  const cwd = mkdtempSync(path.join(os.tmpdir(), 'sello-keystore-cli-'));
  t.teardown(() => rmSync(cwd, { recursive: true, force: true }));
  for (const file of ['server.crt', 'server.key']) symlinkSync(path.join(pki, file), path.join(cwd, file));
  writeFileSync(path.join(cwd, 'root.key'), rootKeys.root.toString('base64'), { mode: 0o600 });
  writeFileSync(path.join(cwd, 'next.key'), rootKeys.next, { mode: 0o600 });
  writeFileSync(path.join(cwd, 'sello.yaml'), configText([{}]));
  writeFileSync(path.join(cwd, 'restored.yaml'), configText([{ store: 'restored' }]));
  writeFileSync(path.join(cwd, 'next.yaml'), configText([{ rootKey: '{file: next.key}' }]));
  return cwd;
}

const openStore = (cwd: string, store = 'store', rootKey = 'root.key'): Promise<Keystore> =>
  openKeystore({
    kind: 'file',
    path: path.join(cwd, store),
    rootKey: { from: 'file', path: path.join(cwd, rootKey) },
  });

async function fill(cwd: string, names: readonly string[]): Promise<void> {
  const store = await openStore(cwd);
  for (const name of names)
    await store.create(parseKeyName(name), formatStoredKey(MasterKey.generate(facts)));
  await store.close();
}

async function contents(cwd: string, store: string, rootKey?: string): Promise<Record<string, string>> {
  const opened = await openStore(cwd, store, rootKey);
  const { names } = await opened.list({ prefix: '', limit: 1024 });
  const values: Record<string, string> = {};
  for (const name of names) values[name] = (await opened.read(name)).toString('hex');
  await opened.close();
  return values;
}

interface RunningServer {
  create(name: string): Promise<number>;
  stop(): Promise<void>;
}

async function serve(t: Test, cwd: string): Promise<RunningServer> {
  const server = spawn(process.execPath, [main, 'serve', '--config', 'sello.yaml'], { cwd });
  const ended = once(server, 'exit');
  t.teardown(() => server.kill('SIGKILL'));
  let said = '';
  const port = await new Promise<number>((resolve, reject) => {
    const hear = (chunk: Buffer) => {
      said += chunk.toString();
      const found = /listening on https:\/\/127\.0\.0\.1:(\d+)/.exec(said);
      if (found !== null) resolve(Number(found[1]));
    };
    server.stdout.on('data', hear);
    server.stderr.on('data', hear);
    void ended.then(() => reject(new Error(said)));
  });
  const cert = readFileSync(path.join(pki, 'admin.crt'));
  const key = readFileSync(path.join(pki, 'admin.key'));
  return {
    create: (name) =>
      new Promise((resolve, reject) => {
        const target = { host: '127.0.0.1', port, method: 'PUT', path: `/v1/key/create/${name}` };
        https
          .request({ ...target, cert, key, rejectUnauthorized: false, agent: false }, (response) => {
            response.resume();
            resolve(response.statusCode!);
          })
          .on('error', reject)
          .end();
      }),
    async stop() {
      server.kill('SIGTERM');
      await ended;
    },
  };
}

void t.test('backs up a keystore that a server has open; restored, every key is there', async (t) => {
  const cwd = workplace(t);
  const server = await serve(t, cwd);
  for (const name of ['one', 'two', 'three']) t.equal(await server.create(name), 200);
  const backup = await runCommand(['keystore', 'backup', '--config', 'sello.yaml', 'keys.backup'], { cwd });
  t.equal(backup.exit, 0, backup.stderr);
  t.match(
    backup.stdout,
    /^Backed up 3 keys to keys\.backup \(\S+B\)\.\nIt opens with the root key [0-9a-f]{16}: keep that, and elsewhere\.\n$/,
  );
  t.equal(await server.create('later'), 200, 'the server goes on');

  const check = await runCommand(['keystore', 'check', '--config', 'sello.yaml'], { cwd });
  t.equal(check.exit, 1);
  t.match(check.stderr, /^Error: keystore of sello\.yaml: .+\n.*does no server have it open\?\n$/);
  await server.stop();

  const again = await runCommand(['keystore', 'backup', '--config', 'sello.yaml', 'keys.backup'], { cwd });
  t.equal(again.exit, 1);
  t.match(again.stderr, /keys\.backup exists\nA backup never replaces a file: name another one\.\n$/);

  const restore = await runCommand(['keystore', 'restore', '--config', 'restored.yaml', 'keys.backup'], {
    cwd,
  });
  t.same(restore, { exit: 0, stdout: `Restored 3 keys to ${path.join(cwd, 'restored')}.\n`, stderr: '' });
  const { later, ...before } = await contents(cwd, 'store');
  t.type(later, 'string');
  t.same(await contents(cwd, 'restored'), before);
  t.match(await runCommand(['keystore', 'check', '--config', 'restored.yaml'], { cwd }), {
    exit: 0,
    stdout: `${path.join(cwd, 'restored')}: ok, 3 keys, all readable\n`,
  });
});

void t.test('changes the root key under a server that goes on, and says what to configure', async (t) => {
  const cwd = workplace(t);
  const server = await serve(t, cwd);
  t.equal(await server.create('before'), 200);
  const argv = ['keystore', 'rotate-root-key', '--config', 'sello.yaml', '--to', 'file:next.key'];
  const next = path.join(cwd, 'next.key');
  const rotated = await runCommand(argv, { cwd });
  t.equal(rotated.exit, 0, rotated.stderr);
  t.equal(
    rotated.stdout,
    [
      `${path.join(cwd, 'store')} is under the new root key.`,
      'Change sello.yaml before the server starts again; tenant photos:',
      '',
      '    keystore:',
      '      file:',
      `        rootKey: { file: ${JSON.stringify(next)} }`,
      '',
      'Keep the old root key as long as backups made under it.',
      '',
    ].join('\n'),
  );
  t.equal(await server.create('after'), 200);
  await server.stop();
  const repeated = await runCommand([...argv, '--json'], { cwd });
  t.same(JSON.parse(repeated.stdout), {
    result: 'already',
    keystore: path.join(cwd, 'store'),
    tenant: 'photos',
    config: 'sello.yaml',
    root_key: { file: next },
  });
  const old = await runCommand(['keystore', 'check', '--config', 'sello.yaml'], { cwd });
  t.equal(old.exit, 1);
  t.match(old.stderr, /the store needs the root key [0-9a-f]{16}, the one given is [0-9a-f]{16}/);
  t.match(await runCommand(['keystore', 'check', '--config', 'next.yaml'], { cwd }), { exit: 0 });
  t.same(Object.keys(await contents(cwd, 'store', 'next.key')), ['after', 'before']);
});

void t.test('a root key may come from a variable or a credential', async (t) => {
  const cwd = workplace(t);
  await fill(cwd, ['one']);
  mkdirSync(path.join(cwd, 'credentials'));
  const third = randomBytes(32);
  writeFileSync(path.join(cwd, 'credentials', 'sello-root'), third, { mode: 0o600 });
  const env = {
    NEXT_ROOT: rootKeys.next.toString('hex'),
    CREDENTIALS_DIRECTORY: path.join(cwd, 'credentials'),
  };
  const rotate = (config: string, to: string) =>
    runCommand(['keystore', 'rotate-root-key', '--config', config, '--to', to], { cwd, env });
  t.match(await rotate('sello.yaml', 'env:NEXT_ROOT'), {
    exit: 0,
    stdout: /rootKey: \{ env: "NEXT_ROOT" \}/,
  });
  writeFileSync(path.join(cwd, 'env.yaml'), configText([{ rootKey: '{env: NEXT_ROOT}' }]));
  t.match(await runCommand(['keystore', 'check', '--config', 'env.yaml'], { cwd, env }), { exit: 0 });
  t.match(await rotate('env.yaml', 'credential:sello-root'), {
    exit: 0,
    stdout: /rootKey: \{ credential: "sello-root" \}/,
  });
  t.match(await rotate('env.yaml', 'env:NOT_THERE'), {
    exit: 1,
    stderr: /environment variable NOT_THERE is not set\nA root key is 32 bytes/,
  });
  t.match(await rotate('env.yaml', 'file:root.key'), {
    exit: 1,
    stderr:
      /Neither the configured root key nor the new one is the one this keystore is under\. Nothing was changed\.\n$/,
  });
  const secret = randomBytes(32).toString('base64');
  const careless = await rotate('env.yaml', secret);
  t.equal(careless.exit, 1);
  t.notOk(careless.stderr.includes(secret), 'a key given by mistake is not repeated');
});

void t.test('check names every key that cannot be read, and why', async (t) => {
  const cwd = workplace(t);
  await fill(cwd, ['good', 'damaged', 'also-good']);
  const store = await openStore(cwd);
  await store.create(parseKeyName('no-key'), Buffer.from('something else'));
  await store.close();
  const damaged = await damageOneOf(cwd, 'damaged');
  t.ok(damaged);
  const text = await runCommand(['keystore', 'check', '--config', 'sello.yaml'], { cwd });
  t.equal(text.exit, 1);
  t.equal(text.stdout, '');
  t.match(
    text.stderr,
    /^Unreadable damaged: .+\nUnreadable no-key: .+\nError: 2 of 4 keys cannot be read\nRestore /,
  );
  const json = await runCommand(['keystore', 'check', '--config', 'sello.yaml', '--json'], { cwd });
  t.equal(json.exit, 1);
  const findings = JSON.parse(json.stdout) as { unreadable: { name: string; code: string }[] };
  t.match(findings, { kind: 'file', location: path.join(cwd, 'store'), keys: 4, readable: 2 });
  t.same(
    findings.unreadable.map(({ name, code }) => [name, code]),
    [
      ['damaged', 'SELLO_STORED_KEY_UNREADABLE'],
      ['no-key', 'SELLO_STORED_KEY_UNREADABLE'],
    ],
  );
});

/** Flips a bit of the record of `name`: the one whose loss makes that name alone unreadable. */
async function damageOneOf(cwd: string, name: string): Promise<boolean> {
  const keys = path.join(cwd, 'store', 'keys');
  const records = readdirSync(keys, { recursive: true, encoding: 'utf8' }).map((file) =>
    path.join(keys, file),
  );
  for (const file of records.filter((each) => statSync(each).isFile())) {
    const whole = readFileSync(file);
    const changed = Buffer.from(whole);
    changed[changed.length - 1]! ^= 1;
    writeFileSync(file, changed);
    const store = await openStore(cwd);
    const found = await store.read(parseKeyName(name)).then(
      () => false,
      () => true,
    );
    await store.close();
    if (found) return true;
    writeFileSync(file, whole);
  }
  return false;
}

void t.test('restore proves the backup first and writes over nothing', async (t) => {
  const cwd = workplace(t);
  await fill(cwd, ['one', 'two']);
  const backup = await runCommand(['keystore', 'backup', '--config', 'sello.yaml', 'keys.backup', '--json'], {
    cwd,
  });
  t.match(JSON.parse(backup.stdout), {
    file: path.join(cwd, 'keys.backup'),
    store_id: /^[0-9a-f]{32}$/,
    root_key_id: /^[0-9a-f]{16}$/,
    keys: 2,
    bytes: statSync(path.join(cwd, 'keys.backup')).size,
  });
  const restore = (config: string, from = 'keys.backup', ...more: string[]) =>
    runCommand(['keystore', 'restore', '--config', config, from, ...more], { cwd });

  t.match(await restore('sello.yaml'), {
    exit: 1,
    stderr:
      /^Error: key store is not empty: .*store\nA restore never writes over keys: move that folder away, or configure another path\.\n$/,
  });
  writeFileSync(
    path.join(cwd, 'wrong.yaml'),
    configText([{ store: 'restored', rootKey: '{file: next.key}' }]),
  );
  t.match(await restore('wrong.yaml'), {
    exit: 1,
    stderr:
      /^Error: root key does not open the key store: .+\nA backup opens with the root key of its time\. Nothing was written\.\n$/,
  });
  const bytes = readFileSync(path.join(cwd, 'keys.backup'));
  bytes[bytes.length >> 1]! ^= 1;
  writeFileSync(path.join(cwd, 'damaged.backup'), bytes);
  t.match(await restore('restored.yaml', 'damaged.backup'), {
    exit: 1,
    stderr: /^Error: backup is damaged or not a backup: .+\nTake another backup\. Nothing was written\.\n$/,
  });
  t.match(await restore('restored.yaml', 'absent.backup'), {
    exit: 1,
    stderr: 'Error: open absent.backup: no such file or directory\n',
  });
  t.notOk(existsSync(path.join(cwd, 'restored')), 'nothing was written');
  const done = await restore('restored.yaml', 'keys.backup', '--json');
  t.match(JSON.parse(done.stdout), { keystore: path.join(cwd, 'restored'), keys: 2 });
  t.same(await contents(cwd, 'restored'), await contents(cwd, 'store'));
});

void t.test('works on the tenant that is named, and says what it cannot work on', async (t) => {
  const cwd = workplace(t);
  await fill(cwd, ['one']);
  writeFileSync(path.join(cwd, 'two.yaml'), configText([{}, { name: 'films', store: 'films' }]));
  writeFileSync(path.join(cwd, 'kes.yaml'), 'version: v1\nkeystore:\n  fs:\n    path: ./kes-keys\n');
  const fails = async (argv: string[], stderr: RegExp | string) => {
    const outcome = await runCommand(['keystore', ...argv], { cwd });
    t.match(outcome, { exit: 1, stdout: '', stderr }, argv.join(' '));
  };
  await fails(
    ['backup', '--config', 'two.yaml', 'out'],
    /has several tenants\nChoose one of them: photos, films\.\n$/,
  );
  const chosen = await runCommand(
    ['keystore', 'backup', '--config', 'two.yaml', '--tenant', 'photos', 'out'],
    { cwd },
  );
  t.match(chosen, { exit: 0, stdout: /^Backed up 1 key to out / });
  await fails(
    ['check', '--config', 'two.yaml', '--tenant', 'films'],
    /^Error: keystore of two\.yaml: open .*films: no such file or directory\n/,
  );
  mkdirSync(path.join(cwd, 'films'));
  await fails(
    ['check', '--config', 'two.yaml', '--tenant', 'films'],
    /^Error: keystore of two\.yaml: open .*store\.json: no such file or directory\n/,
  );
  t.same(readdirSync(path.join(cwd, 'films')), [], 'looking at it made no keystore');
  await fails(
    ['backup', '--config', 'kes.yaml', 'out2'],
    /^Error: keystore of kes\.yaml is of the kind 'fs'\n/,
  );
  await fails(
    ['backup', '--config', 'sello.yaml', 'no/such/out'],
    /^Error: backup: open .*no\/such: no such file/,
  );
  await fails(['backup', '--config', 'sello.yaml'], /no file for the backup specified/);
  await fails(['restore', '--config', 'sello.yaml'], /no backup specified/);
  await fails(
    ['check'],
    /^Error: no configuration file\. Use '--config'\. See 'sello keystore check --help'\n/,
  );
  await fails(['check', '--config', 'sello.yaml', 'more'], /too many arguments/);
  await fails(['rotate-root-key', '--config', 'sello.yaml'], /no new root key\. Use '--to'/);
});

void t.test("checks the files of a KES server's folder as well", async (t) => {
  const cwd = workplace(t);
  writeFileSync(path.join(cwd, 'kes.yaml'), 'version: v1\nkeystore:\n  fs:\n    path: ./kes-keys\n');
  mkdirSync(path.join(cwd, 'kes-keys'));
  const stored = formatStoredKey(MasterKey.generate(facts));
  writeFileSync(path.join(cwd, 'kes-keys', 'one'), stored);
  writeFileSync(path.join(cwd, 'kes-keys', 'cut'), stored.subarray(0, 20));
  t.match(await runCommand(['keystore', 'check', '--config', 'kes.yaml'], { cwd }), {
    exit: 1,
    stderr: /^Unreadable cut: .+\nError: 1 of 2 keys cannot be read\n/,
  });
});

void t.test('Tab completes the commands and their options', async (t) => {
  const { stdout } = await runCommand(['completion', 'bash']);
  t.match(stdout, /'keystore'\) words='backup restore check rotate-root-key/);
  t.match(stdout, /'keystore rotate-root-key'\) words='--to --config --tenant --json/);
});
