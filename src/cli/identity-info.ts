/** `sello identity info [IDENTITY]` */
import { type CliCommand, child, examples } from './command.ts';
import type { SelfInfo } from '../client/index.ts';
import { type ConnectOptions, connectOptions, withClient } from './connect.ts';
import { failingWith } from './failure.ts';
import { write } from './io.ts';
import { colorOption, dateText, labelled } from './style.ts';

export function identityInfo(parent: CliCommand): void {
  const command = child(parent, 'info', 'Show an identity: your own, or the one named');
  command.argument('[IDENTITY...]').usage('[options] [IDENTITY]');
  colorOption(connectOptions(command)).option('--json', 'Print JSON');
  examples(command, [['Show who you are to the server, and what you may do', 'identity info']]);
  command.action(async (given: string[], options: ConnectOptions & { json?: boolean }) => {
    command.checkArguments(given, [], 1);
    const info: Info = await withClient(command.io, options, (client) =>
      failingWith('', given[0] === undefined ? client.describeSelf() : client.describeIdentity(given[0])),
    );
    await write(
      command.io.stdout,
      `${options.json === true ? jsonOf(info) : tableOf(info, command.io.stdout.isTTY === true)}\n`,
    );
  });
}

type Info = Omit<SelfInfo, 'allow' | 'deny'> & Partial<Pick<SelfInfo, 'allow' | 'deny'>>;

function jsonOf(info: Info): string {
  return JSON.stringify({
    identity: info.identity,
    admin: info.admin ? true : undefined,
    policy: info.policy,
    created_at: info.createdAt,
    created_by: info.createdBy,
    allow: info.allow?.length === 0 ? undefined : info.allow,
    deny: info.deny?.length === 0 ? undefined : info.deny,
  });
}

function tableOf(info: Info, withRules: boolean): string {
  const rows = labelled([
    ['Identity', info.identity],
    ['Policy', info.policy],
    ['Created At', dateText(info.createdAt)],
    ['Role', info.admin ? 'Admin' : 'User'],
    ['Created By', info.createdBy],
  ]);
  if (!withRules) return rows;
  const rules = [
    ...(info.allow ?? []).map((rule) => `  allow ${rule}`),
    ...(info.deny ?? []).map((rule) => `  deny  ${rule}`),
  ];
  return [rows, ...(rules.length === 0 ? [] : ['', ...rules])].join('\n');
}
