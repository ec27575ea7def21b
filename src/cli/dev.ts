/** `sello dev`: a server to try things out with, ready in a second. */
import { type CliCommand, child, examples } from './command.ts';
import { defaultPort } from '../client/endpoint.ts';
import { toStartFailure } from './config-failure.ts';
import { type Io, pathOf } from './io.ts';
import { startDev } from './server-entry.ts';

interface Options {
  readonly dir?: string;
  readonly port?: string;
}

const defaultFolder = '.sello';

export function dev(parent: CliCommand, ended: (exitCode: number) => void): void {
  const command = child(parent, 'dev', 'Run a server to try things out, on this machine only');
  command
    .argument('[ARGS...]')
    .usage('[options]')
    .option('--dir <FOLDER>', `Where keys, certificate and API key are kept (default: ${defaultFolder})`)
    .option('--port <PORT>', `Port on 127.0.0.1 (default: ${String(defaultPort)})`);
  examples(command, [['Start one; it prints the commands to try', 'dev']]);
  command.action(async (given: string[], options: Options) => {
    command.checkArguments(given, []);
    if (options.port !== undefined && !(/^\d{1,5}$/.test(options.port) && Number(options.port) < 65_536)) {
      throw command.misuse(`invalid argument "${options.port}" for "--port" flag: not a port`);
    }
    ended(await runDev(command.io, options));
  });
}

export async function runDev(io: Io, options: Options): Promise<number> {
  const folder = pathOf(io, options.dir ?? defaultFolder);
  try {
    return await startDev(io, {
      folder,
      port: options.port === undefined ? defaultPort : Number(options.port),
    });
  } catch (error) {
    throw toStartFailure(error, folder, io.program);
  }
}
