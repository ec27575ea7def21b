/** `sello key decrypt NAME CIPHERTEXT [CONTEXT]` */
import { base64Argument } from './base64-argument.ts';
import { type CliCommand, child, examples } from './command.ts';
import { type ConnectOptions, connectOptions, withClient } from './connect.ts';
import { failingWith } from './failure.ts';
import { endOfValue, readStdin } from './io.ts';
import { printSecretFields } from './secret-output.ts';

/** The server takes bodies of 1 MB. */
const maxCiphertextBytes = 1_000_000;

export function keyDecrypt(parent: CliCommand): void {
  const command = child(parent, 'decrypt', 'Decrypt what encrypt or dek made');
  command.argument('[ARGS...]').usage('[options] <NAME> <CIPHERTEXT | -> [CONTEXT]');
  connectOptions(command).option('--json', 'Print JSON (the default)');
  examples(command, [
    ['Get a data key back from its ciphertext', 'key decrypt my-key iXbYAfgs...'],
    ['The same, for one made with a context', 'key decrypt my-key iXbYAfgs... eyJhIjoiYiJ9'],
  ]);
  command.action(async (given: string[], options: ConnectOptions) => {
    command.checkArguments(given, ['no key name specified', 'no ciphertext specified'], 3);
    const [name, text, contextText] = given as [string, string, string?];
    const source = text === '-' ? await readStdin(command.io, maxCiphertextBytes) : text;
    const ciphertext = base64Argument(command, 'ciphertext', source);
    const context = contextText === undefined ? undefined : base64Argument(command, 'context', contextText);
    const plaintext = await withClient(command.io, options, (client) =>
      failingWith('failed to decrypt ciphertext', client.decrypt(name, ciphertext, context)),
    );
    try {
      await printSecretFields(command.io, { plaintext }, endOfValue(command.io));
    } finally {
      plaintext.fill(0);
    }
  });
}
