/** `sello key encrypt NAME MESSAGE` */
import { readFile } from 'node:fs/promises';
import { base64Argument } from './base64-argument.ts';
import { type CliCommand, child, examples } from './command.ts';
import { type ConnectOptions, connectOptions, withClient } from './connect.ts';
import { failingWith, fileFailure, toFailure } from './failure.ts';
import { endOfValue, pathOf, readStdin, write } from './io.ts';

/** The server takes bodies of 1 MB, base64 included. */
const maxMessageBytes = 1_000_000;

interface Options extends ConnectOptions {
  readonly context?: string;
  readonly file?: string;
}

export function keyEncrypt(parent: CliCommand): void {
  const command = child(parent, 'encrypt', 'Encrypt a short message with a key');
  command.argument('[ARGS...]').usage('[options] <NAME> <MESSAGE>');
  connectOptions(command)
    .option('--file <FILE>', 'Take the message from a file, - for standard input')
    .option('--context <BASE64>', 'Bind the ciphertext to a context')
    .option('--json', 'Print JSON (the default)');
  examples(command, [
    ['Encrypt a message', "key encrypt my-key 'Hello World'"],
    [
      'Encrypt a secret without it being seen in the list of processes',
      'key encrypt my-key --file - < secret',
    ],
  ]);
  command.action(async (given: string[], options: Options) => {
    const wanted = ['no key name specified', ...(options.file === undefined ? ['no message specified'] : [])];
    command.checkArguments(given, wanted);
    const context =
      options.context === undefined ? undefined : base64Argument(command, 'context', options.context);
    const message = await messageOf(command, given[1], options);
    try {
      const ciphertext = await withClient(command.io, options, (client) =>
        failingWith('failed to encrypt message', client.encrypt(given[0]!, message, context)),
      );
      const line = `{"ciphertext":"${ciphertext.toString('base64')}"}`;
      await write(command.io.stdout, line + endOfValue(command.io));
    } finally {
      message.fill(0);
    }
  });
}

async function messageOf(command: CliCommand, given: string | undefined, options: Options): Promise<Buffer> {
  if (options.file === undefined) return Buffer.from(given ?? '');
  if (options.file === '-') {
    return readStdin(command.io, maxMessageBytes).catch((error: unknown) => {
      throw toFailure(error);
    });
  }
  try {
    return await readFile(pathOf(command.io, options.file));
  } catch (error) {
    throw fileFailure(error, options.file);
  }
}
