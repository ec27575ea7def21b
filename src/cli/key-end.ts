/** `sello key schedule-deletion|cancel-deletion|destroy NAME`: the three steps to the end of a key, or of a version of it. */
import { type CliCommand, child, examples } from './command.ts';
import { withClient } from './connect.ts';
import { failingWith } from './failure.ts';
import { parseGoDuration } from './go-duration.ts';
import { write } from './io.ts';
import { keyringOptions, showKeyring, tokenHelp, versionOf, type KeyringOptions } from './keyring-output.ts';

interface Options extends KeyringOptions {
  readonly version?: string;
  readonly wait?: string;
  readonly token?: string;
}

const versionHelp = 'This version alone';

export function keyScheduleDeletion(parent: CliCommand): void {
  const command = child(
    parent,
    'schedule-deletion',
    'Ask for the end of a key, or of a disabled version, after a waiting period',
  );
  command.argument('[NAME...]').usage('[options] <NAME>');
  keyringOptions(command)
    .option('--version <N>', versionHelp)
    .option(
      '--wait <DURATION>',
      "How long to wait, such as 720h; at least the tenant's own period, which is the default",
    );
  examples(command, [
    ['End a key in the shortest time allowed: all use of it ends at once', 'key schedule-deletion my-key'],
    ['End a version that was disabled', 'key schedule-deletion my-key --version 1'],
  ]);
  command.action(async (given: string[], options: Options) => {
    command.checkArguments(given, ['no key name specified']);
    const version = options.version === undefined ? undefined : versionOf(command, options.version);
    const waitMs = options.wait === undefined ? undefined : parseGoDuration(options.wait);
    if (options.wait !== undefined && waitMs === undefined)
      throw command.misuse(`invalid duration '${options.wait}'`);
    const waitSeconds = waitMs === undefined ? undefined : Math.ceil(waitMs / 1000);
    await showKeyring(command, options, 'failed to schedule deletion', (admin) =>
      admin.scheduleEnd(given[0]!, version, waitSeconds),
    );
  });
}

export function keyCancelDeletion(parent: CliCommand): void {
  const command = child(
    parent,
    'cancel-deletion',
    'Call the end of a key, or of a version, off. It stays disabled',
  );
  command.argument('[NAME...]').usage('[options] <NAME>');
  keyringOptions(command).option('--version <N>', versionHelp).option('--token <TOKEN>', tokenHelp);
  examples(command, [
    [
      'Keep a key after all, and take it into use again',
      'key cancel-deletion my-key && sello key enable my-key',
    ],
  ]);
  command.action(async (given: string[], options: Options) => {
    command.checkArguments(given, ['no key name specified']);
    const version = options.version === undefined ? undefined : versionOf(command, options.version);
    await showKeyring(command, options, 'failed to cancel deletion', (admin) =>
      version === undefined
        ? admin.act(given[0]!, 'cancel-deletion', options.token)
        : admin.actOnVersion(given[0]!, version, 'cancel-destruction'),
    );
  });
}

export function keyDestroy(parent: CliCommand): void {
  const command = child(
    parent,
    'destroy',
    'End a key, or a version, whose waiting period is over, and print the receipt',
  );
  command.argument('[NAME...]').usage('[options] <NAME>');
  keyringOptions(command).option('--version <N>', versionHelp);
  examples(command, [
    ['End version 2 for ever and keep the receipt', 'key destroy my-key --version 2 > receipt.json'],
  ]);
  command.action(async (given: string[], options: Options) => {
    command.checkArguments(given, ['no key name specified']);
    const version = options.version === undefined ? undefined : versionOf(command, options.version);
    const receipt = await withClient(command.io, options, (client) =>
      failingWith('failed to destroy', client.admin.destroy(given[0]!, version)),
    );
    await write(command.io.stdout, `${JSON.stringify(receipt)}\n`);
  });
}
