/** `sello key enable|disable|compromise NAME`: the same command with three words. */
import { type CliCommand, child, examples } from './command.ts';
import { keyringOptions, showKeyring, tokenHelp, versionOf, type KeyringOptions } from './keyring-output.ts';

interface Options extends KeyringOptions {
  readonly version?: string;
  readonly token?: string;
}

export function keyEnable(parent: CliCommand): void {
  stateCommand(parent, 'enable', 'Take a disabled key, or a version of it, into use again');
}

export function keyDisable(parent: CliCommand): void {
  stateCommand(parent, 'disable', 'End all use of a key, or of a version of it, until it is enabled again');
}

export function keyCompromise(parent: CliCommand): void {
  stateCommand(
    parent,
    'compromise',
    'Mark a version as known to others: it seals no more, and each use of it is told',
  );
}

function stateCommand(
  parent: CliCommand,
  action: 'enable' | 'disable' | 'compromise',
  description: string,
): void {
  const command = child(parent, action, description);
  command.argument('[NAME...]').usage('[options] <NAME>');
  keyringOptions(command).option(
    '--version <N>',
    action === 'compromise' ? 'The version' : 'This version alone',
  );
  if (action === 'enable') command.option('--token <TOKEN>', tokenHelp);
  examples(command, [
    ...(action === 'compromise' ? [] : ([[`Do so with a whole key`, `key ${action} my-key`]] as const)),
    [`Do so with one version`, `key ${action} my-key --version 2`],
  ]);
  command.action(async (given: string[], options: Options) => {
    command.checkArguments(given, ['no key name specified']);
    const name = given[0]!;
    const version = options.version === undefined ? undefined : versionOf(command, options.version);
    await showKeyring(command, options, `failed to ${action} key`, (admin) => {
      if (version !== undefined) return admin.actOnVersion(name, version, action, options.token);
      if (action === 'compromise') throw command.misuse('no version specified');
      return admin.act(name, action, options.token);
    });
  });
}
