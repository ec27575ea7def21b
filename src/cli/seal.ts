/** `sello seal FILE` */
import { seal as sealObject } from '../sse/index.ts';
import { type CliCommand, child, examples } from './command.ts';
import { failingWith } from './failure.ts';
import { inFront, inputOf, moveTo, sealedFileOptions, withPlaced, type SealOptions } from './sealed-file.ts';

interface Options extends SealOptions {
  readonly cipher?: string;
}

export function seal(parent: CliCommand): void {
  const command = child(parent, 'seal', 'Seal a file: encrypted in segments, its envelope in front');
  command.argument('[FILE...]').usage('[options] <FILE>');
  sealedFileOptions(command)
    .option('-o, --output <FILE>', 'Where to write; FILE.sealed unless said otherwise, - for standard output')
    .option('--key <NAME>', 'Master key on the server')
    .option('--cipher <NAME>', 'aes-256-gcm or chacha20-poly1305', 'aes-256-gcm');
  examples(command, [
    ['Seal a file under a master key', 'seal --key my-key backup.tar'],
    ['Seal what comes in under a key of your own', 'seal --key-file secret.key - -o backup.sealed'],
  ]);
  command.action(async (given: string[], options: Options) => {
    command.checkArguments(given, ['no file specified']);
    if ((options.key === undefined) === (options.keyFile === undefined))
      throw command.misuse('either --key or --key-file is needed');
    const { cipher } = options;
    if (cipher !== 'aes-256-gcm' && cipher !== 'chacha20-poly1305')
      throw command.misuse(`unknown cipher '${String(cipher)}'`);
    const file = given[0]!;
    const output = options.output ?? (file === '-' ? '-' : `${file}.sealed`);
    const input = await inputOf(command.io, file);
    await withPlaced(command, options, async (placed) => {
      using object = await failingWith('failed to seal', sealObject(placed));
      const stream = object.seal({ aead: cipher }).node();
      await moveTo(command, input, [stream, inFront(object.envelope)], { ...options, output });
    });
  });
}
