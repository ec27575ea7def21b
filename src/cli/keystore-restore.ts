/** `sello keystore restore --config FILE IN`: makes the file keystore of a configuration from a backup. */
import { stat } from 'node:fs/promises';
import { type CliCommand, child, examples } from './command.ts';
import { fileKeystoreOf } from './configured-keystore.ts';
import { fileFailure } from './failure.ts';
import { pathOf, write } from './io.ts';
import {
  type KeystoreOptions,
  configOf,
  failingOnKeystore,
  keysText,
  keystoreOptions,
} from './keystore-options.ts';

export function keystoreRestore(parent: CliCommand): void {
  const command = child(parent, 'restore', 'Make a file keystore from a backup');
  command.argument('[IN...]').usage('--config <FILE> <IN>');
  keystoreOptions(command).addHelpText(
    'after',
    '\nFirst every key of the backup is opened with the configured root key; then it is written, into an absent or empty\nfolder only. Run it again after an interruption.',
  );
  examples(command, [['Restore a keystore', 'keystore restore --config sello.yaml keys.backup']]);
  command.action(async (given: string[], options: KeystoreOptions) => {
    const { io } = command;
    const config = configOf(command, options);
    command.checkArguments(given, ['no backup specified']);
    const [named] = given as [string];
    const { keystore } = await fileKeystoreOf(io, config, options.tenant);
    await stat(pathOf(io, named)).catch((error: unknown) => {
      throw fileFailure(error, named);
    });
    const { readRootKey, restoreFileKeystore } = await import('../keystores/index.ts');
    const restore = async () => {
      const rootKey = await readRootKey(keystore.rootKey, io.env);
      try {
        return await restoreFileKeystore(pathOf(io, named), keystore.path, rootKey);
      } finally {
        rootKey.fill(0);
      }
    };
    const summary = await failingOnKeystore(restore(), ({ code }) => {
      if (code === 'SELLO_STORE_NOT_EMPTY')
        return 'A restore never writes over keys: move that folder away, or configure another path.';
      if (code === 'SELLO_ROOT_KEY_WRONG')
        return 'A backup opens with the root key of its time. Nothing was written.';
      if (code === 'SELLO_BACKUP_INVALID') return 'Take another backup. Nothing was written.';
      return undefined;
    });
    if (options.json === true) {
      const { storeId, rootKeyId, keys } = summary;
      const object = { keystore: keystore.path, store_id: storeId, root_key_id: rootKeyId, keys };
      await write(io.stdout, `${JSON.stringify(object)}\n`);
    } else await write(io.stdout, `Restored ${keysText(summary.keys)} to ${keystore.path}.\n`);
  });
}
