/** The command line: all commands, and how each ends. */
import { CommanderError } from 'commander';
import { CliCommand, UsageWanted, examples } from './command.ts';
import { audit } from './audit.ts';
import { completion } from './completion.ts';
import { convert } from './convert.ts';
import { config } from './config.ts';
import { dev } from './dev.ts';
import { Failure, SaidAlready, exitCodes, toFailure } from './failure.ts';
import { identity } from './identity.ts';
import { inspect } from './inspect.ts';
import { type Io, processIo, write } from './io.ts';
import { key } from './key.ts';
import { keystore } from './keystore.ts';
import { vault } from './vault.ts';
import { log } from './log.ts';
import { ls } from './ls.ts';
import { migrate } from './migrate.ts';
import { metrics } from './metrics.ts';
import { open } from './open.ts';
import { policy } from './policy.ts';
import { seal } from './seal.ts';
import { serve } from './serve.ts';
import { status } from './status.ts';
import { styleOf } from './style.ts';
import { versionText } from './version.ts';

/**
 * Runs one command line, without the program's own name.
 * @returns the exit code (docs/cli.md)
 */
export async function run(argv: readonly string[], io: Io = processIo()): Promise<number> {
  let exitCode: number = exitCodes.ok;
  const top = build(io, (code) => {
    exitCode = code;
  });
  try {
    await top.parseAsync([...argv], { from: 'user' });
    return exitCode;
  } catch (error) {
    return end(error, io);
  }
}

function build(io: Io, ended: (exitCode: number) => void): CliCommand {
  const top = new CliCommand(io.program, io);
  top
    .description('Key server and encryption gateway for S3-compatible object storage')
    .usage('[options] <command>')
    .version(versionText().trimEnd(), '-v, --version', 'Show the version')
    .argument('[COMMAND...]');
  top.commandsGroup('Server:');
  serve(top, ended);
  dev(top, ended);
  config(top);
  migrate(top);
  keystore(top);
  vault(top);
  top.commandsGroup('Keys and access:');
  key(top);
  policy(top);
  identity(top);
  ls(top);
  top.commandsGroup('Files:');
  seal(top);
  open(top);
  inspect(top);
  convert(top);
  top.commandsGroup('Watching a server:');
  status(top);
  metrics(top);
  log(top);
  audit(top);
  top.commandsGroup('Other:');
  completion(top);
  examples(top, [
    ['Start a server to try; it prints what to do next', 'dev'],
    ['Create a key', 'key create my-key'],
  ]);
  top.action((given: string[]) => {
    if (given[0] === undefined) throw new UsageWanted(top);
    throw new Failure(`"${given[0]}" is not a ${io.program} command. See '${io.program} --help'`);
  });
  return top;
}

/** Tells the person how it ended and returns the exit code. */
async function end(error: unknown, io: Io): Promise<number> {
  if (error instanceof CommanderError && error.exitCode === 0) return exitCodes.ok; // --help, --version
  if (error instanceof UsageWanted) {
    await write(io.stderr, error.command.helpInformation());
    return exitCodes.usage;
  }
  if (error instanceof SaidAlready) return error.exitCode;
  // The reader of our output has gone, as `head` does: nobody is left to tell.
  if (error instanceof Error && 'code' in error && error.code === 'EPIPE') return exitCodes.failure;
  const failure =
    error instanceof CommanderError ? new Failure(error.message.replace(/^error: /, '')) : toFailure(error);
  const onTerminal = io.stderr.isTTY === true;
  const style = styleOf(io, 'auto', io.stderr);
  const hint =
    failure.hint !== undefined && (onTerminal || !failure.hintOnTerminalOnly) ? `${failure.hint}\n` : '';
  await write(io.stderr, `${style.bad('Error:')} ${failure.message}\n${hint}`).catch(() => undefined);
  return exitCodes.failure;
}
