/** `sello policy ls [PREFIX]` */
import { type CliCommand, child, examples } from './command.ts';
import { type ConnectOptions, connectOptions, withClient } from './connect.ts';
import { failingEachWith } from './failure.ts';
import { type ListingOptions, prefixOf, printNames } from './listing.ts';
import { colorOption } from './style.ts';

export function policyLs(parent: CliCommand): void {
  const command = child(parent, 'ls', 'List policies');
  command.argument('[PREFIX...]').usage('[options] [PREFIX]');
  colorOption(connectOptions(command)).option('--json', 'Print a JSON array');
  examples(command, [['List all policies', 'policy ls']]);
  command.action(async (given: string[], options: ConnectOptions & ListingOptions) => {
    command.checkArguments(given, [], 1);
    await withClient(command.io, options, (client) => {
      const names = failingEachWith('failed to list policies', client.listPolicies(prefixOf(given[0])));
      // KES heads this list "Key", and scripts that cut it off know it so.
      return printNames(command.io, 'Key', names, options);
    });
  });
}
