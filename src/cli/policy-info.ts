/** `sello policy info NAME` */
import { type CliCommand, child, examples } from './command.ts';
import { type ConnectOptions, connectOptions, withClient } from './connect.ts';
import { failingWith } from './failure.ts';
import { write } from './io.ts';
import { colorOption, dateText, labelled } from './style.ts';

export function policyInfo(parent: CliCommand): void {
  const command = child(parent, 'info', 'Show when and by whom a policy was made');
  command.argument('[NAME...]').usage('[options] <NAME>');
  colorOption(connectOptions(command)).option('--json', 'Print JSON');
  examples(command, [['Show a policy', 'policy info my-policy']]);
  command.action(async (given: string[], options: ConnectOptions & { json?: boolean }) => {
    command.checkArguments(given, ['no policy name specified']);
    const info = await withClient(command.io, options, (client) =>
      failingWith('', client.describePolicy(given[0]!)),
    );
    const { name, createdAt, createdBy } = info;
    const text =
      options.json === true
        ? JSON.stringify({ name, created_at: createdAt, created_by: createdBy })
        : labelled([
            ['Name', name],
            ['Date', dateText(createdAt)],
            ['Created by', createdBy],
          ]);
    await write(command.io.stdout, `${text}\n`);
  });
}
