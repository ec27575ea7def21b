/** `sello key ls [PREFIX]` */
import { type CliCommand, child, examples } from './command.ts';
import { type ConnectOptions, connectOptions, withClient } from './connect.ts';
import { failingEachWith } from './failure.ts';
import { type ListingOptions, prefixOf, printNames } from './listing.ts';
import { colorOption } from './style.ts';

export function keyLs(parent: CliCommand): void {
  const command = child(parent, 'ls', 'List keys');
  command.argument('[PREFIX...]').usage('[options] [PREFIX]');
  colorOption(connectOptions(command)).option('--json', 'Print a JSON array');
  examples(command, [
    ['List all keys', 'key ls'],
    ['List keys whose names begin with app', 'key ls app'],
  ]);
  command.action(async (given: string[], options: ConnectOptions & ListingOptions) => {
    command.checkArguments(given, [], 1);
    await withClient(command.io, options, (client) =>
      printNames(
        command.io,
        'Key',
        failingEachWith('failed to list keys', client.listKeys(prefixOf(given[0]))),
        options,
      ),
    );
  });
}
