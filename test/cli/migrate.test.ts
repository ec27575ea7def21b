/** `migrate`, as KES's command line was recorded and beyond. Real keystores on disk. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import os from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import { runCommand } from './pipes.ts';
import { readRecordings } from './recordings.ts';

/** A file for `migrate` as KES takes it: a keystore, and nothing else. */
const config = (folder: string) => `version: v1\nkeystore:\n  fs:\n    path: ./${folder}\n`;

function workplace(t: Test): string {
  const cwd = mkdtempSync(path.join(os.tmpdir(), 'sello-migrate-'));
  t.teardown(() => rmSync(cwd, { recursive: true, force: true }));
  for (const name of ['from', 'to', 'empty', 'many', 'many-to']) {
    mkdirSync(path.join(cwd, name));
    writeFileSync(path.join(cwd, `${name}.yml`), config(name));
  }
  for (const key of ['m1', 'm2', 'm3']) writeFileSync(path.join(cwd, 'from', key), `source ${key}`);
  return cwd;
}

/** Puts the target into the state a recording's note tells: equal to the source or not. */
function prepare(cwd: string, before: Readonly<Record<string, boolean>>): void {
  rmSync(path.join(cwd, 'to'), { recursive: true });
  mkdirSync(path.join(cwd, 'to'));
  for (const [key, equal] of Object.entries(before)) {
    writeFileSync(path.join(cwd, 'to', key), equal ? `source ${key}` : `other ${key}`);
  }
}

function keysOf(cwd: string, folder: string): Record<string, string> {
  const names = readdirSync(path.join(cwd, folder)).sort();
  return Object.fromEntries(names.map((name) => [name, readFileSync(path.join(cwd, folder, name), 'utf8')]));
}

const source = { m1: 'source m1', m2: 'source m2', m3: 'source m3' };

/** Recordings by number, without the ones that docs/kes-cli.md lists under a `migrate-` row. */
const recorded = new Map(readRecordings().map((recording) => [recording.name.slice(0, 3), recording]));

void t.test('prints what KES prints', async (t) => {
  const states: Record<string, Record<string, boolean>> = {
    '147': { m1: true, m2: false },
    '149': { m1: true, m2: true, m3: true },
    '151': {},
    '153': {},
    '156': {},
  };
  for (const [number, before] of Object.entries(states)) {
    const { argv, stdout, stderr, exit, name } = recorded.get(number)!;
    const cwd = workplace(t);
    prepare(cwd, before);
    const outcome = await runCommand(argv, { cwd, program: 'kes' });
    t.equal(outcome.stdout, stdout, name);
    t.equal(outcome.exit, exit, name);
    // What is skipped is said, on standard error (docs/kes-cli.md, migrate-skipped).
    if (number === '147') {
      t.equal(outcome.stderr, 'Skipped m2: the target holds another key of this name, which stays\n');
    } else {
      t.equal(outcome.stderr, stderr, name);
    }
  }
});

void t.test(
  'goes on behind a key that is in the way, and ends with 1 (docs/kes-cli.md, migrate-conflict)',
  async (t) => {
    const cwd = workplace(t);
    prepare(cwd, { m2: false });
    const outcome = await runCommand(recorded.get('146')!.argv, { cwd });
    t.same(outcome, {
      exit: 1,
      stdout: 'Starting key migration:\n\nMigrated      2 keys\n',
      stderr: [
        'Failed m2: the target holds another key of this name',
        'Error: 1 of 3 keys not migrated',
        'Use --merge to keep the keys of the target, or --force to replace them.',
        '',
      ].join('\n'),
    });
    t.same(keysOf(cwd, 'to'), { ...source, m2: 'other m2' });
  },
);

void t.test(
  'counts with --force what was not there already (docs/kes-cli.md, migrate-force-count)',
  async (t) => {
    const cwd = workplace(t);
    prepare(cwd, { m1: true, m2: false, m3: true });
    const outcome = await runCommand(recorded.get('148')!.argv, { cwd });
    t.same(outcome, {
      exit: 0,
      stdout: 'Starting key migration:\n\nMigrated      1 keys successfully!\n',
      stderr: '',
    });
    t.same(keysOf(cwd, 'to'), source);
  },
);

void t.test('a star after a prefix is a pattern (docs/kes-cli.md, migrate-pattern)', async (t) => {
  const cwd = workplace(t);
  writeFileSync(path.join(cwd, 'empty', 'm1'), 'source m1');
  const outcome = await runCommand(recorded.get('152')!.argv, { cwd });
  t.match(outcome, { exit: 0, stdout: 'Starting key migration:\n\nMigrated      2 keys successfully!\n' });
  t.same(keysOf(cwd, 'empty'), source);
});

void t.test('moves all of 1,100 keys (docs/kes-cli.md, migrate-complete)', async (t) => {
  const cwd = workplace(t);
  for (let i = 0; i < 1100; i++)
    writeFileSync(path.join(cwd, 'many', `k${String(i)}`), randomBytes(40).toString('hex'));
  const outcome = await runCommand(recorded.get('157')!.argv, { cwd });
  t.match(outcome, {
    exit: 0,
    stdout: 'Starting key migration:\n\nMigrated   1100 keys successfully!\n',
    stderr: '',
  });
  t.same(keysOf(cwd, 'many-to'), keysOf(cwd, 'many'));
});

void t.test('names what is missing (docs/kes-cli.md, migrate-target)', async (t) => {
  const cwd = workplace(t);
  t.match(await runCommand(recorded.get('154')!.argv, { cwd }), {
    exit: 1,
    stdout: '',
    stderr: "Error: missing migration target. Use '--to'\n",
  });
  rmSync(path.join(cwd, 'from'), { recursive: true });
  t.match(await runCommand(['migrate', '--from', 'from.yml', '--to', 'to.yml'], { cwd }), {
    exit: 1,
    stdout: '',
    stderr: /^Error: keystore of from\.yml: open .*from: no such file or directory\n/,
  });
});

void t.test(
  'takes keys of KES over into the encrypted keystore of a Sello file, and tells all as JSON',
  async (t) => {
    const cwd = workplace(t);
    writeFileSync(path.join(cwd, 'root.key'), randomBytes(32).toString('base64'), { mode: 0o600 });
    writeFileSync(
      path.join(cwd, 'sello.yaml'),
      `version: sello/v1
listeners: [{address: "127.0.0.1:0", tls: {cert: server.crt, key: server.key}}]
tenants:
  - name: photos
    clients: {auth: off}
    keystore: {file: {path: encrypted, rootKey: {file: root.key}}}
    audit: {path: audit.jsonl}
`,
    );
    const argv = ['migrate', '--from', 'from.yml', '--to', 'sello.yaml', '--json'];
    const first = await runCommand(argv, { cwd });
    t.equal(first.exit, 0, first.stderr);
    t.same(JSON.parse(first.stdout), {
      total: 3,
      copied: 3,
      already_there: 0,
      replaced: 0,
      skipped: [],
      failed: [],
    });
    const again = await runCommand(argv, { cwd });
    t.match(JSON.parse(again.stdout), { total: 3, copied: 0, already_there: 3 });
    const back = await runCommand(['migrate', '--from', 'sello.yaml', '--to', 'empty.yml'], { cwd });
    t.equal(back.exit, 0, back.stderr);
    t.same(keysOf(cwd, 'empty'), source);
  },
);
