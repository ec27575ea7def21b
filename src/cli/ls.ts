/** `sello ls [PREFIX]`: keys, or policies with -p, or identities with -i. */
import { type CliCommand, child, examples } from './command.ts';
import { type ConnectOptions, connectOptions, withClient } from './connect.ts';
import { failingEachWith } from './failure.ts';
import { type ListingOptions, prefixOf, printNames } from './listing.ts';
import { colorOption } from './style.ts';

interface Options extends ConnectOptions, ListingOptions {
  readonly identity?: boolean;
  readonly policy?: boolean;
}

export function ls(parent: CliCommand): void {
  const command = child(parent, 'ls', 'List keys, policies or identities');
  command.argument('[PREFIX...]').usage('[options] [PREFIX]');
  colorOption(connectOptions(command, { server: true }))
    .option('-i, --identity', 'List identities')
    .option('-p, --policy', 'List policies')
    .option('--json', 'Print a JSON array');
  examples(command, [
    ['List all keys', 'ls'],
    ['List policies', 'ls -p'],
  ]);
  command.action(async (given: string[], options: Options) => {
    command.checkArguments(given, [], 1);
    if (options.identity === true && options.policy === true) {
      throw command.misuse("'--identity' and '--policy' flags are mutually exclusive");
    }
    const prefix = prefixOf(given[0]);
    await withClient(command.io, options, (client) => {
      if (options.identity === true) {
        const names = failingEachWith('failed to list identities', client.listIdentities(prefix));
        return printNames(command.io, 'Identity', names, options);
      }
      if (options.policy === true) {
        const names = failingEachWith('failed to list policies', client.listPolicies(prefix));
        return printNames(command.io, 'Policy', names, options);
      }
      const names = failingEachWith('failed to list keys', client.listKeys(prefix));
      return printNames(command.io, 'Key', names, options);
    });
  });
}
