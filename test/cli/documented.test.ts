/** docs/cli.md names every command and every environment variable, and no other. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { adminRoutes } from '../../src/api/admin/index.ts';
import { variables } from '../../src/cli/connect.ts';
import { runCommand } from './pipes.ts';

const text = readFileSync(path.join(import.meta.dirname, '../../docs/cli.md'), 'utf8');
const section = (heading: string) => text.split(`## ${heading}\n`)[1]!.split('\n## ')[0]!;

/** Commands without commands of their own, from the help pages. */
async function leaves(argv: readonly string[]): Promise<string[]> {
  const { stdout } = await runCommand([...argv, '--help']);
  const below = [...stdout.split(/^Examples:/m)[0]!.matchAll(/^ {2}([a-z][a-z-]*)(?:, [a-z]+)? {2,}\S/gm)];
  if (below.length === 0) return [argv.join(' ')];
  const found = await Promise.all(below.map((match) => leaves([...argv, match[1]!])));
  return found.flat();
}

void t.test('every command is in the table', async (t) => {
  const commands = await leaves([]);
  t.ok(commands.length > 20, commands.join(', '));
  for (const command of commands) t.match(section('Commands'), new RegExp(`\`${command}[ \`]`), command);
});

void t.test('what changes the keys of a server has its request in the operators’ API', async (t) => {
  const reads = ['info', 'ls', 'encrypt', 'decrypt', 'dek', 'versions', 'use'].map((verb) => `key ${verb}`);
  const people = readFileSync(path.join(import.meta.dirname, '../../docs/people.md'), 'utf8');
  const rows = people.split('\n').filter((line) => /^\| `(key|vault) /.test(line));
  const requests = new Set(adminRoutes.filter(({ method }) => method === 'POST').map((route) => route.path));
  for (const command of [...(await leaves(['key'])), 'vault accept-restore']) {
    if (reads.includes(command)) continue;
    const verb = command.split(' ')[1]!;
    const row = rows.find((line) => new RegExp(`[ \`]${verb}\``).test(line.split('|')[1]!));
    t.ok(row, `${command} is in the table`);
    const ends: Record<string, string> = {
      rm: 'delete',
      set: 'settings',
      compromise: 'compromise',
      'accept-restore': 'accept',
    };
    const end = `/${ends[verb] ?? verb}`;
    t.ok(
      [...requests].some((request) => request.endsWith(end)),
      `${command}: POST …${end}`,
    );
  }
});

void t.test('every variable is in the table', (t) => {
  const documented = [...section('Environment').matchAll(/`([A-Z_]+)`/g)].map((match) => match[1]!);
  const known = [...Object.values(variables).flat(), 'SELLO_CONFIG_FILE', 'NO_COLOR'];
  t.same(documented.sort(), known.sort());
  t.end();
});
