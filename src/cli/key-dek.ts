/** `sello key dek NAME [CONTEXT]` */
import { base64Argument } from './base64-argument.ts';
import { type CliCommand, child, examples } from './command.ts';
import { type ConnectOptions, connectOptions, withClient } from './connect.ts';
import { failingWith } from './failure.ts';
import { endOfValue } from './io.ts';
import { printSecretFields } from './secret-output.ts';

export function keyDek(parent: CliCommand): void {
  const command = child(
    parent,
    'dek',
    'Issue a data key: its plaintext to encrypt with, its ciphertext to store',
  );
  command.argument('[ARGS...]').usage('[options] <NAME> [CONTEXT]');
  connectOptions(command).option('--json', 'Print JSON (the default)');
  examples(command, [
    ['Issue a data key', 'key dek my-key'],
    [
      'Issue one bound to a context (base64); the same context is needed to decrypt it',
      'key dek my-key eyJhIjoiYiJ9',
    ],
  ]);
  command.action(async (given: string[], options: ConnectOptions) => {
    command.checkArguments(given, ['no key name specified'], 2);
    const [name, contextText] = given as [string, string?];
    const context = contextText === undefined ? undefined : base64Argument(command, 'context', contextText);
    const { plaintext, ciphertext } = await withClient(command.io, options, (client) =>
      failingWith('failed to derive key', client.generateKey(name, context)),
    );
    try {
      await printSecretFields(command.io, { plaintext, ciphertext }, endOfValue(command.io));
    } finally {
      plaintext.fill(0);
    }
  });
}
