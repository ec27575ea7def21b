/** `sello identity …`, and bare `sello identity [KEY|FILE]`: a new API key, or the identity of the one given. */
import { generateApiKey } from '../access/index.ts';
import { type CliCommand, child, examples } from './command.ts';
import { Failure } from './failure.ts';
import { endOfValue, write } from './io.ts';
import { identityInfo } from './identity-info.ts';
import { identityLs } from './identity-ls.ts';
import { identityNew } from './identity-new.ts';
import { identityOf, identityOfArgument } from './identity-of.ts';

export function identity(parent: CliCommand): void {
  const command = child(parent, 'identity', 'Make and inspect identities: who may use the server');
  command
    .argument('[ARGS...]')
    .usage('[API-KEY | CERTIFICATE-FILE]\n       ' + `${command.fullName} <command>`)
    .option('--json', 'Print JSON');
  for (const add of [identityNew, identityOf, identityInfo, identityLs]) add(command);
  examples(command, [
    ['Make an API key and learn its identity', 'identity new'],
    ['Make an API key and print nothing else', 'identity'],
    ['Compute the identity of a certificate', 'identity of client.crt'],
  ]);
  command.action(async (given: string[], options: { json?: boolean }) => {
    command.checkArguments(given, [], 1);
    const { io } = command;
    if (given[0] === undefined) {
      const apiKey = generateApiKey();
      const text = apiKey.reveal();
      await write(
        io.stdout,
        options.json === true
          ? `${JSON.stringify({ api_key: text, identity: apiKey.identity })}\n`
          : text + endOfValue(io),
      );
      return;
    }
    const identityText = await identityOfArgument(command, given[0]).catch((error: unknown) => {
      if (error instanceof Failure && error.message.startsWith('open ')) {
        throw new Failure(error.message, {
          hint: `'${command.fullName} --help' lists the commands.`,
          cause: error,
        });
      }
      throw error;
    });
    await write(
      io.stdout,
      options.json === true
        ? `${JSON.stringify({ identity: identityText })}\n`
        : identityText + endOfValue(io),
    );
  });
}
