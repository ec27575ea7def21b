/** `sello key set NAME`: what a key allows. */
import { Option } from 'commander';
import type { KeySettings } from '../client/index.ts';
import { type CliCommand, child, examples } from './command.ts';
import { keyringOptions, showKeyring, versionOf, type KeyringOptions } from './keyring-output.ts';

interface Options extends KeyringOptions {
  readonly minDecryptionVersion?: string;
  readonly rewrapOnly?: 'on' | 'off';
  readonly crossFace?: 'on' | 'off';
}

export function keySet(parent: CliCommand): void {
  const command = child(parent, 'set', 'Change what a key allows');
  command.argument('[NAME...]').usage('[options] <NAME>');
  keyringOptions(command)
    .option('--min-decryption-version <N>', 'Refuse ciphertexts of versions below this one')
    .addOption(
      new Option('--rewrap-only <WHETHER>', 'Open compromised versions for rewrapping only').choices([
        'on',
        'off',
      ]),
    )
    .addOption(
      new Option('--cross-face <WHETHER>', 'Open on one face what another one sealed').choices(['on', 'off']),
    );
  examples(command, [
    ['Refuse what the first two versions made', 'key set my-key --min-decryption-version 3'],
  ]);
  command.action(async (given: string[], options: Options) => {
    command.checkArguments(given, ['no key name specified']);
    const { crossFace, minDecryptionVersion, rewrapOnly } = options;
    const settings: KeySettings = {
      ...(minDecryptionVersion === undefined
        ? {}
        : { minDecryptionVersion: versionOf(command, minDecryptionVersion) }),
      ...(rewrapOnly === undefined ? {} : { rewrapOnly: rewrapOnly === 'on' }),
      ...(crossFace === undefined ? {} : { crossFace: crossFace === 'on' }),
    };
    if (Object.keys(settings).length === 0) throw command.misuse('nothing to set specified');
    await showKeyring(command, options, 'failed to change key', (admin) =>
      admin.configure(given[0]!, settings),
    );
  });
}
