/** `sello serve` (KES: `server`): run the key server. */
import { Option } from 'commander';
import { type CliCommand, child, examples } from './command.ts';
import { toStartFailure } from './config-failure.ts';
import { runDev } from './dev.ts';
import { Failure } from './failure.ts';
import { pathOf, write } from './io.ts';
import { startServing } from './server-entry.ts';

interface Options {
  readonly config?: string;
  readonly addr?: string;
  readonly dev?: boolean;
  readonly key?: string;
  readonly cert?: string;
  readonly auth?: string;
}

export function serve(parent: CliCommand, ended: (exitCode: number) => void): void {
  const command = child(parent, 'serve', 'Run the key server').alias('server') as CliCommand;
  command
    .argument('[ARGS...]')
    .usage('--config <FILE>')
    .option('--config <FILE>', 'Configuration: of Sello, or of KES as it is (SELLO_CONFIG_FILE)')
    .option('--addr <IP:PORT>', 'Listen here in place of the configured address')
    // KES's spelling of `sello dev`, and options it still takes and ignores.
    .addOption(new Option('--dev').hideHelp())
    .addOption(new Option('--key <FILE>').hideHelp())
    .addOption(new Option('--cert <FILE>').hideHelp())
    .addOption(new Option('--auth <on|off>').hideHelp());
  examples(command, [
    ['Check a configuration, then run with it', 'config check sello.yaml && sello serve --config sello.yaml'],
    ['Try it without a configuration', 'dev'],
  ]);
  command.action(async (given: string[], options: Options) => {
    command.checkArguments(given, []);
    const { io } = command;
    for (const flag of ['key', 'cert', 'auth'] as const) {
      if (options[flag] !== undefined) {
        await write(
          io.stderr,
          `Warning: '--${flag}' is not used any more. Set it in the configuration file\n`,
        );
      }
    }
    if (options.dev === true) {
      if (options.config !== undefined)
        throw new Failure("'--config' flag is not supported in development mode");
      ended(await runDev(io, {}));
      return;
    }
    const file = options.config ?? io.env['SELLO_CONFIG_FILE'];
    if (file === undefined || file === '') {
      throw new Failure('no configuration file', {
        hint: `Name one with --config FILE, or try '${io.program} dev', which needs none.`,
      });
    }
    try {
      ended(await startServing(io, { configFile: pathOf(io, file), address: options.addr }));
    } catch (error) {
      throw toStartFailure(error, file, io.program);
    }
  });
}
