/** `sello key import NAME KEY|-` */
import { base64Argument } from './base64-argument.ts';
import { type CliCommand, child, examples } from './command.ts';
import { type ConnectOptions, connectOptions, withClient } from './connect.ts';
import { Failure, failingWith } from './failure.ts';
import { readStdin, write } from './io.ts';
import type { KeyAlgorithm } from '../client/index.ts';

/** 32 bytes in base64 with line ends are well below it. */
const maxKeyTextBytes = 4096;

const algorithms: readonly KeyAlgorithm[] = ['AES256', 'ChaCha20'];

export function keyImport(parent: CliCommand): void {
  const command = child(parent, 'import', 'Store key material of your own under a new name');
  command.argument('[ARGS...]').usage('[options] <NAME> <KEY | ->');
  connectOptions(command)
    .option('--algorithm <NAME>', 'AES256 or ChaCha20', 'AES256')
    .option('--json', 'Print the imported name as JSON');
  examples(command, [
    [
      'Import 32 random bytes; the key is read from standard input and stays out of the shell history',
      'key import my-key - < key.b64',
    ],
  ]);
  command.action(async (given: string[], options: ConnectOptions & { algorithm: string; json?: boolean }) => {
    command.checkArguments(given, ['no key name specified', 'no crypto key specified']);
    const [name, text] = given as [string, string];
    const algorithm = algorithms.find((each) => each.toLowerCase() === options.algorithm.toLowerCase());
    if (algorithm === undefined) throw command.misuse(`unknown algorithm '${options.algorithm}'`);
    const key = base64Argument(command, 'key', text === '-' ? await keyFromStdin(command) : text);
    try {
      await withClient(command.io, options, (client) =>
        failingWith(`failed to import "${name}"`, client.importKey(name, key, algorithm)),
      );
    } finally {
      key.fill(0);
    }
    if (options.json === true) await write(command.io.stdout, `${JSON.stringify({ imported: name })}\n`);
  });
}

async function keyFromStdin(command: CliCommand): Promise<Buffer> {
  const bytes = await readStdin(command.io, maxKeyTextBytes).catch((error: unknown) => {
    throw new Failure('standard input holds more than a key', {
      hint: 'Give the 32 bytes of the key in base64.',
      cause: error,
    });
  });
  if (bytes.length === 0) throw command.misuse('no crypto key specified');
  return bytes;
}
