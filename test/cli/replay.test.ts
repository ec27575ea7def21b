/**
 * Runs every recorded command line of KES against a Sello server seeded as the recorded one was, in the recorded order,
 * and compares output, errors and exit code. Differences on purpose are rows of docs/kes-cli.md; what Sello does there
 * instead is in deviations.json.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { createClient } from '../../src/client/index.ts';
import { type Outcome, runCommand } from './pipes.ts';
import { comparable, readRecordings } from './recordings.ts';
import { startSeededServer } from './seeded-server.ts';

/** `key ls` refused by nobody listening is tried three times, up to a second apart, like KES clients. */
t.setTimeout(60_000);

interface Row {
  readonly id: string;
  readonly recordings: readonly string[];
}

function readRows(): Row[] {
  const text = readFileSync(path.join(import.meta.dirname, '../../docs/kes-cli.md'), 'utf8');
  return text
    .split('\n')
    .filter((line) => /^\| [a-z]/.test(line) && !line.startsWith('| id '))
    .map((line) => line.split(/(?<!\\)\|/).map((cell) => cell.trim()))
    .map((cells) => ({ id: cells[1]!, recordings: cells[5]!.split(' ').filter((cell) => cell !== '') }));
}

const rows = readRows();
const rowOf = new Map(rows.flatMap((row) => row.recordings.map((number) => [number, row.id] as const)));
const deviations = JSON.parse(
  readFileSync(path.join(import.meta.dirname, 'deviations.json'), 'utf8'),
) as Record<string, Outcome>;

/** Commands that talk to no running server, or that never end, have tests of their own. */
const elsewhere = /^\d+-(?:migrate|server)-|^144-/;
const recordings = readRecordings().filter(({ name }) => !elsewhere.test(name));

void t.test('the table of differences names recordings that exist, each once', (t) => {
  const numbers = new Set(readRecordings().map(({ name }) => name.slice(0, 3)));
  const named = rows.flatMap((row) => row.recordings);
  t.ok(rows.length > 10, 'the table is read');
  t.same(
    named.filter((number) => !numbers.has(number)),
    [],
  );
  t.equal(new Set(named).size, named.length);
  t.end();
});

void t.test('recorded command lines of KES', async (t) => {
  const server = await startSeededServer();
  t.teardown(() => server.close());
  const ours = (text: string) =>
    text.replaceAll('127.0.0.1:27543', server.address).replaceAll('127.0.0.1:27999', server.closedAddress);
  const theirs = (text: string) =>
    text.replaceAll(server.address, '127.0.0.1:27543').replaceAll(server.closedAddress, '127.0.0.1:27999');
  t.ok(recordings.length > 100, `${String(recordings.length)} recordings`);
  for (const recording of recordings) {
    const { name } = recording;
    // The recorder made this key between two recordings.
    if (name.startsWith('171-')) await createKey(server.address, server.folder, 'old-v0223');
    const env = Object.fromEntries(Object.entries(recording.env).map(([key, value]) => [key, ours(value)]));
    const options = { env, cwd: server.folder, program: 'kes' };
    const outcome = await runCommand(recording.argv.map(ours), options);
    const got = comparable(recording, {
      exit: outcome.exit,
      stdout: theirs(outcome.stdout),
      stderr: theirs(outcome.stderr),
    });
    const { stdout, stderr } = recording;
    const recorded = comparable(recording, { exit: recording.exit!, stdout, stderr });
    const row = rowOf.get(name.slice(0, 3));
    if (row === undefined) {
      t.same(got, recorded, name);
    } else {
      t.notSame(got, recorded, `${name} differs: ${row}`);
      t.same(got, deviations[name], `${name}: ${row}`);
    }
  }
});

async function createKey(address: string, folder: string, name: string): Promise<void> {
  const client = createClient({
    endpoints: [address],
    certPem: readFileSync(path.join(folder, 'admin.crt'), 'utf8'),
    keyPem: readFileSync(path.join(folder, 'admin.key')),
    insecure: true,
  });
  await client.createKey(name);
  client.close();
}
