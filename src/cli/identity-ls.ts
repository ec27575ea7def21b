/** `sello identity ls [PREFIX]` */
import { type CliCommand, child, examples } from './command.ts';
import { type ConnectOptions, connectOptions, withClient } from './connect.ts';
import { failingEachWith } from './failure.ts';
import { type ListingOptions, prefixOf, printNames } from './listing.ts';
import { colorOption } from './style.ts';

export function identityLs(parent: CliCommand): void {
  const command = child(parent, 'ls', 'List identities');
  command.argument('[PREFIX...]').usage('[options] [PREFIX]');
  colorOption(connectOptions(command)).option('--json', 'Print a JSON array');
  examples(command, [['List all identities', 'identity ls']]);
  command.action(async (given: string[], options: ConnectOptions & ListingOptions) => {
    command.checkArguments(given, [], 1);
    await withClient(command.io, options, (client) => {
      const names = failingEachWith('failed to list identities', client.listIdentities(prefixOf(given[0])));
      return printNames(command.io, 'Identity', names, options);
    });
  });
}
