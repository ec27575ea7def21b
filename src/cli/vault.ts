/** `sello vault …`: for the administrators of a Vault. */
import { type CliCommand, examples, group } from './command.ts';
import { vaultAcceptRestore } from './vault-accept-restore.ts';
import { vaultSetup } from './vault-setup.ts';

export function vault(parent: CliCommand): void {
  const command = group(parent, 'vault', 'Prepare a Vault for a tenant');
  vaultSetup(command);
  vaultAcceptRestore(command);
  examples(command, [
    ['Print policies and commands for a tenant', 'vault setup --config sello.yaml --tenant acme'],
  ]);
}
