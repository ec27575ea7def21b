/** `sello vault accept-restore`: an older state of the keystore is the right one. */
import { type CliCommand, child, examples } from './command.ts';
import { type ConnectOptions, connectOptions, withClient } from './connect.ts';
import { failingWith } from './failure.ts';
import { write } from './io.ts';

export function vaultAcceptRestore(parent: CliCommand): void {
  const command = child(
    parent,
    'accept-restore',
    "After a restore of the keystore: take its older keyrings for the right ones. Written into the tenant's audit trail",
  );
  connectOptions(command);
  examples(command, [['Go on with a restored Vault', 'vault accept-restore']]);
  command.action(async (options: ConnectOptions) => {
    await withClient(command.io, options, (client) =>
      failingWith('failed to accept the restore', client.admin.acceptRestore()),
    );
    await write(command.io.stdout, 'accepted\n');
  });
}
