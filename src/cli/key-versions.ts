/** `sello key versions NAME` */
import { type CliCommand, child, examples } from './command.ts';
import { keyringOptions, showKeyring, type KeyringOptions } from './keyring-output.ts';

export function keyVersions(parent: CliCommand): void {
  const command = child(parent, 'versions', 'Show the versions of a key and their states');
  command.argument('[NAME...]').usage('[options] <NAME>');
  keyringOptions(command);
  examples(command, [['Which version seals, and which still open', 'key versions my-key']]);
  command.action(async (given: string[], options: KeyringOptions) => {
    command.checkArguments(given, ['no key name specified']);
    await showKeyring(command, options, 'failed to read key', (admin) => admin.keyring(given[0]!));
  });
}
