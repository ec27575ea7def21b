/** `sello keystore …`: work on the files of a keystore, with a configuration and without a server. */
import { type CliCommand, examples, group } from './command.ts';
import { keystoreBackup } from './keystore-backup.ts';
import { keystoreCheck } from './keystore-check.ts';
import { keystoreRestore } from './keystore-restore.ts';
import { keystoreRotateRootKey } from './keystore-rotate-root-key.ts';

export function keystore(parent: CliCommand): void {
  const command = group(parent, 'keystore', 'Back up, restore and check a keystore, change its root key');
  for (const add of [keystoreBackup, keystoreRestore, keystoreCheck, keystoreRotateRootKey]) add(command);
  examples(command, [
    ['Back up the keys of a server that runs', 'keystore backup --config sello.yaml keys.backup'],
    ['Look whether every key can be read', 'keystore check --config sello.yaml'],
  ]);
}
