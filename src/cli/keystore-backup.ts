/** `sello keystore backup --config FILE OUT`: a copy of a file keystore in one file, also while a server has it open. */
import { stat } from 'node:fs/promises';
import path from 'node:path';
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
import { sizeText } from './style.ts';

export function keystoreBackup(parent: CliCommand): void {
  const command = child(parent, 'backup', 'Copy a file keystore to one file, still encrypted');
  command.argument('[OUT...]').usage('--config <FILE> <OUT>');
  keystoreOptions(command).addHelpText(
    'after',
    '\nA server that has the keystore open goes on. The root key is not needed, and is not in the backup.',
  );
  examples(command, [['Back up a keystore', 'keystore backup --config sello.yaml keys.backup']]);
  command.action(async (given: string[], options: KeystoreOptions) => {
    const { io } = command;
    const config = configOf(command, options);
    command.checkArguments(given, ['no file for the backup specified']);
    const [named] = given as [string];
    const out = pathOf(io, named);
    const { keystore } = await fileKeystoreOf(io, config, options.tenant);
    for (const [needed, what] of [
      [keystore.path, `keystore of ${config}`],
      [path.dirname(out), 'backup'],
    ] as const) {
      await stat(needed).catch((error: unknown) => {
        throw fileFailure(error, needed, what);
      });
    }
    const { backupFileKeystore } = await import('../keystores/index.ts');
    const summary = await failingOnKeystore(backupFileKeystore(keystore.path, out), ({ code }) => {
      if (code === 'SELLO_STORE_NOT_EMPTY') return 'A backup never replaces a file: name another one.';
      if (code === 'SELLO_STORED_KEY_UNREADABLE')
        return "No backup was made, because it would lack that key. 'sello keystore check' names all such keys.";
      return undefined;
    });
    if (options.json === true) {
      const { storeId, rootKeyId, keys, bytes } = summary;
      const object = { file: out, store_id: storeId, root_key_id: rootKeyId, keys, bytes };
      await write(io.stdout, `${JSON.stringify(object)}\n`);
    } else {
      await write(
        io.stdout,
        `Backed up ${keysText(summary.keys)} to ${named} (${sizeText(summary.bytes)}).\nIt opens with the root key ${summary.rootKeyId}: keep that, and elsewhere.\n`,
      );
    }
  });
}
