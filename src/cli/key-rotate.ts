/** `sello key rotate NAME` */
import { type CliCommand, child, examples } from './command.ts';
import { parseGoDuration } from './go-duration.ts';
import { keyringOptions, showKeyring, type KeyringOptions } from './keyring-output.ts';

interface Options extends KeyringOptions {
  readonly every?: string;
}

export function keyRotate(parent: CliCommand): void {
  const command = child(
    parent,
    'rotate',
    'Add a version to a key, which seals from now on. Older ones still open',
  );
  command.argument('[NAME...]').usage('[options] <NAME>');
  keyringOptions(command).option(
    '--every <DURATION>',
    'Rotate on schedule from now on, such as 2160h; 0 ends that. Rotates nothing now',
  );
  examples(command, [
    ['Rotate a key now', 'key rotate my-key'],
    ['Rotate it every 90 days', 'key rotate my-key --every 2160h'],
  ]);
  command.action(async (given: string[], options: Options) => {
    command.checkArguments(given, ['no key name specified']);
    const name = given[0]!;
    if (options.every === undefined) {
      await showKeyring(command, options, 'failed to rotate key', (admin) => admin.act(name, 'rotate'));
      return;
    }
    const everyMs = parseGoDuration(options.every);
    if (everyMs === undefined) throw command.misuse(`invalid duration '${options.every}'`);
    const rotateEverySeconds = Math.round(everyMs / 1000);
    await showKeyring(command, options, 'failed to schedule rotation', (admin) =>
      admin.configure(name, { rotateEverySeconds }),
    );
  });
}
