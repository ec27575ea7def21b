/** `sello key rm NAME...` */
import { type CliCommand, child, examples } from './command.ts';
import { type ConnectOptions, connectOptions, withClient } from './connect.ts';
import { failingWith } from './failure.ts';
import { write } from './io.ts';

export function keyRm(parent: CliCommand): void {
  const command = child(
    parent,
    'rm',
    'Delete master keys. What was encrypted under them cannot be read any more',
  );
  command.argument('[NAME...]').usage('[options] <NAME>...');
  connectOptions(command).option('--json', 'Print the deleted names as JSON');
  examples(command, [['Delete a key for ever', 'key rm my-key']]);
  command.action(async (names: string[], options: ConnectOptions & { json?: boolean }) => {
    command.checkArguments(names, ['no key name specified'], Infinity);
    await withClient(command.io, options, async (client) => {
      for (const name of names) await failingWith(`failed to remove key "${name}"`, client.deleteKey(name));
    });
    if (options.json === true) await write(command.io.stdout, `${JSON.stringify({ deleted: names })}\n`);
  });
}
