/** `sello policy show NAME` */
import { type CliCommand, child, examples } from './command.ts';
import type { Policy } from '../client/index.ts';
import { type ConnectOptions, connectOptions, withClient } from './connect.ts';
import { failingWith } from './failure.ts';
import { write } from './io.ts';
import { type ColorChoice, type Style, colorOption, dateText, styleOf } from './style.ts';

export function policyShow(parent: CliCommand): void {
  const command = child(parent, 'show', 'Show the rules of a policy');
  command.argument('[NAME...]').usage('[options] <NAME>');
  colorOption(connectOptions(command)).option('--json', 'Print JSON (the default when not on a terminal)');
  examples(command, [['Show what a policy allows and denies', 'policy show my-policy']]);
  command.action(
    async (given: string[], options: ConnectOptions & { json?: boolean; color: ColorChoice }) => {
      command.checkArguments(given, ['no policy name specified']);
      const name = given[0]!;
      const policy = await withClient(command.io, options, (client) =>
        failingWith(`failed to show policy '${name}'`, client.readPolicy(name)),
      );
      const forPeople = options.json !== true && command.io.stdout.isTTY === true;
      const text = forPeople ? tableOf(policy, styleOf(command.io, options.color)) : jsonOf(policy);
      await write(command.io.stdout, `${text}\n`);
    },
  );
}

function jsonOf(policy: Policy): string {
  return JSON.stringify({
    allow: rulesOf(policy.allow),
    deny: rulesOf(policy.deny),
    created_at: policy.createdAt,
    created_by: policy.createdBy,
  });
}

function rulesOf(patterns: readonly string[]): Record<string, object> | undefined {
  return patterns.length === 0 ? undefined : Object.fromEntries(patterns.map((pattern) => [pattern, {}]));
}

function tableOf(policy: Policy, style: Style): string {
  const lines: string[] = [];
  for (const [heading, patterns] of [
    ['Allow', policy.allow],
    ['Deny', policy.deny],
  ] as const) {
    if (patterns.length === 0) continue;
    lines.push(style.label(`${heading}:`), ...patterns.map((pattern) => `  · ${pattern}`), '');
  }
  lines.push(`${style.label('Created at:')} ${dateText(policy.createdAt)}`);
  if (policy.createdBy !== undefined) lines.push(`${style.label('Created by:')} ${policy.createdBy}`);
  return lines.join('\n');
}
