/** `sello key create NAME...` */
import { type CliCommand, child, examples } from './command.ts';
import { type ConnectOptions, connectOptions, withClient } from './connect.ts';
import { failingWith } from './failure.ts';
import { write } from './io.ts';

export function keyCreate(parent: CliCommand): void {
  const command = child(parent, 'create', 'Create master keys');
  command.argument('[NAME...]').usage('[options] <NAME>...');
  connectOptions(command).option('--json', 'Print the created names as JSON');
  examples(command, [['Create a key named my-key', 'key create my-key']]);
  command.action(async (names: string[], options: ConnectOptions & { json?: boolean }) => {
    command.checkArguments(names, ['no key name specified'], Infinity);
    await withClient(command.io, options, async (client) => {
      for (const name of names) await failingWith(`failed to create key "${name}"`, client.createKey(name));
    });
    if (options.json === true) await write(command.io.stdout, `${JSON.stringify({ created: names })}\n`);
  });
}
